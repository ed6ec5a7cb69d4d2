import { must } from '../process.js'

/** Builds a stack's program; cargo may have to fetch what the lock file names. A missing tool throws. */
export async function build(stack: 'smoltcp' | 'lwip'): Promise<string> {
  const { stdout } = await must('bash', ['bench/stacks/build.sh', stack], { timeout: 300_000 })
  return stdout.trim()
}
