/** Options: RFC 9293 3.2 and 3.7.1, RFC 7323 2, RFC 2018 2. */
import t from 'tap'
import { Dialogue, latin, readAll, type SegmentIn, stream } from '../../helpers/segment.js'

/** What the other side's SYN says. */
const EVERYTHING = { mss: 1360, shift: 7, sackOk: true, ts: [5000, 0] as const }

t.test('a SYN of ours offers every option', async (t) => {
  const d = new Dialogue(t)
  d.connect()
  const [syn] = d.forget()
  t.equal(syn?.mss, 1360)
  t.equal(syn?.shift, 8, 'a buffer that may become 8 MiB')
  t.equal(syn?.sackOk, true)
  t.equal(syn?.ts?.[1], 0)
})

t.test('the window scale is the smallest with which the whole buffer can be announced', async (t) => {
  for (const [receiveBuffer, shift] of [
    [4096, 0],
    [65535, 0],
    [65536, 1],
    [1 << 20, 5],
    [16 << 20, 9],
  ] as const) {
    const d = new Dialogue(t, { limits: { receiveBuffer, receiveBufferMax: receiveBuffer } })
    d.connect()
    d.expect({ flags: 'S', shift, window: Math.min(receiveBuffer, 65535) })
  }
})

t.test('an answer has only the options that were offered', async (t) => {
  for (const offered of [
    {},
    { shift: 7 },
    { shift: 0 },
    { sackOk: true },
    { ts: [9, 0] as const },
    { shift: 2, ts: [9, 0] as const },
    EVERYTHING,
  ] as Partial<SegmentIn>[]) {
    const d = new Dialogue(t)
    d.listen()
    d.in({ flags: 'S', seq: 0, ...offered })
    const [answer] = d.forget()
    const name = JSON.stringify(offered)
    t.equal(answer?.flags, 'SA')
    t.equal(answer?.mss, 1360, name)
    t.equal(answer?.shift, offered.shift === undefined ? undefined : 8, name)
    t.equal(answer?.sackOk, offered.sackOk ?? false, name)
    t.same(answer?.ts?.[1], offered.ts?.[0], name)
  }
})

t.test('the segment size is the smaller of what both take, less the timestamps', async (t) => {
  for (const [mss, expected] of [
    [undefined, 536],
    [1460, 1360],
    [1360, 1360],
    [900, 900],
    [65535, 1360],
    // A tiny one would cost a packet for each octet.
    [1, 64],
    [0, 536],
  ] as const) {
    const d = new Dialogue(t)
    const c = d.open({ mss })
    t.equal(c.info().mss, expected, `MSS ${mss}`)
    c.write(stream(4000))
    t.equal(d.forget()[0]?.len, expected)

    const e = new Dialogue(t)
    t.equal(e.open({ mss, ts: [1, 0] }).info().mss, expected - 12, `MSS ${mss} with timestamps`)
  }
  const six = new Dialogue(t, { family: 6 })
  t.equal(six.open({ mss: undefined }).info().mss, 1220, 'the default of IPv6')
})

t.test('the announced size fits the MTU', async (t) => {
  for (const mtu of [576, 1280, 1400, 1500, 9000]) {
    const d = new Dialogue(t, { mtu })
    const c = d.connect()
    d.expect({ mss: mtu - 40 })
    d.in({ flags: 'SA', seq: 0, ack: 1, mss: 65535, ts: [1, 0] })
    c.write(stream(20_000))
    const full = d.forget()[0]
    t.equal(full?.len, mtu - 40 - 12)
  }
})

t.test('without a window scale on both sides there is none', async (t) => {
  const d = new Dialogue(t)
  const c = d.open({ window: 60_000 })
  t.equal(c.info().sendShift, 0)
  t.equal(c.info().receiveShift, 0)
  d.in({ flags: 'A', seq: 1, ack: 1, window: 65535 })
  t.equal(c.info().sendWindow, 65535)
  d.in({ flags: 'PA', seq: 1, ack: 1, data: 'x' })
  d.expect({ flags: 'A', ack: 2, window: 65535 })
})

