/** The side of a measuring process that answers the one which started it. */
import { Session } from 'node:inspector'

/**
 * Answers questions by name. What every process can be asked: `usage`, `profile`, `profiled`.
 *
 * @param {Record<string, (...args: any[]) => unknown>} handlers
 */
export function answer(handlers) {
  const all = { ...common, ...handlers }
  process.on(
    'message',
    async (/** @type {{ id: number, name: string, args: unknown[] }} */ { id, name, args }) => {
      try {
        const handler = all[name]
        if (handler === undefined) throw new TypeError(`nobody answers to ${name}`)
        process.send?.({ id, result: (await handler(...args)) ?? null })
      } catch (error) {
        process.send?.({ id, error: error instanceof Error ? (error.stack ?? error.message) : String(error) })
      }
    },
  )
  // Whoever started us has gone.
  process.on('disconnect', () => process.exit(0))
  process.send?.({ started: true })
}

/** Milliseconds of a clock that all processes of a machine share. */
export function now() {
  return Number(process.hrtime.bigint() / 1000n) / 1000
}

/** @type {Session | undefined} */
let session

const common = {
  /** CPU seconds of all threads so far, memory in octets. `collect` tidies up first. */
  usage(collect = false) {
    if (collect) for (let i = 0; i < 3; i++) globalThis.gc?.()
    const { user, system } = process.cpuUsage()
    const { rss, heapUsed, external, arrayBuffers } = process.memoryUsage()
    const peak = process.resourceUsage().maxRSS * 1024
    return { at: now(), cpu: (user + system) / 1e6, rss, peak, heap: heapUsed, external, arrayBuffers }
  },

  /** Starts a CPU profile of the JavaScript thread. */
  async profile() {
    session = new Session()
    session.connect()
    await post('Profiler.enable')
    await post('Profiler.setSamplingInterval', { interval: 200 })
    await post('Profiler.start')
  },

  /** Ends it and hands it over. */
  async profiled() {
    const { profile } = await post('Profiler.stop')
    session?.disconnect()
    return profile
  },
}

/**
 * @param {string} method
 * @param {object} [params]
 * @returns {Promise<any>}
 */
function post(method, params) {
  return new Promise((resolve, reject) => {
    session?.post(method, params, (error, result) => (error ? reject(error) : resolve(result)))
  })
}
