import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import type { Test } from 'tap'

export interface Finished {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
  readonly ms: number
}

export interface RunOptions {
  readonly env?: NodeJS.ProcessEnv
  readonly cwd?: string
  /** Milliseconds after which the process is killed; 120 s by default. */
  readonly timeout?: number
}

/** Runs a program to its end. A program that cannot be started, or runs too long, throws. */
export function run(command: string, args: readonly string[], options: RunOptions = {}): Promise<Finished> {
  const { timeout = 120_000, ...rest } = options
  return new Promise((resolve, reject) => {
    const started = performance.now()
    const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], ...rest })
    let stdout = ''
    let stderr = ''
    let late = false
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      stdout += text
    })
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr += text
    })
    const timer = setTimeout(() => {
      late = true
      child.kill('SIGKILL')
    }, timeout)
    child.on('error', (error) => {
      clearTimeout(timer)
      reject(new Error(`${command} cannot be started: ${error.message}`))
    })
    child.on('close', (code) => {
      clearTimeout(timer)
      if (late)
        reject(new Error(`${command} ${args[0] ?? ''} did not end in ${timeout} ms\n${stdout}${stderr}`))
      else resolve({ code, stdout, stderr, ms: performance.now() - started })
    })
  })
}

/** As `run`, and an exit code other than 0 throws with what the program said. */
export async function must(command: string, args: readonly string[], options: RunOptions = {}) {
  const done = await run(command, args, options)
  if (done.code === 0) return done
  const said = `${done.stderr}\n${done.stdout}`.trim().slice(-2000)
  throw new Error(`${command} ${args[0] ?? ''} ended with ${done.code}: ${said}`)
}

/** Checks an exit code; on failure shows what the program said. */
export function exits(t: Test, done: Finished, code: number, what: string): void {
  if (!t.equal(done.code, code, `${what}: exit code ${code}`)) t.comment(`${done.stdout}\n${done.stderr}`)
}

/** SHA-256 and length of what a command writes to standard output; throws unless it exits 0. */
export function sha256Of(
  command: string,
  args: readonly string[],
): Promise<{ sha256: string; bytes: number }> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'] })
    const hash = createHash('sha256')
    let bytes = 0
    let stderr = ''
    child.stdout.on('data', (chunk: Buffer) => {
      hash.update(chunk)
      bytes += chunk.length
    })
    child.stderr.on('data', (chunk: Buffer) => {
      stderr += chunk
    })
    child.on('error', reject)
    child.on('close', (code) => {
      if (code === 0) resolve({ sha256: hash.digest('hex'), bytes })
      else reject(new Error(`${command} ended with ${code} after ${bytes} bytes: ${stderr.trim()}`))
    })
  })
}