t.test('the window of a SYN is never scaled, all later ones are', async (t) => {
  for (const [shift, used] of [
    [0, 0],
    [3, 3],
    [14, 14],
    // RFC 7323 2.3: above 14 counts as 14.
    [15, 14],
    [255, 14],
  ] as const) {
    const d = new Dialogue(t)
    const c = d.open({ shift, window: 5000 })
    t.equal(c.info().sendWindow, 5000)
    t.equal(c.info().sendShift, used)
    d.in({ flags: 'A', seq: 1, ack: 1, window: 65535 })
    t.equal(c.info().sendWindow, 65535 * 2 ** used)

    const e = new Dialogue(t)
    const s = e.serve({ shift, window: 5000 })
    t.equal(s.info().sendWindow, 65535 * 2 ** used, 'the third segment of the handshake is scaled')
  }
})

t.test('our own window is scaled once that is agreed', async (t) => {
  const d = new Dialogue(t)
  d.open({ shift: 0 })
  d.in({ flags: 'PA', seq: 1, ack: 1, data: 'x' })
  // 128 KiB less one octet, rounded down to steps of 256.
  d.expect({ flags: 'A', ack: 2, window: 511 })
})

t.test('with timestamps agreed every segment has them, and echoes the other side', async (t) => {
  const d = new Dialogue(t)
  const c = d.connect()
  const [syn] = d.forget()
  d.pass(20)
  d.in({ flags: 'SA', seq: 0, ack: 1, ts: [70_000, syn?.ts?.[0] ?? 0] })
  const [ack] = d.forget()
  t.same(ack?.ts, [((syn?.ts?.[0] ?? 0) + 20) >>> 0, 70_000], 'a clock of 1 ms')
  t.equal(c.info().srtt, 20)
  c.write(latin('a'))
  d.in({ flags: 'PA', seq: 1, ack: 1, data: 'b', ts: [70_007, 0] })
  const [data] = d.forget()
  t.same(data?.ts?.[1], 70_007)
  c.abort()
  d.expect({ flags: 'RA', ts: undefined })
})

t.test('without timestamps in the answer none are sent', async (t) => {
  const d = new Dialogue(t)
  const c = d.open({ shift: 2, sackOk: true })
  t.equal(c.info().timestamps, false)
  c.write(latin('a'))
  d.expect({ flags: 'PA', ts: undefined })
  d.in({ flags: 'A', seq: 1, ack: 2, ts: [1, 2] })
  t.equal(c.queued, 0, 'an option that was not agreed is passed over')
})

t.test('the clock of timestamps tells nothing about uptime', async (t) => {
  const offsets = new Set<number>()
  for (let seed = 1; seed <= 20; seed++) {
    const d = new Dialogue(t, { seed })
    d.connect()
    offsets.add((d.forget()[0]?.ts?.[0] ?? 0) - d.now)
  }
  t.equal(offsets.size, 20)
})

t.test('SACK blocks go out only if both sides have permitted them', async (t) => {
  for (const sackOk of [true, false]) {
    const d = new Dialogue(t)
    d.open({ sackOk })
    d.in({ flags: 'A', seq: 11, ack: 1, data: 'later' })
    d.expect({ flags: 'A', ack: 1, sack: sackOk ? [[11, 16]] : [] })
  }
})

