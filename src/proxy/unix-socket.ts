/** Unix sockets that only their owner can connect to, and that leave nothing behind. */
import { chmod, lstat, stat, unlink } from 'node:fs/promises'
import { connect, type Server } from 'node:net'
import { dirname } from 'node:path'
import { isMainThread } from 'node:worker_threads'

/**
 * Listens on a path, mode 0600 from the first moment on. What a dead process has left there is removed. Rejects with an
 * error with a code: `EADDRINUSE` (somebody listens there), `ENOTSOCK` (the path is something else), `ENAMETOOLONG`, and
 * the system's own. The server removes the socket when it is closed.
 */
export async function listenOnPath(server: Server, path: string): Promise<void> {
  if (Buffer.byteLength(path) > LONGEST_PATH) throw problem('ENAMETOOLONG', path)
  // libuv would say EACCES if there is no directory.
  await stat(dirname(path))
  await removeStale(path)
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    // The socket is made before `listen` returns. In a worker there is no umask, and `chmod` has to do.
    const mask = isMainThread ? process.umask(0o177) : undefined
    try {
      server.listen({ path }, () => {
        server.off('error', reject)
        resolve()
      })
    } finally {
      if (mask !== undefined) process.umask(mask)
    }
  })
  if (!isMainThread) await chmod(path, 0o600)
}

async function removeStale(path: string): Promise<void> {
  const found = await identify(path)
  if (found === undefined) return
  if (!found.socket) throw problem('ENOTSOCK', path)
  if (await answers(path)) throw problem('EADDRINUSE', path)
  // Not if another program has taken the path meanwhile.
  const now = await identify(path)
  if (now !== undefined && now.inode === found.inode) await unlink(path)
}

async function identify(
  path: string,
): Promise<{ readonly socket: boolean; readonly inode: bigint } | undefined> {
  try {
    const found = await lstat(path, { bigint: true })
    return { socket: found.isSocket(), inode: found.ino }
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return undefined
    throw error
  }
}

/** Does anybody listen there? Whoever cannot be asked (no permission, a full queue) does. */
function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ path })
    socket.once('connect', () => {
      socket.destroy()
      resolve(true)
    })
    socket.once('error', (error) => resolve(codeOf(error) !== 'ECONNREFUSED' && codeOf(error) !== 'ENOENT'))
  })
}

function codeOf(error: unknown): unknown {
  return error instanceof Error && 'code' in error ? error.code : undefined
}

function problem(code: string, path: string): Error {
  return Object.assign(new Error(`${code}: ${path}`), { code })
}

/** Octets in `sun_path`, without the final NUL. */
const LONGEST_PATH = process.platform === 'linux' ? 107 : 103
