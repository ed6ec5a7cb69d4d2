/** Any sequence of what applications and links can do: no stall, no octet lost or doubled, nothing left. */
import fc from 'fast-check'
import t from 'tap'
import { type NetStack, type TcpConnection, takeReady } from '../../../stack/index.js'
import { octet, unhurt } from '../../helpers/endpoint.js'
import { ADDRESS_B, type LinkProfile, Pair } from '../../helpers/pair.js'
import { Dialogue, stream } from '../../helpers/segment.js'

/** One direction of a connection: what was written and what came. */
class Direction {
  readonly key: number
  written = 0
  received = 0
  ended = false

  constructor(key: number) {
    this.key = key
  }

  write(c: TcpConnection, n: number): void {
    if (this.ended || !c.writable) return
    const chunk = new Uint8Array(n)
    for (let i = 0; i < n; i++) chunk[i] = octet(this.key, this.written + i)
    const before = c.queued
    c.write(chunk)
    if (c.queued > before) this.written += n
  }

  end(c: TcpConnection): void {
    this.ended = true
    c.end()
  }

  read(c: TcpConnection, most: number): void {
    let left = most
    for (let piece = c.peek(); piece.length > 0 && left > 0; piece = c.peek()) {
      const n = Math.min(piece.length, left)
      for (let i = 0; i < n; i++) {
        if (piece[i] !== octet(this.key, this.received + i)) {
          throw new Error(`octet ${this.received + i} is wrong`)
        }
      }
      this.received += n
      left -= n
      c.consume(n)
    }
  }
}

