import { closeSync, constants, fstatSync, openSync, readSync, type Stats } from 'node:fs'
import { Socket } from 'node:net'

/** A file that cannot be read; the message is one line and names it. */
export class FileError extends Error {
  override readonly name = 'FileError'
  /** The system's, such as `ENOENT`; undefined if we refused the file. */
  readonly code: string | undefined
  constructor(message: string, code?: string) {
    super(message)
    this.code = code
  }
}

export interface ReadOptions {
  /** Octets; a larger file is refused. */
  readonly most: number
  /** Pipes are taken too: their end is waited for, or `signal`. */
  readonly pipes?: boolean
  readonly signal?: AbortSignal | undefined
}

/**
 * Reads a small file whole. Neither a device nor a pipe without a writer, named by mistake, can hold us
 * up. `mode` is that of the open file. Rejects with {@link FileError}.
 */
export async function readSmallFile(
  path: string,
  options: ReadOptions,
): Promise<{ readonly bytes: Buffer; readonly mode: number }> {
  let file: number | undefined
  try {
    // Without it the opening of a pipe waits in the kernel, where no signal reaches us.
    file = openSync(path, constants.O_RDONLY | (process.platform === 'win32' ? 0 : constants.O_NONBLOCK))
    const stats = fstatSync(file)
    if (options.pipes === true && stats.isFIFO()) {
      const pipe = new Socket({ fd: file, readable: true, writable: false })
      file = undefined // The socket closes it.
      return { bytes: await readStream(pipe, path, options), mode: stats.mode }
    }
    if (!stats.isFile()) throw new FileError(`${path} is ${kindOf(stats)}, not a file`)
    return { bytes: readToEnd(file, path, options.most), mode: stats.mode }
  } catch (error) {
    if (error instanceof FileError) throw error
    const code = error instanceof Error && 'code' in error ? String(error.code) : undefined
    const reason = error instanceof Error ? error.message : String(error)
    throw new FileError(reason.includes(path) ? reason : `${path}: ${reason}`, code)
  } finally {
    if (file !== undefined) closeSync(file)
  }
}

/** All of a stream, destroyed afterwards. Rejects with {@link FileError} if it is too long, or aborted. */
export async function readStream(
  stream: NodeJS.ReadableStream & { destroy(): unknown },
  name: string,
  { most, signal }: Pick<ReadOptions, 'most' | 'signal'>,
): Promise<Buffer> {
  const stop = () => void stream.destroy()
  signal?.addEventListener('abort', stop)
  try {
    if (signal?.aborted === true) throw new FileError(`${name}: nobody waits for it any more`)
    const chunks: Buffer[] = []
    let length = 0
    for await (const chunk of stream) {
      const bytes = typeof chunk === 'string' ? Buffer.from(chunk) : chunk
      length += bytes.length
      if (length > most) throw tooLarge(name, most)
      chunks.push(bytes)
    }
    return Buffer.concat(chunks)
  } finally {
    signal?.removeEventListener('abort', stop)
    stream.destroy()
  }
}

function readToEnd(file: number, path: string, most: number): Buffer {
  // The size that stat tells is 0 in /proc, and the file may grow.
  const bytes = Buffer.alloc(most + 1)
  let length = 0
  while (length <= most) {
    const count = readSync(file, bytes, length, bytes.length - length, null)
    if (count === 0) return Buffer.from(bytes.subarray(0, length))
    length += count
  }
  throw tooLarge(path, most)
}

function tooLarge(name: string, most: number): FileError {
  return new FileError(`${name} is larger than ${most / 1024} KiB`)
}

function kindOf(stats: Stats): string {
  if (stats.isDirectory()) return 'a directory'
  if (stats.isFIFO()) return 'a pipe'
  return stats.isSocket() ? 'a socket' : 'a device'
}
