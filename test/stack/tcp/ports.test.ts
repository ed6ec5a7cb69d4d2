/** When ports run out: bounded work, a clear answer, and TIME-WAIT gives way (RFC 6191). */
import t from 'tap'
import { TupleTable } from '../../../stack/demux.js'
import type { TcpConnection } from '../../../stack/index.js'
import { Dialogue, ip, readAll, type SegmentIn, stream } from '../../helpers/segment.js'

const PORTS = 65536 - 1024
const REMOTE = 5000

/** Random numbers that count, so that the first port tried is nearly always free. */
function counting(): (dst: Uint8Array) => void {
  let word = 0
  return (dst) => {
    word++
    for (let i = 0; i < dst.length; i++) dst[i] = word >>> (8 * ((dst.length - 1 - i) & 3))
  }
}

/** A connection of ours in TIME-WAIT; `sent`: octets it has sent. */
function waiting(d: Dialogue, syn: Partial<SegmentIn>, sent = 0): TcpConnection {
  d.stackIss = undefined
  d.peerNext = 0
  const c = d.open(syn)
  if (sent > 0) c.write(stream(sent))
  while (c.queued > 0) {
    d.drain()
    d.in({ flags: 'A', seq: 1 })
  }
  c.end()
  d.drain()
  d.in({ flags: 'FA', seq: 1 })
  d.forget()
  if (c.stateName !== 'TIME-WAIT') throw new Error(c.stateName)
  return c
}

/** Look-ups of four-tuples that `f` takes. */
function lookups(f: () => void): number {
  const { find, get } = TupleTable.prototype
  let n = 0
  TupleTable.prototype.find = function (...args) {
    n++
    return find.apply(this, args)
  }
  TupleTable.prototype.get = function (...args) {
    n++
    return get.apply(this, args)
  }
  try {
    f()
  } finally {
    TupleTable.prototype.find = find
    TupleTable.prototype.get = get
  }
  return n
}

t.test('without a free port, a connection in TIME-WAIT gives way if its timestamps allow it', async (t) => {
  const d = new Dialogue(t, { limits: { connections: 100_000 }, random: counting() })
  const address = ip(d.peerAddress)
  const another = (): TcpConnection | string => d.stack.connect({ address, port: REMOTE }, d.now)
  const plain = waiting(d, {})
  const size = 1_000_000
  const old = waiting(d, { ts: [77, 0], shift: 7 }, size)
  const oldEnd = (d.stackIss ?? 0) + size + 2
  const oldClock = d.tsRecent
  const oldStamp = d.stamp()
  // All others are taken; their SYNs leave without a look.
  d.at(500)
  let taken = 2
  const buffer = new Uint8Array(1400)
  while (typeof another() !== 'string') {
    taken++
    while (d.stack.output(buffer, 0, d.now) > 0);
  }
  t.equal(taken, PORTS)
  let answer: TcpConnection | string = ''
  const again = (): void => {
    answer = another()
  }
  const bound = lookups(again)
  t.ok(bound <= PORTS, `${bound} look-ups to find that there is none`)
  t.equal(answer, 'no-resources', 'half a second is too early')
  d.now = d.start + 1000
  again()
  t.equal(answer, 'no-resources')
  t.equal(d.stack.connect({ address, port: 1 }, d.now) instanceof Object, true, 'elsewhere is elsewhere')
  d.forget()

  d.now = d.start + 1001
  d.stackIss = undefined
  again()
  if (typeof answer === 'string') throw new Error(answer)
  const c: TcpConnection = answer
  t.equal(c.tuple.localPort, old.tuple.localPort)
  t.same([old.stateName, old.error, plain.stateName], ['CLOSED', undefined, 'TIME-WAIT'])
  const [syn] = d.forget()
  t.equal(syn?.flags, 'S')
  t.ok((((syn?.rawSeq ?? 0) - oldEnd) | 0) >= 65_000, 'its numbers begin behind the old ones')
  t.ok((((syn?.ts?.[0] ?? 0) - oldClock) | 0) > 900, 'and its clock goes on')
  t.equal(d.stack.held.connections, PORTS + 1)
  again()
  t.equal(answer, 'no-resources', 'that was the only one')

  // What the other side had under way for the old connection is not taken, neither now nor later.
  const late: SegmentIn = {
    flags: 'PA',
    seq: 1,
    ack: (oldEnd - (d.stackIss ?? 0)) | 0,
    data: 'old',
    ts: oldStamp,
  }
  d.in(late)
  d.expect({ flags: 'R' })
  t.equal(c.stateName, 'SYN-SENT')
  d.in({ flags: 'SA', seq: 100, ack: 1, ts: d.stamp() })
  d.expect({ flags: 'A', seq: 1, ack: 101 })
  t.equal(c.stateName, 'ESTABLISHED')
  d.in({ ...late, seq: 101, ack: 1 })
  d.in({ ...late, seq: 103, ack: 1, flags: 'FA' })
  d.in({ ...late, seq: 1 })
  t.equal(c.readable, 0)
  t.equal(c.ended, false)
  d.forget()
  d.in({ flags: 'PA', seq: 101, ack: 1, data: 'new' })
  t.equal(readAll(c), 'new')
})

