import t from 'tap'
import type { Call } from '../../src/link/call.js'
import { IpAddress, takeReady } from '../../stack/index.js'
import { CallPair, GATEWAY_ADDRESS } from '../helpers/call-pair.js'
import { SeededRandom } from '../helpers/random.js'

const SEED = Number(process.env.FUZZ_SEED ?? 20261122)
const ROUNDS = Number(process.env.FUZZ_ROUNDS ?? 6000)

const PROTOCOLS = [0x21, 0x57, 0xc021, 0xc023, 0xc223, 0x8021, 0x8057, 0x80fd, 0xc227, 0x1234]

/**
 * Two calls over a stream that a malicious or broken peer has written: packets changed, cut, repeated,
 * made up, in every phase. A call may end; it must not throw, and must not hold more than its bounds.
 */
t.test(`a stream that lies, ${ROUNDS} calls from seed ${SEED}`, (t) => {
  const seeds = new SeededRandom(SEED)
  let ended = 0
  let survived = 0
  for (let round = 0; round < ROUNDS; round++) {
    const seed = Math.floor(seeds.next() * 2 ** 31)
    try {
      if (oneCall(seed)) survived++
      else ended++
    } catch (error) {
      t.fail(`seed ${seed}: ${error instanceof Error ? error.stack : String(error)}`)
      break
    }
  }
  t.ok(ended > ROUNDS / 20, `${ended} calls were ended by what they read`)
  t.ok(survived > ROUNDS / 20, `${survived} calls went on`)
  t.end()
})

/** @returns if both ends were still up at the end */
function oneCall(seed: number): boolean {
  const random = new SeededRandom(seed)
  const auth = (['mschapv2', 'chap', 'pap'] as const)[random.below(3)] ?? 'pap'
  const pair = new CallPair({ auth: [auth], seed }).start()
  const badness = random.chance(0.3) ? 0.3 : 0.02
  const quietSteps = random.below(12)
  const listener = pair.serverStack.listen({ port: 0, hold: false })
  pair.serverStack.openUdp({ any: true })
  pair.serverOwner.onReady = () => {
    for (let s = pair.serverStack.nextReady(); s !== undefined; s = pair.serverStack.nextReady()) {
      takeReady(s)
      if (s.kind === 'listener') pair.serverStack.accept(s)
      else if (s.kind === 'udp') s.receive()
      else if (s.kind === 'tcp' && s.readable > 0) {
        const piece = Uint8Array.from(s.peek())
        s.consume(piece.length)
        s.write(piece)
      }
    }
  }
  for (let step = 0; step < 40; step++) {
    if (step === quietSteps + 8) {
      pair.clientStack.addAddress(IpAddress.parse('10.9.0.2') as IpAddress)
      const c = pair.clientStack.connect(
        { address: IpAddress.parse(GATEWAY_ADDRESS) as IpAddress, port: 80 },
        pair.now,
      )
      if (typeof c !== 'string') c.write(random.bytes(3000))
    }
    const spoil = step >= quietSteps ? badness : 0
    carry(pair, pair.client, pair.server, random, spoil)
    carry(pair, pair.server, pair.client, random, spoil)
    pair.client.dispatch(pair.now)
    pair.server.dispatch(pair.now)
    pair.now += random.chance(0.2) ? random.below(5000) : 1
    for (const call of [pair.client, pair.server]) {
      if (call.nextTimeout() <= pair.now) call.handleTimeout(pair.now)
    }
    const held = pair.serverStack.held
    if (held.bytes > 8 << 20 || held.connections > 1000) throw new Error(`holds ${JSON.stringify(held)}`)
  }
  if (listener !== undefined) pair.serverStack.unlisten(listener)
  pair.serverStack.close()
  pair.clientStack.close()
  const left = pair.serverStack.held
  if (left.connections + left.bytes + left.udp > 0) throw new Error(`left over: ${JSON.stringify(left)}`)
  return !pair.client.finished && !pair.server.finished
}

function carry(pair: CallPair, from: Call, to: Call, random: SeededRandom, badness: number): void {
  const batch = Buffer.alloc(32_768)
  let n = 0
  while (n < batch.length - 4095) {
    const size = from.output(batch, n, pair.now)
    if (size === 0) break
    n += size
  }
  if (random.chance(badness)) n = invent(batch, n, random)
  if (n === 0) return
  for (let k = 0; random.chance(badness) && k < 8; k++) batch[random.below(n)] = random.below(256)
  if (random.chance(badness / 4)) n = random.below(n) + 1
  const times = random.chance(badness / 2) ? 2 : 1
  for (let i = 0; i < times; i++) {
    for (let at = 0; at < n; ) {
      const size = Math.min(1 + random.below(4000), n - at)
      to.input(batch, at, size, pair.now)
      at += size
    }
  }
}

/** A packet that looks right on the outside, behind what there is. */
function invent(batch: Buffer, n: number, random: SeededRandom): number {
  const control = random.chance(0.4)
  const body = random.below(random.chance(0.5) ? 40 : 1400)
  const length = 8 + body
  if (n + length > batch.length) return n
  random.fill(batch.subarray(n, n + length))
  batch.writeUInt16BE(0x1000 | (control ? 1 : 0), n)
  batch.writeUInt16BE(length, n + 2)
  if (control) {
    batch.writeUInt16BE(random.below(11), n + 4)
    batch.writeUInt16BE(random.below(4), n + 6)
  } else {
    batch.writeUInt16BE(0xff03, n + 4)
    batch.writeUInt16BE(PROTOCOLS[random.below(PROTOCOLS.length)] ?? 0xc021, n + 6)
    if (body >= 4) {
      batch.writeUInt8(1 + random.below(12), n + 8)
      batch.writeUInt16BE(random.chance(0.7) ? body : random.below(2000), n + 10)
    }
  }
  return n + length
}
