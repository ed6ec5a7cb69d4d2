/** A link that swallows packets above a size and says nothing: it costs a second, not the connection. */
import t from 'tap'
import { path, Simulation, type Way } from '../../helpers/sim.js'

const SIZE = 2_000_000

interface Transfer {
  /** Virtual milliseconds until all had arrived, and the longest time of those in which nothing did. */
  readonly took: number
  readonly silence: number
}

/** The hole opens after `from` milliseconds. */
function transfer(way: Way, mtu: number, rtt: number, from: number): Transfer {
  const open = path(2500, rtt)
  const sim = new Simulation(from === 0 ? { ...open, mtu } : open, 11, { mtu: 1400 })
  const { pair } = sim
  const flow = sim.bulk(way, SIZE)
  const begin = pair.now
  let silence = 0
  let last = 0
  let lastAt = begin
  const watch = (): boolean => {
    if (flow.received > last) {
      silence = Math.max(silence, pair.now - lastAt)
      last = flow.received
      lastAt = pair.now
    }
    return last === SIZE
  }
  pair.run(watch, from)
  pair.ab.profile = pair.ba.profile = { ...open, mtu }
  pair.run(watch, 120_000)
  const took = pair.now - begin
  sim.finish()
  return { took, silence }
}

for (const way of ['up', 'down'] as const) {
  for (const mtu of [1280, 1300, 1399]) {
    for (const rtt of [10, 100]) {
      t.test(`${way}, ${mtu} of 1400 octets, ${rtt} ms`, async (t) => {
        const clean = transfer(way, 1400, rtt, 0)
        for (const from of [0, 300]) {
          const { took, silence } = transfer(way, mtu, rtt, from)
          t.ok(silence < 1000 + 5 * rtt, `from ${from} ms on: nothing for ${Math.round(silence)} ms`)
          // What is left of the window then has to grow again.
          const lost = took - clean.took
          t.ok(lost < 1000 + 50 * rtt, `${Math.round(lost)} ms more than ${Math.round(clean.took)}`)
        }
      })
    }
  }
}
