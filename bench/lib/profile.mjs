/** From a V8 CPU profile to the functions that took the time. */
import { digits, table } from './stats.mjs'

const TOP = 28

/**
 * Self time by function, the most first.
 *
 * @param {any} profile
 */
export function selfTimes(profile) {
  /** @type {Map<number, number>} */
  const byNode = new Map()
  profile.samples.forEach((/** @type {number} */ id, /** @type {number} */ i) => {
    byNode.set(id, (byNode.get(id) ?? 0) + profile.timeDeltas[i])
  })
  /** @type {Map<string, number>} */
  const byName = new Map()
  let idle = 0
  let total = 0
  for (const { id, callFrame } of profile.nodes) {
    const time = byNode.get(id) ?? 0
    if (callFrame.functionName === '(idle)') {
      idle += time
      continue
    }
    total += time
    const name = `${callFrame.functionName || '(anonymous)'} ${place(callFrame)}`.trim()
    byName.set(name, (byName.get(name) ?? 0) + time)
  }
  const functions = [...byName]
    .map(([name, time]) => ({ name, share: time / total }))
    .sort((a, b) => b.share - a.share)
  return { functions, total: total / 1e6, idle: idle / 1e6 }
}

/** @param {{ url: string, lineNumber: number }} frame */
function place({ url, lineNumber }) {
  if (url === '') return ''
  const file = url.replace(/^.*\/(?=(?:src|stack|bench)\/)/, '')
  return `${file}:${lineNumber + 1}`
}

/**
 * @param {string} title
 * @param {ReturnType<typeof selfTimes>} times
 * @param {number} bytes that went by meanwhile
 * @param {number} [requests] that were answered, if they are what counts
 */
export function profileTable(title, { functions, total, idle }, bytes, requests) {
  const gib = bytes / 2 ** 30
  const [unit, each] = requests === undefined ? ['s/GiB', total / gib] : ['us each', (total / requests) * 1e6]
  const rows = functions
    .slice(0, TOP)
    .map(({ name, share }) => [name, `${digits(share * 100)} %`, digits(share * each)])
  // V8 takes the whole poll phase for idle: reading and decrypting happen there before any JavaScript runs.
  const all = `${digits(total)} s in JavaScript and its calls, ${digits(idle)} s waiting, reading and decrypting`
  const done = requests === undefined ? `${digits(gib)} GiB` : `${requests} requests`
  return `### ${title}\n\n${done}: ${all}.\n\n${table(['function', 'self time', unit], rows)}`
}
