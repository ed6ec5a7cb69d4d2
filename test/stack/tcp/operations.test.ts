/**
 * Any sequence of what applications and links can do: no stall, no octet lost or doubled, nothing left.
 *
 * `FUZZ_SEED=n FUZZ_ROUNDS=m` runs other sequences, or more.
 */
import fc from 'fast-check'
import t from 'tap'
import type { LinkProfile } from '../../helpers/pair.js'
import { Dialogue, stream } from '../../helpers/segment.js'
import { type Operation, OperationRun } from '../../helpers/sim-operations.js'

const SEED = Number(process.env.FUZZ_SEED ?? 31_337)
const ROUNDS = Number(process.env.FUZZ_ROUNDS ?? 6000)

const side = fc.constantFrom('a' as const, 'b' as const)
const flow = fc.nat({ max: 4 })

const profile: fc.Arbitrary<LinkProfile> = fc.record({
  delay: fc.constantFrom(0, 1, 20, 150),
  jitter: fc.constantFrom(0, 0, 30),
  loss: fc.constantFrom(0, 0, 0.05, 0.2),
  burst: fc.constantFrom(1, 1, 3),
  // All of it reordered is a shuffle.
  reorder: fc.constantFrom(0, 0, 0.2, 1),
  reorderBy: fc.constantFrom(1, 30),
  duplicate: fc.constantFrom(0, 0.2),
  corrupt: fc.constantFrom(0, 0.02),
  mtu: fc.constantFrom(9000, 9000, 1300),
})

const limits = fc
  .record({
    receiveBuffer: fc.constantFrom(500, 4000, 70_000, 1 << 20),
    sendBuffer: fc.constantFrom(1, 3000, 1 << 20),
    grows: fc.boolean(),
    outOfOrderRanges: fc.constantFrom(1, 3, 64),
    memory: fc.constantFrom(100_000, 1 << 28),
  })
  .map(({ grows, ...l }) => ({
    ...l,
    receiveBufferMax: grows ? 1 << 21 : l.receiveBuffer,
    sendBufferMax: grows ? 1 << 21 : l.sendBuffer,
  }))

type Weighted = { weight: number; arbitrary: fc.Arbitrary<Operation> }

function one(weight: number, arbitrary: fc.Arbitrary<Operation>): Weighted {
  return { weight, arbitrary }
}

const peaceful: readonly Weighted[] = [
  one(2, fc.record({ op: fc.constant('open'), side, six: fc.boolean(), noDelay: fc.boolean() })),
  one(3, fc.record({ op: fc.constant('accept'), side })),
  one(8, fc.record({ op: fc.constant('write'), flow, side, n: fc.integer({ min: 1, max: 5000 }) })),
  one(2, fc.record({ op: fc.constant('write'), flow, side, n: fc.integer({ min: 1, max: 3 }) })),
  one(2, fc.record({ op: fc.constant('write'), flow, side, n: fc.integer({ min: 10_000, max: 60_000 }) })),
  one(6, fc.record({ op: fc.constant('read'), flow, side, n: fc.integer({ min: 1, max: 30_000 }) })),
  one(9, fc.record({ op: fc.constant('wait'), n: fc.constantFrom(1, 7, 39, 41, 200, 1000, 9000, 61_000) })),
  one(3, fc.record({ op: fc.constant('drop'), side, n: fc.integer({ min: 1, max: 8 }) })),
  one(1, fc.record({ op: fc.constant('silence'), side, n: fc.constantFrom(5, 300, 4000) })),
  one(2, fc.record({ op: fc.constant('stall'), side, n: fc.constantFrom(50, 200, 1000, 5000) })),
  one(1, fc.record({ op: fc.constant('link'), profile })),
  one(1, fc.record({ op: fc.constant('mtu'), side, n: fc.constantFrom(1280, 1400, 9000) })),
  one(1, fc.record({ op: fc.constant('keep-alive'), flow, side, n: fc.constantFrom(0, 500, 20_000) })),
  one(1, fc.record({ op: fc.constant('end'), flow, side })),
]
const violent = [...peaceful, one(2, fc.record({ op: fc.constant('abort'), flow, side }))]

const opened: readonly Operation[] = [{ op: 'open', side: 'a', six: false, noDelay: true }]

function check(operations: readonly Weighted[], seed: number, numRuns: number): void {
  fc.assert(
    fc.property(
      profile,
      limits,
      fc.nat(),
      fc.array(fc.oneof(...operations), { minLength: 3, maxLength: 80 }),
      (link, bounds, linkSeed, list) => {
        const run = new OperationRun(link, linkSeed, bounds)
        for (const o of [...opened, ...list]) {
          run.apply(o)
          run.check()
        }
        run.finish()
      },
    ),
    { seed, numRuns },
  )
}

t.test('open, accept, write, read, end, and links that do anything', async (t) => {
  check(peaceful, SEED, ROUNDS)
  t.pass(`${ROUNDS} sequences from seed ${SEED}`)
})

t.test('the same with aborts at any place', async (t) => {
  check(violent, SEED + 1, ROUNDS)
  t.pass(`${ROUNDS} sequences from seed ${SEED + 1}`)
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
