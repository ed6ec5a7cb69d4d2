/** ICMP errors about TCP: RFC 9293 3.9.2.2, RFC 5461, RFC 5927, RFC 1191, RFC 8201. */
import t from 'tap'
import type { TcpConnection } from '../../../stack/index.js'
import {
  buildPacket,
  Dialogue,
  type DialogueOptions,
  icmpError,
  inState,
  SYNCHRONISED,
  stream,
  type Test,
} from '../../helpers/segment.js'

/** An error from a router about a segment of the connection's at `seq`, relative. */
function error(
  d: Dialogue,
  c: TcpConnection,
  type: number,
  code: number,
  seq: number,
  detail = 0,
  whole = false,
): void {
  const { tuple } = c
  const quoted = buildPacket(d.family, tuple.local.toString(), tuple.remote.toString(), {
    fromPort: tuple.localPort,
    toPort: tuple.remotePort,
    seq: (d.stackIss ?? 0) + seq,
    ack: 0,
    flags: 16,
    window: 1,
    urgent: 0,
    options: new Uint8Array(0),
    data: new Uint8Array(1360),
    corrupt: false,
    reserved: 0,
  })
  const head = d.family === 4 ? 28 : 60
  const router = d.family === 4 ? '10.0.0.254' : 'fd00::fe'
  d.inPacket(
    icmpError(
      d.family,
      router,
      d.stackAddress,
      type,
      code,
      detail,
      whole ? quoted : quoted.subarray(0, head),
    ),
  )
}

/** Type, code, and what it means. */
const HARD4 = [
  [3, 2],
  [3, 3],
] as const
const SOFT4 = [
  [3, 0, 'network-unreachable'],
  [3, 1, 'host-unreachable'],
  [3, 5, 'host-unreachable'],
  [3, 9, 'prohibited'],
  [3, 10, 'prohibited'],
  [3, 13, 'prohibited'],
  [11, 0, 'ttl-expired'],
] as const
const HARD6 = [
  [1, 4],
  [4, 1],
] as const
const SOFT6 = [
  [1, 0, 'network-unreachable'],
  [1, 1, 'prohibited'],
  [1, 3, 'host-unreachable'],
  [1, 5, 'prohibited'],
  [1, 6, 'prohibited'],
  [3, 0, 'ttl-expired'],
] as const

function opening(t: Test, options: DialogueOptions = {}): [Dialogue, TcpConnection] {
  const d = new Dialogue(t, options)
  const c = d.connect()
  d.forget()
  return [d, c]
}

t.test('a hard error refuses an open that is not complete', async (t) => {
  for (const family of [4, 6] as const) {
    for (const [type, code] of family === 4 ? HARD4 : HARD6) {
      const [d, c] = opening(t, { family })
      error(d, c, type, code, 0)
      t.equal(c.stateName, 'CLOSED')
      t.equal(c.error, 'refused', `${family}: ${type}/${code}`)
      d.silent()
    }
  }
})

t.test('a soft error is noted, and ends an open only when a second SYN went in vain', async (t) => {
  for (const family of [4, 6] as const) {
    for (const [type, code, meaning] of family === 4 ? SOFT4 : SOFT6) {
      const [d, c] = opening(t, { family })
      error(d, c, type, code, 0)
      t.equal(c.stateName, 'SYN-SENT', `${family}: ${type}/${code}`)
      t.equal(c.softError, meaning)
      d.pass(1000)
      d.expect({ flags: 'S' })
      error(d, c, type, code, 0)
      t.equal(c.error, meaning)
    }
  }
})

t.test('routers limit how often they say so: once, and silence behind a second SYN, is enough', async (t) => {
  const [d, c] = opening(t)
  error(d, c, 3, 13, 0)
  d.pass(1000)
  d.expect({ flags: 'S' })
  d.pass(1999)
  t.equal(c.stateName, 'SYN-SENT', 'that one has its time')
  d.pass(1)
  t.equal(c.error, 'prohibited')
  d.silent()
})

t.test('a route that comes back completes the open', async (t) => {
  const [d, c] = opening(t)
  error(d, c, 3, 1, 0)
  d.pass(1000)
  d.forget()
  d.in({ flags: 'SA', seq: 0, ack: 1 })
  t.equal(c.stateName, 'ESTABLISHED')
  t.equal(c.softError, undefined, 'forgotten')
})

t.test('a time-out after a soft error is reported as that error', async (t) => {
  const [d, c] = opening(t, { times: { connect: 900 } })
  error(d, c, 3, 0, 0)
  d.pass(900)
  t.equal(c.error, 'network-unreachable')
})

t.test('nothing aborts a synchronised connection', async (t) => {
  for (const state of SYNCHRONISED) {
    for (const [type, code] of [...HARD4, ...SOFT4]) {
      const [d, c] = inState(t, state)
      if (state === 'ESTABLISHED') {
        c.write(stream(100))
        d.forget()
      }
      error(d, c, type, code, 1)
      t.equal(c.stateName, state)
    }
  }
})

t.test('an error that stays is the reason when retransmission gives up', async (t) => {
  const [d, c] = inState(t, 'ESTABLISHED')
  c.write(stream(100))
  d.forget()
  error(d, c, 3, 1, 1)
  t.equal(c.softError, 'host-unreachable')
  d.pass(300_000)
  t.equal(c.error, 'host-unreachable')
})

t.test('source quench and redirects are ignored', async (t) => {
  const [d, c] = opening(t)
  error(d, c, 4, 0, 0)
  error(d, c, 5, 1, 0)
  d.pass(1000)
  error(d, c, 4, 0, 0)
  t.equal(c.softError, undefined)
  t.equal(c.stateName, 'SYN-SENT')
})

