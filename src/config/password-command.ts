/** `--password-command`: whoever keeps passwords, or makes one-time codes, is asked for one. */
import { spawn } from 'node:child_process'
import { UsageError } from './errors.js'

const MAX_OUTPUT = 65_536
/** Milliseconds: a person may have to touch a key, or to unlock something. */
const PATIENCE = 120_000

/**
 * Runs the command by the shell and returns the first line of its output. It shares our standard input and error, so that
 * it can ask. Rejects with {@link UsageError}, or with the signal's reason.
 */
export function runPasswordCommand(command: string, signal?: AbortSignal): Promise<string> {
  return new Promise((resolve, reject) => {
    const fail = (what: string): void => reject(new UsageError(`--password-command: ${what}`))
    if (signal?.aborted) {
      reject(signal.reason)
      return
    }
    const child = spawn(command, { shell: true, stdio: ['inherit', 'pipe', 'inherit'], windowsHide: true })
    const chunks: Buffer[] = []
    let size = 0
    let problem: string | undefined
    const stop = (what: string): void => {
      problem ??= what
      child.kill()
      // What the shell has started may live on, and hold the pipe open.
      child.stdout.destroy()
    }
    const timer = setTimeout(() => stop(`no end within ${PATIENCE / 1000} s`), PATIENCE)
    const onAbort = (): void => stop('given up')
    signal?.addEventListener('abort', onAbort, { once: true })
    child.stdout.on('data', (chunk: Buffer) => {
      size += chunk.length
      if (size > MAX_OUTPUT) stop(`more than ${MAX_OUTPUT} octets of output`)
      else chunks.push(chunk)
    })
    child.on('error', (error) => {
      problem ??= error.message
    })
    child.on('close', (status, killedBy) => {
      clearTimeout(timer)
      signal?.removeEventListener('abort', onAbort)
      if (signal?.aborted) reject(signal.reason)
      else if (problem !== undefined) fail(problem)
      else if (status !== 0) fail(`it ended with ${killedBy ?? `status ${status}`}`)
      else {
        const password = firstLine(Buffer.concat(chunks))
        if (password === undefined) fail('its output is not UTF-8 text')
        else if (password === '') fail('the first line of its output is empty')
        else resolve(password)
      }
    })
  })
}

function firstLine(bytes: Uint8Array): string | undefined {
  let text: string
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch {
    return undefined
  }
  const [line = ''] = text.split('\n', 1)
  return line.endsWith('\r') ? line.slice(0, -1) : line
}
