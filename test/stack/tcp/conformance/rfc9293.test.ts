/** Requirements of RFC 9293, by label, that no other test has for its own subject. See docs/tcp-conformance.md. */
import t from 'tap'
import { type NetStack, READY_CLOSED, READY_READABLE, type TcpConnection } from '../../../../stack/index.js'
import {
  checksum,
  Dialogue,
  ip,
  LISTEN_PORT,
  PEER_ADDRESS,
  readAll,
  readIp,
  type SegmentIn,
  STACK_ADDRESS,
  STACK_ADDRESS6,
  stream,
} from '../../../helpers/segment.js'

/** All packets that the stack has now, as they are. */
function raw(stack: NetStack, now: number): Uint8Array[] {
  const buffer = new Uint8Array(4096)
  const packets: Uint8Array[] = []
  for (;;) {
    buffer.fill(0xa5)
    const n = stack.output(buffer, 7, now)
    if (n === 0) return packets
    packets.push(buffer.slice(7, 7 + n))
  }
}

/** The options of a packet's segment, as they lie there. */
function optionsOf(packet: Uint8Array): Uint8Array {
  const { payload } = readIp(packet)
  return payload.subarray(20, ((payload[12] as number) >>> 4) * 4)
}

/**
 * A conversation in which the stack sends each kind of segment that it has: SYN, text, reports with SACK
 * blocks, FIN, RST, by active and passive open. `take` gets what goes out.
 */
function converse(d: Dialogue, take: (packet: Uint8Array) => void): void {
  const all = (): void => {
    for (const packet of raw(d.stack, d.now)) take(packet)
  }
  d.listen()
  const everything = { mss: 1360, shift: 7, sackOk: true, ts: [77, 0] as const }
  const c = d.connect()
  const [syn] = raw(d.stack, d.now)
  if (syn === undefined) throw new Error('no SYN')
  take(syn)
  const { payload } = readIp(syn)
  const iss = new DataView(payload.buffer, payload.byteOffset).getUint32(4)
  d.stackIss = iss
  d.in({ flags: 'SA', seq: 0, ack: 1, ...everything })
  all()
  c.write(stream(3001))
  all()
  d.in({ flags: 'PA', seq: 101, ack: 3002, data: stream(99), ts: [78, 0] })
  all()
  d.in({ flags: 'PA', seq: 301, ack: 3002, data: stream(99), ts: [78, 0] })
  all()
  c.end()
  all()
  d.in({ flags: 'RA', seq: 1, ack: 3002 })
  all()
  // A stranger, a SYN to the listener, and an abort of what follows.
  d.in({ flags: 'A', seq: 5, ack: 9, toPort: 9999 })
  all()
  d.in({ flags: 'S', seq: 0, toPort: LISTEN_PORT, fromPort: 6000, ...everything })
  all()
}

t.test('MUST-1, REC-1: windows of 65535, and of a gibibyte, are large and not negative', async (t) => {
  const d = new Dialogue(t)
  const c = d.open({ mss: 1000, window: 65535 })
  c.write(stream(400_000))
  let most = 0
  for (let i = 0; i < 12; i++) {
    d.drain()
    most = Math.max(most, Number(c.info().flight))
    d.pass(20)
    for (const s of d.forget()) d.in({ flags: 'A', seq: 1, ack: s.seq + s.len, window: 65535 })
  }
  t.ok(most > 0x8000 && most <= 0xffff, `${most} octets were in flight`)
  const e = new Dialogue(t)
  const f = e.open({ shift: 14 })
  e.in({ flags: 'A', seq: 1, ack: 1, window: 65535 })
  t.equal(f.info().sendWindow, 65535 * 16384)
  f.write(stream(5000))
  t.equal(e.forget().length, 4)
})

t.test('MUST-2: every segment that goes out has a right checksum, whatever its length', async (t) => {
  for (const family of [4, 6] as const) {
    const d = new Dialogue(t, { family })
    let n = 0
    converse(d, (packet) => {
      const { payload } = readIp(packet)
      const addresses = family === 4 ? packet.slice(12, 20) : packet.slice(8, 40)
      const pseudo = new Uint8Array(addresses.length + (family === 4 ? 4 : 8))
      pseudo.set(addresses)
      pseudo[pseudo.length - 1] = family === 4 ? payload.length & 255 : 6
      pseudo[pseudo.length - 2] = family === 4 ? payload.length >>> 8 : 0
      if (family === 4) pseudo[addresses.length + 1] = 6
      else {
        pseudo[addresses.length + 2] = payload.length >>> 8
        pseudo[addresses.length + 3] = payload.length & 255
      }
      t.equal(checksum(pseudo, payload), 0)
      n++
    })
    t.ok(n >= 8, `${n} segments`)
  }
})