t.test('an error that quotes a number not in flight is a guess (RFC 5927 4.1)', async (t) => {
  const [d, c] = opening(t)
  for (const seq of [-1, 1, 100, 0x7fffffff]) error(d, c, 3, 3, seq)
  t.equal(c.stateName, 'SYN-SENT')
  const [e, x] = inState(t, 'ESTABLISHED')
  x.write(stream(100))
  e.forget()
  for (const seq of [0, 101, -50]) error(e, x, 3, 1, seq)
  t.equal(x.softError, undefined)
  error(e, x, 3, 1, 100)
  t.equal(x.softError, 'host-unreachable')
})

t.test('a half-open passive connection is not ended by ICMP', async (t) => {
  const d = new Dialogue(t)
  const l = d.listen()
  d.in({ flags: 'S', seq: 0 })
  d.forget()
  const quoted = buildPacket(4, '10.0.0.2', '10.0.0.1', {
    fromPort: 80,
    toPort: 5000,
    seq: d.stackIss ?? 0,
    ack: 0,
    flags: 18,
    window: 1,
    urgent: 0,
    options: new Uint8Array(0),
    data: new Uint8Array(0),
    corrupt: false,
    reserved: 0,
  })
  d.inPacket(icmpError(4, '10.0.0.254', '10.0.0.2', 3, 3, 0, quoted.subarray(0, 28)))
  d.in({ flags: 'A', seq: 1, ack: 1 })
  t.equal(d.stack.accept(l)?.stateName, 'ESTABLISHED')
})

// ---------------------------------------------------------------- packet too big

t.test('packet too big lowers the segment size and sends again at once, without a loss', async (t) => {
  const d = new Dialogue(t)
  const c = d.open()
  c.write(stream(5000))
  t.equal(d.forget()[0]?.len, 1360)
  const { cwnd } = c.info()
  error(d, c, 3, 4, 1361, 1280, true)
  t.equal(c.info().mss, 1240)
  const again = d.forget()
  t.equal(again[0]?.seq, 1)
  t.ok(again.every((s) => s.len <= 1240))
  t.equal(
    again.reduce((n, s) => n + s.len, 0),
    4080,
    'what was small enough is on its way',
  )
  t.ok((c.info().cwnd as number) >= 10 * 1240, `${cwnd} before`)
  t.equal(c.info().ssthresh, Number.POSITIVE_INFINITY)
  d.in({ flags: 'A', seq: 1, ack: 5001 })
  t.equal(c.queued, 0)
})

t.test('with timestamps the new size leaves room for them, and on IPv6 for its header', async (t) => {
  const d = new Dialogue(t)
  const c = d.open({ ts: [1, 0] })
  c.write(stream(5000))
  d.forget()
  error(d, c, 3, 4, 1, 1000)
  t.equal(c.info().mss, 1000 - 40 - 12)

  const six = new Dialogue(t, { family: 6 })
  const x = six.open()
  x.write(stream(5000))
  six.forget()
  error(six, x, 2, 0, 1, 1300)
  t.equal(x.info().mss, 1300 - 60)
  error(six, x, 2, 0, 1, 1280)
  t.equal(x.info().mss, 1280 - 60)
})

t.test('a size that is no news, or not to be believed, changes nothing', async (t) => {
  for (const mtu of [1400, 1500, 65535, 551, 68, 1]) {
    const d = new Dialogue(t)
    const c = d.open()
    c.write(stream(5000))
    d.forget()
    error(d, c, 3, 4, 1, mtu)
    t.equal(c.info().mss, 1360, `${mtu}`)
    d.silent()
  }
  for (const mtu of [0, 1279, 576, 1400, 0xffffffff]) {
    const d = new Dialogue(t, { family: 6 })
    const c = d.open()
    c.write(stream(5000))
    d.forget()
    error(d, c, 2, 0, 1, mtu)
    t.equal(c.info().mss, 1340, `${mtu}`)
  }
})

t.test('a router that does not say its size gets the next plateau (RFC 1191 7)', async (t) => {
  const d = new Dialogue(t)
  const c = d.open()
  c.write(stream(5000))
  d.forget()
  error(d, c, 3, 4, 1, 0)
  t.equal(c.info().mss, 1006 - 40)
  d.forget()
  error(d, c, 3, 4, 1, 0)
  t.equal(c.info().mss, 1006 - 40, 'but nothing below 552')
})

t.test('packet too big must quote what is in flight as well', async (t) => {
  const d = new Dialogue(t)
  const c = d.open()
  error(d, c, 3, 4, 1, 1280)
  t.equal(c.info().mss, 1360, 'nothing is in flight')
  c.write(stream(5000))
  d.forget()
  error(d, c, 3, 4, 5001, 1280)
  t.equal(c.info().mss, 1360)
  error(d, c, 3, 4, 5000, 1280)
  t.equal(c.info().mss, 1240)
})

t.test('a path that shrinks twice during a transfer', async (t) => {
  const d = new Dialogue(t)
  const c = d.open()
  c.write(stream(200_000))
  let limit = 1400
  let acked = 1
  for (let i = 0; i < 400 && c.queued > 0; i++) {
    if (i === 2) limit = 1300
    if (i === 4) limit = 600
    for (const s of d.forget()) {
      if (s.len + 40 > limit) error(d, c, 3, 4, s.seq, limit)
      else if (s.seq <= acked && s.seq + s.len > acked) acked = s.seq + s.len
    }
    d.in({ flags: 'A', seq: 1, ack: acked })
    d.pass(10)
  }
  t.equal(c.queued, 0)
  t.equal(c.info().mss, 560)
})
