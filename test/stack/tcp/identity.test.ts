/** Ports (RFC 6056) and initial sequence numbers (RFC 6528): what an outsider must not guess. */
import t from 'tap'
import { Dialogue, ip } from '../../helpers/segment.js'

t.test('ports are spread over the whole range', async (t) => {
  const d = new Dialogue(t)
  const ports: number[] = []
  for (let i = 0; i < 2000; i++) {
    const c = d.connect({}, 5000)
    ports.push(c.tuple.localPort)
  }
  d.drain()
  t.ok(ports.every((p) => p >= 1024 && p <= 65535))
  t.equal(new Set(ports).size, ports.length)
  const eighths = new Array(8).fill(0)
  for (const p of ports) eighths[Math.floor(((p - 1024) * 8) / 64_512)]++
  t.ok(
    eighths.every((n) => n > 190 && n < 310),
    eighths.join(' '),
  )
  const steps = ports.slice(1).filter((p, i) => Math.abs(p - (ports[i] ?? 0)) < 64).length
  t.ok(steps < 20, `${steps} near their forerunner`)
})

t.test('a port in use for that destination, or listened on, is passed over', async (t) => {
  // Randomness that always says the same: the search must do the rest.
  const d = new Dialogue(t, { random: (dst) => dst.fill(0) })
  d.listen({ port: 1024 })
  d.listen({ port: 1026 })
  const ports = [1, 2, 3].map(() => d.connect().tuple.localPort)
  t.same(ports, [1025, 1027, 1028])
  t.equal(d.connect({}, 81).tuple.localPort, 1025, 'another destination is another connection')
  const last = new Dialogue(t, { random: (dst) => dst.set([0, 0, 0xfb, 0xff].slice(0, dst.length)) })
  t.same(
    [1, 2].map(() => last.connect().tuple.localPort),
    [65_535, 1024],
    'the search goes round',
  )
})

t.test('the same port may serve different destinations, and the limit of connections holds', async (t) => {
  const d = new Dialogue(t, { limits: { connections: 50 } })
  let refused = 0
  for (let i = 0; i < 60; i++) {
    const c = d.stack.connect({ address: ip(`10.1.0.${i + 1}`), port: 80 }, d.now)
    if (typeof c === 'string') {
      t.equal(c, 'no-resources')
      refused++
    }
  }
  t.equal(refused, 10)
})

function iss(d: Dialogue): number {
  d.drain()
  return d.segments.splice(0).at(-1)?.rawSeq ?? -1
}

t.test('initial sequence numbers of different connections have nothing to do with each other', async (t) => {
  const d = new Dialogue(t)
  const seen: number[] = []
  for (let i = 0; i < 500; i++) {
    d.connect()
    seen.push(iss(d))
  }
  t.equal(new Set(seen).size, 500)
  const quarters = [0, 0, 0, 0]
  for (const s of seen) quarters[s >>> 30] = (quarters[s >>> 30] ?? 0) + 1
  t.ok(
    quarters.every((n) => n > 80 && n < 170),
    quarters.join(' '),
  )
  const near = seen.slice(1).filter((s, i) => Math.abs((s - (seen[i] ?? 0)) | 0) < 1 << 20).length
  t.ok(near < 5)
})

t.test('for the same addresses and ports they grow by 250 a millisecond', async (t) => {
  const d = new Dialogue(t)
  const l = d.listen()
  let last: number | undefined
  for (const wait of [1, 10, 1000, 60_000, 3_600_000]) {
    d.in({ flags: 'S', seq: 0 })
    const now = iss(d)
    if (last !== undefined) t.equal((now - last) >>> 0, (wait * 250) >>> 0, `${wait} ms`)
    d.in({ flags: 'R', seq: 1 })
    const next = [10, 1000, 60_000, 3_600_000][[1, 10, 1000, 60_000].indexOf(wait)]
    if (next !== undefined) d.pass(next)
    last = now
  }
  t.equal(l.halfOpen, 0)
})

t.test('each address and port changes them', async (t) => {
  const seen = new Set<number>()
  for (const [from, fromPort, toPort] of [
    ['10.0.0.1', 5000, 80],
    ['10.0.0.3', 5000, 80],
    ['10.0.0.1', 5001, 80],
    ['10.0.0.1', 5000, 81],
  ] as const) {
    const d = new Dialogue(t)
    d.listen({ port: toPort })
    d.in({ flags: 'S', seq: 0, from, fromPort, toPort })
    seen.add(iss(d))
  }
  t.equal(seen.size, 4)
})

t.test('a seed gives the same run again, another seed another', async (t) => {
  const run = (seed: number): string => {
    const d = new Dialogue(t, { seed })
    const c = d.connect()
    const [syn] = d.forget()
    return `${c.tuple.localPort} ${syn?.rawSeq} ${syn?.ts?.[0]}`
  }
  t.equal(run(1), run(1))
  t.not(run(1), run(2))
})
