/** What this process still holds, for tests that look for leaks. */
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as () => void

/**
 * Octets on the heap and in buffers outside it. Buffers are freed behind a collection, on another thread, and the
 * next one waits for that: so there are several.
 */
export function octetsHeld(): number {
  let least = Number.POSITIVE_INFINITY
  for (let i = 0; i < 4; i++) {
    collect()
    const { heapUsed, external } = process.memoryUsage()
    least = Math.min(least, heapUsed + external)
  }
  return least
}
