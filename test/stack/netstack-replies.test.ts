/** Packets of the stack's own making wait their turn: a flood that provokes them takes nobody else's. */
import t from 'tap'
import { NetStack, READY_ACCEPT, takeReady } from '../../stack/index.js'
import { Replies } from '../../stack/replies.js'
import { SeededRandom } from '../helpers/random.js'
import { buildPacket, ip, ipPacket, stream } from '../helpers/segment.js'

const CLIENT = '10.0.0.1'
const SERVER = '10.0.0.2'
const STRANGER = '10.0.0.3'
const PORT = 80
/** Octets a millisecond of the link, each way, and its delay. */
const RATE = 200
const DELAY = 5
const SIZE = 200_000

const nobody = {
  seq: 1,
  ack: 1,
  window: 0,
  urgent: 0,
  options: new Uint8Array(0),
  corrupt: false,
  reserved: 0,
}

const STRAY_ACK = buildPacket(4, STRANGER, SERVER, {
  ...nobody,
  fromPort: 1,
  toPort: 2,
  flags: 16,
  data: new Uint8Array(0),
})
/** IPv4 takes a UDP checksum of 0 for none. */
const DATAGRAM = ipPacket(
  4,
  ip(STRANGER).toBytes(),
  ip(SERVER).toBytes(),
  17,
  Uint8Array.of(0, 1, 0, 2, 0, 8, 0, 0),
)

interface Outcome {
  readonly time: number
  /** Packets of the server's to the stranger. */
  readonly answers: number
  readonly held: number
}

/** A transfer from or to a server that gets `flood` as fast as the link is, beside it. */
function transfer(from: 'client' | 'server', flood: Uint8Array | undefined): Outcome {
  const random = new SeededRandom(3).fill
  const make = (address: string): NetStack => {
    // The link waits for nobody's ICMP here.
    const stack = new NetStack({ mtu: 1400, random, limits: { icmpRate: 1e6, icmpBurst: 1e6 } })
    stack.addAddress(ip(address))
    return stack
  }
  const client = make(CLIENT)
  const server = make(SERVER)
  const listener = server.listen({ port: PORT })
  const opened = client.connect({ address: ip(SERVER), port: PORT }, 0)
  if (listener === undefined || typeof opened === 'string') throw new Error('no transfer')
  const way: { at: number; to: NetStack; packet: Uint8Array }[] = []
  const buffer = new Uint8Array(1400)
  let received = 0
  let answers = 0
  let held = 0
  let credit = { client: 0, server: 0 }
  let provoked = 0
  const news = (stack: NetStack): void => {
    for (let s = stack.nextReady(); s !== undefined; s = stack.nextReady()) {
      const bits = takeReady(s)
      if (bits & READY_ACCEPT) {
        const c = server.accept(listener)
        if (from === 'server') c?.write(stream(SIZE))
      } else if (s.kind === 'tcp') {
        received += s.readable
        s.consume(s.readable)
      }
    }
  }
  const send = (stack: NetStack, peer: NetStack, budget: number, now: number): number => {
    while (budget > 0) {
      const n = stack.output(buffer, 0, now)
      if (n === 0) return 0
      budget -= n
      const packet = buffer.slice(0, n)
      if (packet[19] === 3) answers++
      else way.push({ at: now + DELAY, to: peer, packet })
    }
    return budget
  }
  if (from === 'client') opened.write(stream(SIZE))
  for (let now = 0; now < 60_000; now++) {
    while ((way[0]?.at ?? Infinity) <= now) {
      const w = way.shift()
      w?.to.input(w.packet, 0, w.packet.length, now)
    }
    for (provoked += flood === undefined ? 0 : RATE; flood !== undefined && provoked > 0; ) {
      server.input(flood, 0, flood.length, now)
      provoked -= flood.length
    }
    for (const stack of [client, server]) {
      if (stack.nextTimeout() <= now) stack.handleTimeout(now)
      news(stack)
    }
    held = Math.max(held, server.held.bytes)
    if (received >= SIZE) return { time: now, answers, held }
    credit = {
      client: send(client, server, credit.client + RATE, now),
      server: send(server, client, credit.server + RATE, now),
    }
  }
  return { time: Infinity, answers, held }
}

for (const from of ['server', 'client'] as const) {
  t.test(`a transfer from the ${from} keeps its share beside a flood of strays`, async (t) => {
    const quiet = transfer(from, undefined)
    t.ok(quiet.time < (SIZE / RATE) * 1.3, `${quiet.time} ms in peace`)
    for (const [name, flood] of [
      ['stray acknowledgements', STRAY_ACK],
      ['datagrams to a closed port', DATAGRAM],
    ] as const) {
      const { time, answers, held } = transfer(from, flood)
      t.ok(time <= quiet.time / 0.4, `${name}: ${time} ms`)
      t.ok(answers > 100, `${answers} of them were answered`)
      t.ok(held <= SIZE + 64 * 100 + 300_000, `${held} octets held`)
    }
  })
}

t.test('replies come out as they went in, and what does not fit is dropped', async (t) => {
  let mtu = 100
  const replies = new Replies(3, () => mtu)
  const dst = new Uint8Array(120).fill(0xa5)
  t.equal(replies.emit(dst, 0), 0)
  let next = 1
  let expected = 1
  for (let round = 0; round < 5; round++) {
    for (const fits of [true, true, true, false]) {
      t.equal(replies.push(new Uint8Array(10 + next).fill(next)), fits)
      if (fits) next++
    }
    for (let i = 0; i < 3; i++, expected++) {
      t.equal(replies.emit(dst, 7), 10 + expected)
      t.same(
        [dst[6], dst[7], dst[7 + 9 + expected], dst[7 + 10 + expected]],
        [0xa5, expected, expected, 0xa5],
      )
      dst.fill(0xa5)
    }
    t.equal(replies.bytes, 0)
  }
  for (const n of [20, 90, 30]) replies.push(new Uint8Array(n))
  t.equal(replies.bytes, 140)
  mtu = 50
  t.equal(replies.emit(dst, 0), 20)
  t.equal(replies.emit(dst, 0), 30, 'one that the link takes no more is passed over')
  t.equal(replies.emit(dst, 0), 0)
  t.equal(replies.bytes, 0)
  replies.push(new Uint8Array(40))
  replies.clear()
  t.equal(replies.bytes, 0)
  t.equal(replies.emit(dst, 0), 0)
  t.equal(new Replies(0, () => mtu).push(new Uint8Array(1)), false)
})

t.test('no more replies wait than the limit says, and none when the stack is closed', async (t) => {
  const stack = new NetStack({ mtu: 1400, random: new SeededRandom(1).fill, limits: { replyQueue: 5 } })
  stack.addAddress(ip(SERVER))
  for (let i = 0; i < 20; i++) stack.input(STRAY_ACK, 0, STRAY_ACK.length, i)
  t.equal(stack.held.bytes, 5 * 40)
  t.ok(stack.hasOutput)
  const dst = new Uint8Array(1400)
  let packets = 0
  while (stack.output(dst, 0, 20) > 0) packets++
  t.equal(packets, 5)
  t.equal(stack.hasOutput, false)
  stack.input(STRAY_ACK, 0, STRAY_ACK.length, 21)
  stack.close()
  t.equal(stack.held.bytes, 0)
  t.equal(stack.hasOutput, false)
  t.equal(stack.output(dst, 0, 22), 0)
})