t.test('MUST-5: options are read in any segment, and do no harm where they have no business', async (t) => {
  const odd: Partial<SegmentIn>[] = [
    { flags: 'PA', data: 'text', mss: 99, shift: 3, sackOk: true },
    { flags: 'A', options: Uint8Array.of(2, 4, 0, 99, 3, 3, 9, 4, 2, 0) },
    { flags: 'PA', data: 'more', options: Uint8Array.of(254, 6, 1, 2, 3, 4, 2, 4, 0, 99) },
    { flags: 'FA', options: Uint8Array.of(3, 3, 9, 28, 4, 0x80, 1, 0) },
  ]
  const d = new Dialogue(t)
  const c = d.open()
  const before = c.info()
  for (const s of odd) {
    d.in({ flags: 'A', ...s, ack: 1 })
    d.drain()
  }
  t.equal(readAll(c), 'textmore')
  t.equal(c.stateName, 'CLOSE-WAIT')
  for (const key of ['mss', 'sendShift', 'receiveShift', 'sack', 'timestamps'])
    t.equal(c.info()[key], before[key], `${key} was agreed in the SYN`)
  const e = new Dialogue(t)
  const f = e.open()
  e.in({ flags: 'R', seq: 1, options: Uint8Array.of(2, 4, 0, 99) })
  t.equal(f.error, 'reset', 'a RST with options is a RST')
})

t.test('MUST-65, 68, 69: lengths, padding and places of the options that go out', async (t) => {
  for (const family of [4, 6] as const) {
    const kinds = new Set<number>()
    converse(new Dialogue(t, { family }), (packet) => {
      const options = optionsOf(packet)
      const syn = ((readIp(packet).payload[13] as number) & 2) !== 0
      for (let o = 0; o < options.length; ) {
        const kind = options[o] as number
        if (kind === 0) {
          t.ok(
            options.subarray(o).every((b) => b === 0),
            'zeros behind the end of the list',
          )
          break
        }
        if (kind === 1) {
          o++
          continue
        }
        const length = options[o + 1] as number
        t.ok(length >= 2 && o + length <= options.length, `option ${kind} has its length`)
        if (kind === 2 || kind === 3 || kind === 4) t.ok(syn, `option ${kind} belongs to a SYN`)
        kinds.add(kind)
        o += length
      }
    })
    t.same(
      [...kinds].sort((a, b) => a - b),
      [2, 3, 4, 5, 8],
      'each kind was seen',
    )
  }
})

t.test('MUST-67, SHLD-6, MAY-3: the MSS goes out in every SYN and follows the MTU of the link', async (t) => {
  for (const family of [4, 6] as const) {
    const d = new Dialogue(t, { family })
    const header = family === 4 ? 40 : 60
    d.listen()
    for (const mtu of [1400, 1300, 1280, 1400]) {
      d.stack.setMtu(mtu)
      const c = d.connect({}, 5000 + mtu)
      d.expect({ flags: 'S', mss: mtu - header })
      c.abort()
      d.in({ flags: 'S', seq: 0, fromPort: 3000 + mtu, toPort: LISTEN_PORT })
      d.expect({ flags: 'SA', mss: mtu - header })
      d.in({ flags: 'R', seq: 1, fromPort: 3000 + mtu, toPort: LISTEN_PORT })
      d.forget()
    }
  }
})

t.test('MUST-12: the application can tell an end from an abortion', async (t) => {
  const d = new Dialogue(t)
  const c = d.open()
  d.in({ flags: 'FA', seq: 1, ack: 1 })
  t.ok(d.bits(c) & READY_READABLE)
  t.equal(c.ended, true)
  t.equal(c.error, undefined)
  c.end()
  d.forget()
  d.in({ flags: 'A', seq: 2, ack: 2 })
  t.ok(d.bits(c) & READY_CLOSED)
  t.equal(c.error, undefined, 'both ends have closed')

  const e = new Dialogue(t)
  const f = e.open()
  e.in({ flags: 'R', seq: 1 })
  t.ok(e.bits(f) & READY_CLOSED)
  t.equal(f.ended, false)
  t.equal(f.error, 'reset')
})

t.test('MUST-23: a SYN is repeated for three minutes if the application waits that long', async (t) => {
  const d = new Dialogue(t, { times: { connect: 200_000, handshake: 200_000 } })
  const c = d.connect()
  d.at(199_999)
  t.equal(c.stateName, 'SYN-SENT')
  const tries = d.forget()
  t.ok(tries.every((s) => s.flags === 'S' && s.seq === 0))
  t.ok(Number(tries.at(-1)?.at) >= 180_000, 'the last one after three minutes')
  for (let i = 2; i < tries.length; i++) {
    const [a, b, n] = tries.slice(i - 2, i + 1).map((s) => s.at) as [number, number, number]
    t.ok(n - b >= b - a, 'never sooner than the one before (MUST-19)')
  }
  d.at(200_000)
  t.equal(c.error, 'timed-out')

  const e = new Dialogue(t, { times: { handshake: 200_000 } })
  e.listen()
  e.in({ flags: 'S', seq: 0 })
  e.at(199_999)
  t.ok(Number(e.forget().at(-1)?.at) >= 180_000, 'a SYN-ACK likewise')
  t.equal(e.stack.held.connections, 1)
  e.at(200_000)
  t.equal(e.stack.held.connections, 0)
})

