/** Options of every kind of nonsense: RFC 9293 3.1 and 3.7.1, RFC 7323 2.3. */
import t from 'tap'
import { SeededRandom } from '../../helpers/random.js'
import { Dialogue, readAll, stream } from '../../helpers/segment.js'
import { ACK, PSH, RST, Siege, SYN, undisturbed } from './siege.js'

const quiet = undisturbed()

/** Forty octets of nonsense, each time of another kind. */
function bomb(random: SeededRandom, i: number): Uint8Array {
  const b = new Uint8Array(40)
  switch (i % 10) {
    case 0:
      return random.bytes(40)
    case 1:
      return b.fill(1)
    case 2:
      // Lengths of 0 and 1.
      for (let k = 0; k < 40; k += 2) b.set([2 + random.below(8), k & 2 ? 0 : 1], k)
      return b
    case 3:
      b.set([random.below(256), 255])
      return b
    case 4:
      // The same option ten times, with other values.
      for (let k = 0; k < 40; k += 4) b.set([2, 4, random.below(256), random.below(256)], k)
      return b
    case 5:
      for (let k = 0; k < 39; k += 3) b.set([3, 3, random.below(256)], k)
      return b
    case 6:
      for (let k = 0; k < 40; k += 10) b.set([8, 10, ...random.bytes(8)], k)
      return b
    case 7:
      b.set([5, 34, ...random.bytes(32)])
      return b
    case 8:
      b.set([5, 38, ...random.bytes(36)])
      return b
    default:
      // Ends just where the header does.
      for (let k = 0; k < 40; k++) b[k] = random.below(5)
      b.set([8, 10, 0], 37)
      return b
  }
}

t.test('bombs at a listener and at an open connection', async (t) => {
  const s = new Siege()
  const flags = [SYN, SYN | ACK, ACK, ACK | PSH, RST, 0xff, 0]
  s.run((i) => {
    for (let k = 0; k < 10; k++) {
      const options = bomb(s.random, i + k)
      const from = `10.6.${i & 255}.${k}`
      s.attack(
        s.asClient({ from, flags: flags[(i + k) % 7] ?? 0, seq: s.anySeq(), ack: s.anySeq(), options }),
      )
      s.attack(s.asClient({ flags: flags[(i + k) % 7] ?? 0, seq: s.anySeq(), ack: s.anySeq(), options }))
    }
  })
  t.ok(s.forged > 5000)
  t.ok(s.pair.b.held.connections <= 258, 'the backlog is the bound')
  t.ok(s.peak <= quiet.peak + 10_000, `${s.peak} octets held, ${quiet.peak} in peace`)
  s.survived()
})

t.test('whatever a SYN says, the connection works', async (t) => {
  const random = new SeededRandom(31)
  for (let i = 0; i < 400; i++) {
    const d = new Dialogue(t)
    const l = d.listen()
    const options = bomb(random, i)
    d.in({ flags: 'S', seq: 0, options })
    const [answer] = d.forget()
    t.equal(answer?.flags, 'SA', 'it is answered')
    const ts = answer?.ts === undefined ? {} : { ts: [answer.ts[1], answer.ts[0]] as const }
    d.in({ flags: 'A', seq: 1, ack: 1, ...ts })
    const c = d.stack.accept(l)
    t.ok(c, 'and opens')
    if (c === undefined) return
    const { mss } = c.info()
    t.ok(Number(mss) >= 52 && Number(mss) <= 1360, `segments of ${mss}`)
    t.ok(Number(c.info().sendShift) <= 14)
    c.write(stream(3000))
    for (let k = 0; k < 120 && c.queued > 0; k++) {
      for (const s of d.forget()) d.in({ flags: 'A', seq: 1, ack: s.seq + s.len, ...ts, window: 65535 })
      d.pass(300)
    }
    t.equal(c.queued, 0)
    d.in({ flags: 'PA', seq: 1, ack: 3001, data: 'hello', ...ts })
    t.equal(readAll(c), 'hello')
  }
})

t.test('a segment size of 0, 1 and 65535, and a scale of 255, from either side', async (t) => {
  for (const mss of [0, 1, 2, 63, 65535]) {
    for (const active of [true, false]) {
      const d = new Dialogue(t)
      const c = active ? d.open({ mss, shift: 255 }) : d.serve({ mss, shift: 255 })
      const size = Number(c.info().mss)
      t.ok(size >= 64 && size <= 1360, `${mss}: ${size}`)
      t.equal(c.info().sendShift, 14)
      c.write(stream(100_000))
      const first = d.forget()
      t.ok(first.length <= 10, `${first.length} segments at first`)
      t.ok(first.every((s) => s.len <= 1360))
    }
  }
})

t.test('blocks and timestamps that were never agreed change nothing', async (t) => {
  const random = new SeededRandom(3)
  const d = new Dialogue(t)
  const c = d.open({ mss: 1000 })
  c.write(stream(50_000))
  const out = d.forget().length
  t.equal(out, 10)
  for (let i = 0; i < 2000; i++) {
    const options = i % 2 === 0 ? bomb(random, 6 + (i % 3)) : Uint8Array.of(5, 10, ...random.bytes(8))
    d.in({ flags: 'A', seq: 1 + (i % 2), ack: 1 + i, options, window: 65535 })
    d.drain()
  }
  t.ok(d.forget().every((s) => s.seq > 0))
  t.equal(c.stateName, 'ESTABLISHED')
})