t.test('a free port takes one look, whatever else is open', async (t) => {
  const d = new Dialogue(t, { random: counting() })
  const address = ip(d.peerAddress)
  for (let i = 0; i < 1000; i++) {
    const n = lookups(() => d.stack.connect({ address, port: REMOTE }, d.now))
    if (n > 1) t.fail(`${n} look-ups`)
  }
  t.equal(d.stack.held.connections, 1000)
})

t.test('while a port is free nothing gives way', async (t) => {
  const d = new Dialogue(t, { random: counting() })
  const old = waiting(d, { ts: [77, 0] })
  d.pass(5000)
  t.not(d.connect({}, REMOTE).tuple.localPort, old.tuple.localPort)
  t.equal(old.stateName, 'TIME-WAIT')
})

t.test('an address of ours that is asked for', async (t) => {
  const d = new Dialogue(t, { tcp: { local: ip('10.0.0.9') } })
  const to = { address: ip(d.peerAddress), port: 80 }
  t.equal(d.stack.connect(to, d.now), 'network-unreachable', 'the default is not ours yet')
  d.stack.addAddress(ip('10.0.0.9'))
  const c = d.connect()
  t.equal(c.tuple.local.toString(), '10.0.0.9')
  t.equal(d.stack.connect(to, d.now, { local: ip('fd00::2') }), 'network-unreachable', 'of the other family')
  t.equal(d.stack.connect({ address: ip('fd00::1'), port: 80 }, d.now), 'network-unreachable')
  const six = d.stack.connect({ address: ip('fd00::1'), port: 80 }, d.now, { local: ip('fd00::2') })
  t.not(typeof six, 'string')
  d.stack.setMtu(1000)
  const narrow = d.stack.connect({ address: ip('fd00::1'), port: 80 }, d.now, { local: ip('fd00::2') })
  t.equal(narrow, 'network-unreachable', 'a link too narrow for IPv6')
})

t.test('what accepted connections are like, and values out of range', async (t) => {
  for (const [tcp, field, ttl] of [
    [{ dscp: 46, hopLimit: 9 }, 46 << 2, 9],
    [{ dscp: 64 + 1, hopLimit: 0 }, 1 << 2, 1],
    [{ hopLimit: 1000 }, 0, 255],
  ] as const) {
    const d = new Dialogue(t, { tcp })
    d.listen()
    d.in({ flags: 'S', seq: 0 })
    const b = new Uint8Array(1400).fill(0xa5)
    t.ok(d.stack.output(b, 0, d.now) > 0)
    t.same([b[1], b[8]], [field, ttl])
  }
})