t.test('MUST-41, 42: a port can be listened on while a connection is being opened from it', async (t) => {
  const d = new Dialogue(t)
  const c = d.connect()
  d.forget()
  const port = c.tuple.localPort
  const l = d.listen({ port })
  d.in({ flags: 'S', seq: 0, fromPort: 7777 })
  d.expect({ flags: 'SA', toPort: 7777, fromPort: port })
  t.equal(c.stateName, 'SYN-SENT', 'the one does not touch the other')
  d.in({ flags: 'SA', seq: 0, ack: 1 })
  t.equal(c.stateName, 'ESTABLISHED')
  t.equal(d.stack.listen({ port }), undefined, 'a second listener is refused')
  d.stack.unlisten(l)
  t.equal(c.stateName, 'ESTABLISHED')
})

t.test('MUST-43, 44, 45: local addresses are chosen by IP, and each connection keeps its own', async (t) => {
  const d = new Dialogue(t)
  d.stack.addAddress(ip('10.0.0.3'))
  t.equal(d.stack.sourceFor(ip(PEER_ADDRESS))?.toString(), STACK_ADDRESS)
  t.equal(d.stack.sourceFor(ip('fd00::1'))?.toString(), STACK_ADDRESS6)
  const active = d.connect()
  d.expect({ flags: 'S', from: STACK_ADDRESS })
  t.equal(active.tuple.local.toString(), STACK_ADDRESS)
  // A listener on the second address hears nothing of the first.
  const l = d.listen({ address: ip('10.0.0.3'), port: 81 })
  d.in({ flags: 'S', seq: 0, to: STACK_ADDRESS, toPort: 81, fromPort: 7000 })
  d.expect({ flags: 'RA', from: STACK_ADDRESS })
  d.peerPort = 7001
  d.stackIss = undefined
  d.in({ flags: 'S', seq: 0, to: '10.0.0.3', toPort: 81 })
  d.expect({ flags: 'SA', from: '10.0.0.3' })
  d.in({ flags: 'A', seq: 1, ack: 1, to: '10.0.0.3', toPort: 81 })
  const c = d.stack.accept(l) as TcpConnection
  c.write(stream(10))
  d.expect({ flags: 'PA', from: '10.0.0.3', len: 10 })
  c.abort()
  d.expect({ flags: 'RA', from: '10.0.0.3' })
})

t.test(
  'MUST-31, 66: urgent data of any length stays in its place, with a window of zero as well',
  async (t) => {
    const d = new Dialogue(t, { limits: { receiveBuffer: 1000 } })
    const c = d.open()
    let text = ''
    let next = 1
    for (let i = 0; i < 20; i++) {
      d.in({ flags: 'PAU', seq: next, ack: 1, data: stream(100, i), urgent: 0xffff - i })
      next += 100
      text += readAll(c)
      d.drain()
    }
    t.equal(text.length, 2000)
    d.in({ flags: 'PAU', seq: next, ack: 1, data: stream(1000), urgent: 1000 })
    next += 1000
    d.drain()
    d.forget()
    c.write(stream(10))
    d.forget()
    d.in({ flags: 'AU', seq: next, ack: 11, urgent: 5 })
    t.equal(c.queued, 0, 'its acknowledgement counts')
    d.in({ flags: 'RU', seq: next, urgent: 5 })
    t.equal(c.error, 'reset')
  },
)

t.test('SHLD-27, 28: what was written in small pieces goes out in the largest segments', async (t) => {
  const d = new Dialogue(t)
  const c = d.open({ mss: 1000, window: 0 })
  for (let i = 0; i < 100; i++) c.write(stream(50, i * 50))
  d.silent()
  d.in({ flags: 'A', seq: 1, ack: 1, window: 65535 })
  d.expect({ len: 1000 }, { len: 1000 }, { len: 1000 }, { len: 1000 }, { len: 1000, flags: 'PA' })
})

t.test('SHLD-3: data that comes when nobody can read it any more is answered with RST', async (t) => {
  const d = new Dialogue(t)
  const c = d.open()
  d.in({ flags: 'PA', seq: 1, ack: 1, data: 'unread' })
  d.forget()
  c.abort()
  d.expect({ flags: 'RA', seq: 1 })
  d.in({ flags: 'PA', seq: 7, ack: 1, data: 'late' })
  d.expect({ flags: 'R', seq: 1 })
})
