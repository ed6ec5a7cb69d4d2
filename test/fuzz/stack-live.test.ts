/**
 * A part of what `bench/fuzz-stack.mjs` does for hours: forged packets, checksums set right, into a stack whose
 * connections are alive, in virtual time with timers running. Nothing throws, what is held stays bounded, an
 * honest flow beside it and a new one at the end come through, and close leaves nothing.
 *
 * `FUZZ_SEED=n FUZZ_ROUNDS=m` repeats a failure or runs longer; round r of seed n is round 0 of seed n + r.
 */
import t from 'tap'
import * as stack from '../../stack/index.js'
import { World } from '../helpers/fuzz/world.mjs'

const SEED = Number(process.env.FUZZ_SEED ?? 1)
const ROUNDS = Number(process.env.FUZZ_ROUNDS ?? 80)
const PACKETS = 10_000

t.test(`seed ${SEED}, ${ROUNDS} rounds of ${PACKETS} packets`, async (t) => {
  const totals: Record<string, number> = {}
  let mostHeld = 0
  for (let round = 0; round < ROUNDS; round++) {
    const seed = SEED + round
    let world: World | undefined
    try {
      world = new World(stack, seed, PACKETS)
      while (world.injected < PACKETS) world.step()
      world.finish()
    } catch (e) {
      t.fail(`FUZZ_SEED=${seed} FUZZ_ROUNDS=1: ${e instanceof Error ? e.stack : e}\n${world}`)
      return
    }
    for (const [name, n] of Object.entries(world.b.counters)) totals[name] = (totals[name] ?? 0) + n
    mostHeld = Math.max(mostHeld, world.mostHeld)
  }
  t.pass(`${ROUNDS * PACKETS} packets, at most ${mostHeld} octets held`)
  // What only knocks at the door shows nothing.
  for (const name of [
    'segmentsIn',
    'datagramsIn',
    'icmpErrorsIn',
    'icmpErrorsOut',
    'resetsSent',
    'resetsReceived',
    'challengeAcks',
    'outOfOrder',
    'duplicates',
    'retransmissions',
    'acceptOverflows',
  ] as const) {
    t.ok((totals[name] ?? 0) > 10 * ROUNDS, `${name}: ${totals[name]}`)
  }
  t.comment(JSON.stringify(totals))
})