const side = fc.constantFrom('a' as const, 'b' as const)
const operation = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({ op: fc.constant('write' as const), side, n: fc.integer({ min: 1, max: 5000 }) }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ op: fc.constant('write' as const), side, n: fc.integer({ min: 1, max: 3 }) }),
  },
  {
    weight: 5,
    arbitrary: fc.record({ op: fc.constant('read' as const), side, n: fc.integer({ min: 1, max: 9000 }) }),
  },
  {
    weight: 6,
    arbitrary: fc.record({
      op: fc.constant('wait' as const),
      n: fc.constantFrom(1, 7, 39, 41, 200, 1000, 9000),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({ op: fc.constant('drop' as const), side, n: fc.integer({ min: 1, max: 6 }) }),
  },
  { weight: 1, arbitrary: fc.record({ op: fc.constant('end' as const), side }) },
)

const profile: fc.Arbitrary<LinkProfile> = fc.record({
  delay: fc.constantFrom(0, 1, 20, 150),
  jitter: fc.constantFrom(0, 0, 30),
  loss: fc.constantFrom(0, 0, 0.05, 0.2),
  reorder: fc.constantFrom(0, 0.2),
  duplicate: fc.constantFrom(0, 0.2),
  corrupt: fc.constantFrom(0, 0.02),
})

const limits = fc.record({
  receiveBuffer: fc.constantFrom(500, 4000, 70_000, 1 << 20),
  sendBuffer: fc.constantFrom(1, 3000, 1 << 20),
  outOfOrderRanges: fc.constantFrom(1, 3, 64),
})

interface Run {
  readonly pair: Pair
  readonly a: TcpConnection
  b: TcpConnection | undefined
  readonly ab: Direction
  readonly ba: Direction
  drops: { a: number; b: number }
}

function begin(link: LinkProfile, seed: number, bounds: object, noDelay: boolean): Run {
  const pair = new Pair(link, seed, { limits: bounds, times: { maxRto: 4000 } })
  const listener = pair.b.listen({ port: 80 })
  const a = pair.a.connect({ address: ADDRESS_B, port: 80 }, pair.now, { noDelay })
  if (listener === undefined || typeof a === 'string') throw new Error('no socket')
  const run: Run = {
    pair,
    a,
    b: undefined,
    ab: new Direction(a.tuple.localPort),
    ba: new Direction(80),
    drops: { a: 0, b: 0 },
  }
  pair.onReady = (s, stack: NetStack) => {
    takeReady(s)
    if (s === listener) run.b ??= stack.accept(listener)
  }
  pair.ab.tap = () => run.drops.a-- <= 0
  pair.ba.tap = () => run.drops.b-- <= 0
  return run
}

type Operation = typeof operation extends fc.Arbitrary<infer T> ? T : never

function apply(run: Run, o: Operation): void {
  if (o.op === 'wait') {
    run.pair.pass(o.n)
    return
  }
  if (o.op === 'drop') {
    run.drops[o.side] = o.n
    return
  }
  const c = o.side === 'a' ? run.a : run.b
  if (c === undefined) return
  const out = o.side === 'a' ? run.ab : run.ba
  const into = o.side === 'a' ? run.ba : run.ab
  if (o.op === 'write') out.write(c, o.n)
  else if (o.op === 'read') into.read(c, o.n)
  else out.end(c)
  run.pair.settle()
}

/** Lets both sides read and end, and waits for the end. */
function finish(run: Run): void {
  const { pair, a, ab, ba } = run
  run.drops.a = run.drops.b = 0
  const done = pair.run(() => {
    // Until nothing more comes of it at this instant.
    do {
      ba.read(a, Number.POSITIVE_INFINITY)
      if (!ab.ended) ab.end(a)
      if (run.b !== undefined) {
        ab.read(run.b, Number.POSITIVE_INFINITY)
        if (!ba.ended) ba.end(run.b)
      }
      pair.settle()
    } while (a.readable > 0 || (run.b?.readable ?? 0) > 0)
    const { b } = run
    return b !== undefined && a.ended && b.ended && a.queued === 0 && b.queued === 0
  }, 3_600_000)
  const state = `a ${JSON.stringify(a.info())} b ${JSON.stringify(run.b?.info())}`
  if (!done) throw new Error(`a stall: ${state}`)
  if (a.error !== undefined || run.b?.error !== undefined) throw new Error(`${a.error} ${run.b?.error}`)
  if (ab.received !== ab.written || ba.received !== ba.written) {
    throw new Error(`${ab.received} of ${ab.written}, ${ba.received} of ${ba.written}: ${state}`)
  }
}

t.test('write, read, end, wait and drop in any order', async (t) => {
  const seed = 31_337
  fc.assert(
    fc.property(
      profile,
      limits,
      fc.boolean(),
      fc.nat(),
      fc.array(operation, { minLength: 3, maxLength: 60 }),
      (link, bounds, noDelay, linkSeed, operations) => {
        const run = begin(link, linkSeed, bounds, noDelay)
        for (const o of operations) apply(run, o)
        finish(run)
        unhurt(run.pair)
      },
    ),
    { seed, numRuns: 500 },
  )
  t.pass(`500 sequences from seed ${seed}`)
})

t.test('an abort at any place leaves nothing behind on either side', async (t) => {
  const seed = 4711
  fc.assert(
    fc.property(
      profile,
      limits,
      fc.nat(),
      side,
      fc.array(operation, { maxLength: 40 }),
      fc.array(operation, { maxLength: 10 }),
      (link, bounds, linkSeed, who, before, after) => {
        const run = begin(link, linkSeed, bounds, true)
        for (const o of before) apply(run, o)
        const c = who === 'a' ? run.a : run.b
        c?.abort()
        for (const o of after) apply(run, o)
        if (c !== undefined) {
          run.drops.a = run.drops.b = 0
          const left = run.pair[who].held
          if (left.connections !== 0 || left.bytes !== 0) throw new Error(JSON.stringify(left))
          // The other side finds out when it next has something to say.
          let other: TcpConnection | undefined
          const done = run.pair.run(() => {
            if (other === undefined) {
              other = who === 'a' ? run.b : run.a
              other?.setKeepAlive(1000, run.pair.now)
            }
            return run.pair.a.held.connections + run.pair.b.held.connections === 0
          }, 3_600_000)
          if (!done) throw new Error(`the other side stays: ${JSON.stringify(other?.info())}`)
        }
        unhurt(run.pair)
      },
    ),
    { seed, numRuns: 300 },
  )
  t.pass(`300 sequences from seed ${seed}`)
})

t.test(
  'a peer that sends anything at all gets an answer or none, and holds no more than its share',
  async (t) => {
    // Segments with random flags, numbers and options near the window: nothing throws, memory is bounded.
    const near = fc.oneof(
      fc.integer({ min: -5, max: 3000 }),
      fc.integer({ min: -70_000, max: 70_000 }),
      fc.integer(),
    )
    const segment = fc.record({
      flags: fc.subarray([...'FSRPAU']),
      seq: near,
      ack: near,
      window: fc.integer({ min: 0, max: 65535 }),
      len: fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 1400 })),
      options: fc.option(fc.uint8Array({ maxLength: 40 }), { nil: undefined }),
      wait: fc.constantFrom(0, 0, 1, 50, 1000),
      write: fc.constantFrom(0, 0, 0, 1, 3000),
    })
    const limit = 20_000
    fc.assert(
      fc.property(fc.array(segment, { maxLength: 60 }), fc.boolean(), (segments, ts) => {
        const d = new Dialogue(
          { teardown: () => {}, pass: () => {} },
          { limits: { receiveBuffer: limit, sendBuffer: limit } },
        )
        const c = d.open(ts ? { ts: [1, 0], shift: 3, sackOk: true } : {})
        for (const s of segments) {
          if (c.writable && s.write > 0) c.write(stream(s.write))
          d.in({
            flags: s.flags.join(''),
            seq: s.seq,
            ack: s.ack,
            window: s.window,
            data: stream(s.len),
            ...(s.options === undefined ? {} : { options: s.options }),
          })
          if (c.readable > limit) throw new Error(`${c.readable} octets readable`)
          if (s.wait > 0) d.pass(s.wait)
          d.forget()
        }
        d.close()
      }),
      { seed: 99, numRuns: 1000 },
    )
    t.pass('1000 dialogues')
  },
)
