/**
 * Ten million forged packets into a stack with live connections: nothing throws, memory stays bounded, honest
 * flows come through, and nothing is left.
 *
 *     npm run build && node bench/fuzz-stack.mjs [--seed N] [--packets N] [--from K]
 *
 * It goes in rounds of ROUND packets, each in a world of its own that follows from the seed and the round's
 * number, so `--from K` begins with the round that packet K is in, and repeats a failure within seconds.
 */
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { World } from '../test/helpers/fuzz/world.mjs'

const ROUND = 20_000

function number(name, fallback) {
  const i = process.argv.indexOf(`--${name}`)
  if (i < 0) return fallback
  const n = Number(process.argv[i + 1])
  if (!Number.isSafeInteger(n) || n < 0) {
    console.error(`--${name} wants a number`)
    process.exit(2)
  }
  return n
}

const seed = number('seed', 1)
const packets = number('packets', 10_000_000)
const from = number('from', 0)

setFlagsFromString('--expose-gc')
const gc = runInNewContext('gc')
const megabytes = (n) => `${(n / 1048576).toFixed(1)} MiB`

function heap() {
  gc()
  const { heapUsed, arrayBuffers } = process.memoryUsage()
  return heapUsed + arrayBuffers
}

const stack = await import('../dist/stack/index.js')
const first = Math.floor(from / ROUND)
const rounds = Math.ceil(packets / ROUND)
console.log(`seed ${seed}, packets ${from} to ${packets}, ${rounds - first} rounds of ${ROUND}`)

const counters = {}
const began = process.hrtime.bigint()
let virtual = 0
let injected = 0
let mostHeld = 0
/** Once everything is warm. */
let base = 0
let most = 0
for (let round = first; round < rounds; round++) {
  let world
  try {
    world = new World(stack, (seed + Math.imul(round, 0x9e3779b1)) >>> 0, ROUND)
    const begin = world.now
    while (world.injected < ROUND) world.step()
    if (round % 10 === 0) most = Math.max(most, heap() - base)
    world.finish()
    virtual += world.now - begin
    injected += world.injected
    mostHeld = Math.max(mostHeld, world.mostHeld)
    for (const [name, n] of Object.entries(world.b.counters)) counters[name] = (counters[name] ?? 0) + n
  } catch (e) {
    console.error(`${e instanceof Error ? e.stack : e}\n${world}`)
    console.error(
      `again: node bench/fuzz-stack.mjs --seed ${seed} --packets ${(round + 1) * ROUND} --from ${round * ROUND}`,
    )
    process.exit(1)
  }
  world = undefined
  if (round === first + 4) {
    base = heap()
    most = 0
  }
  if ((round - first) % 50 === 49) {
    const seconds = Number(process.hrtime.bigint() - began) / 1e9
    console.log(`${injected} packets, ${Math.round(injected / seconds)} a second, heap ${megabytes(heap())}`)
  }
}

const seconds = Number(process.hrtime.bigint() - began) / 1e9
console.log(JSON.stringify(counters))
console.log(
  `${injected} packets in ${seconds.toFixed(1)} s, ${Math.round(injected / seconds)} a second; ${Math.round(virtual / 3_600_000)} hours of virtual time; at most ${megabytes(mostHeld)} held by a stack`,
)
if (base > 0) {
  const growth = heap() - base
  console.log(
    `heap after ${rounds - first} rounds: ${megabytes(growth)} more than after five, at most ${megabytes(most)} more within`,
  )
  if (growth > 16 * 1048576 || most > 96 * 1048576) {
    console.error('memory grows')
    process.exit(1)
  }
}