t.test('unknown and misplaced options are passed over', async (t) => {
  // User time-out, authentication, MPTCP, Fast Open, then an MSS that counts.
  const odd = Uint8Array.of(28, 4, 0x80, 9, 29, 4, 1, 1, 30, 3, 0, 34, 2, 254, 5, 1, 2, 3, 2, 4, 3, 232)
  const d = new Dialogue(t)
  const l = d.listen()
  d.in({ flags: 'S', seq: 0, options: odd })
  d.expect({ flags: 'SA', mss: 1360, shift: undefined, ts: undefined, sackOk: false })
  d.in({ flags: 'A', seq: 1, ack: 1, options: Uint8Array.of(2, 4, 0, 100, 3, 3, 9, 4, 2, 0, 0, 0) })
  const x = d.stack.accept(l)
  t.equal(x?.info().mss, 1000, 'the MSS of the SYN, not that of a later segment')
  t.equal(x?.info().sendShift, 0)
})

t.test('options with impossible lengths end the reading and nothing else', async (t) => {
  for (const options of [
    [2, 0, 0, 0],
    [2, 1, 5, 180],
    [2],
    [8],
    [2, 40, 1, 1],
    [254, 0],
    [1, 1, 1, 8],
    [2, 3, 5, 180],
    [3, 4, 7, 7],
    [8, 9, 1, 1, 1, 1, 1, 1, 1],
    [5, 3, 1],
    [5, 9, 1, 1, 1, 1, 1, 1, 1],
    [4, 3, 0, 0],
    [0, 2, 4, 1],
  ]) {
    const d = new Dialogue(t)
    const l = d.listen()
    d.in({ flags: 'S', seq: 0, options: Uint8Array.from(options) })
    d.expect({ flags: 'SA', shift: undefined, ts: undefined, sackOk: false })
    d.in({ flags: 'PA', seq: 1, ack: 1, data: 'hi', options: Uint8Array.from(options) })
    const c = d.stack.accept(l)
    if (c === undefined) return t.fail('nothing to accept')
    t.equal(c.info().mss, 536, options.join(' '))
    t.equal(readAll(c), 'hi')
  }
})

t.test('options at any alignment are read (MUST-64)', async (t) => {
  for (let nops = 0; nops < 4; nops++) {
    const d = new Dialogue(t)
    const l = d.listen()
    const pad = new Array(nops).fill(1)
    const options = Uint8Array.of(...pad, 3, 3, 4, 8, 10, 0, 0, 1, 0, 0, 0, 0, 0, 2, 4, 4, 0)
    d.in({ flags: 'S', seq: 0, options, ts: [256, 0] })
    d.expect({ flags: 'SA', shift: 8 })
    d.in({ flags: 'A', seq: 1, ack: 1, ts: [257, d.tsRecent] })
    const c = d.stack.accept(l)
    t.equal(c?.info().mss, 1024 - 12)
    t.equal(c?.info().sendShift, 4)
    t.equal(c?.info().timestamps, true)
  }
})

t.test('garbage for options harms nobody', async (t) => {
  const d = new Dialogue(t)
  const c = d.open()
  let next = 1
  for (let i = 0; i < 500; i++) {
    const options = stream(1 + (i % 40), i * 977)
    d.in({ flags: 'PA', seq: next, ack: 1, data: 'x', options })
    next++
    d.drain()
  }
  d.forget()
  t.equal(readAll(c).length, 500)
})

t.test('reserved bits, the urgent pointer and a wrong checksum', async (t) => {
  const d = new Dialogue(t)
  const c = d.open()
  d.in({ flags: 'PA', seq: 1, ack: 1, data: 'ab', reserved: 0b1110 })
  // RFC 9293 3.8.5 and MUST-31: urgent data is data like any other to us.
  d.in({ flags: 'PAU', seq: 3, ack: 1, data: 'cd', urgent: 1 })
  d.in({ flags: 'PAU', seq: 5, ack: 1, data: 'ef', urgent: 60_000 })
  d.in({ flags: 'PA', seq: 7, ack: 1, data: 'gh', corrupt: true })
  d.in({ flags: 'PAEC', seq: 7, ack: 1, data: 'ij' })
  t.equal(readAll(c), 'abcdefij')
  t.equal(d.stack.counters.checksumErrors, 1)
})
