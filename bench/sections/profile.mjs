/** Where the bridge's JavaScript thread spends its time. */
import { writeFile } from 'node:fs/promises'
import { pause } from '../lib/lab.mjs'
import { profileTable, selfTimes } from '../lib/profile.mjs'

/** @typedef {import('../lib/lab.mjs').Lab} Lab */

const RUN_UP = 1500

/**
 * @param {Lab} lab
 * @param {{ seconds: number, folder: URL, note(text: string): void }} options
 */
export async function profile(lab, { seconds, folder, note }) {
  const tables = []
  for (const records of /** @type {const} */ (['large', 'small'])) {
    const { process, ways, peer } = await lab.once(`bridge ${records}`, () => lab.bridge(records))
    for (const direction of records === 'large' ? ['download', 'upload'] : ['download']) {
      note(`profile: ${direction}, ${records} records`)
      const counter = direction === 'download' ? lab.client : peer
      await lab.client.ask(direction, direction === 'download' ? ways.source : ways.sink)
      await pause(RUN_UP)
      await process.ask('profile')
      const before = await counter.ask('count')
      await pause(seconds * 1000)
      const after = await counter.ask('count')
      const taken = await process.ask('profiled')
      await lab.client.ask('stop')
      const name = `${direction}-${records}.cpuprofile`
      await writeFile(new URL(name, folder), JSON.stringify(taken))
      tables.push(
        profileTable(
          `${direction}, ${records} records: ${name}`,
          selfTimes(taken),
          after.bytes - before.bytes,
        ),
      )
    }
  }
  tables.push(await requests(lab, folder, note))
  return tables.join('\n\n')
}

const REQUESTS = 4000
const AT_ONCE = 16

/** @param {Lab} lab @param {URL} folder @param {(text: string) => void} note */
async function requests(lab, folder, note) {
  const { process, ways } = await lab.once('bridge large', () => lab.bridge('large'))
  note('profile: requests')
  await lab.client.askFor(60_000, 'requests', ways.answer, REQUESTS / 4, AT_ONCE)
  await process.ask('profile')
  const { failure } = await lab.client.askFor(60_000, 'requests', ways.answer, REQUESTS, AT_ONCE)
  const taken = await process.ask('profiled')
  if (failure !== undefined) throw new Error(failure)
  const name = 'requests.cpuprofile'
  await writeFile(new URL(name, folder), JSON.stringify(taken))
  return profileTable(`${REQUESTS} requests, ${AT_ONCE} at once: ${name}`, selfTimes(taken), 0, REQUESTS)
}
