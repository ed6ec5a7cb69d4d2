/** Two stacks over bad links, in virtual time: every octet arrives, once, in order, and nothing is left behind. */
import t from 'tap'
import { type NetStack, TcpState } from '../../../stack/index.js'
import { End, opened, unhurt } from '../../helpers/endpoint.js'
import { ADDRESS_B, type LinkProfile, Pair } from '../../helpers/pair.js'

/** Both directions at once, with random cuts. @returns virtual milliseconds */
function exchange(
  profile: LinkProfile,
  seed: number,
  size: number,
  limit: number,
  options: ConstructorParameters<typeof Pair>[2] = {},
): number {
  const pair = new Pair(profile, seed, options)
  const [a, b] = opened(pair, size, size)
  const begin = pair.now
  const done = pair.run(() => a.closed && b.closed, limit)
  if (!done) throw new Error(`seed ${seed}: ${a}; ${b}`)
  const took = pair.now - begin
  a.check()
  b.check()
  unhurt(pair)
  return took
}

const SIZE = 200_000

for (const loss of [0, 0.01, 0.03, 0.05]) {
  for (const delay of [1, 20, 100]) {
    t.test(`both directions arrive with ${loss * 100} % loss and ${delay} ms`, async (t) => {
      for (const [name, more] of Object.entries({
        plain: {},
        reorder: { reorder: 0.1 },
        duplicate: { duplicate: 0.1 },
        corrupt: { corrupt: 0.01 },
        stall: { stalls: [[1020, 4020] as const] },
        bursts: { burst: 4, jitter: delay / 4 },
      })) {
        const took = exchange({ delay, loss, ...more }, loss * 1000 + delay, SIZE, 600_000)
        t.ok(took < 600_000, `${name}: ${Math.round(took)} ms`)
      }
    })
  }
}

t.test('a clean link is used well', async (t) => {
  // 20 ms each way and a window of 1 MiB: the time is that of slow start and little more.
  const took = exchange({ delay: 20 }, 1, 400_000, 60_000)
  t.ok(took < 700, `${took} ms`)
})

t.test('a slow link with a short queue is shared by both directions', async (t) => {
  const took = exchange({ delay: 10, rate: 100, queue: 20_000 }, 1, 400_000, 600_000)
  // 4 s for the octets alone.
  t.ok(took < 12_000, `${took} ms`)
})

t.test('small buffers on either side', async (t) => {
  for (const [receiveBuffer, sendBuffer] of [
    [1000, 1000],
    [3000, 500],
    [65536, 2000],
    [100_000, 1 << 20],
  ] as const) {
    exchange({ delay: 5, loss: 0.02 }, receiveBuffer, 20_000, 3_600_000, {
      limits: { receiveBuffer, sendBuffer, outOfOrderRanges: 3 },
    })
    t.pass(`${receiveBuffer} and ${sendBuffer}`)
  }
})

t.test('different MTUs, and IPv6', async (t) => {
  for (const [mtu, mtuB] of [
    [576, 1400],
    [1280, 9000],
    [1500, 577],
  ] as const) {
    exchange({ delay: 5, loss: 0.01, reorder: 0.05 }, mtu, 30_000, 600_000, { mtu, b: { mtu: mtuB } })
    t.pass(`${mtu} and ${mtuB}`)
  }
  const pair = new Pair({ delay: 5, loss: 0.02 }, 6)
  const [a, b] = opened(pair, SIZE, SIZE, true)
  t.ok(pair.run(() => a.closed && b.closed, 600_000))
  a.check()
  b.check()
  unhurt(pair)
})

t.test('a lost SYN, SYN-ACK, ACK, FIN or first segment is made good', async (t) => {
  for (let drop = 0; drop < 14; drop++) {
    for (const way of ['ab', 'ba'] as const) {
      const pair = new Pair({ delay: 10 }, 3)
      let n = 0
      pair[way].tap = () => n++ !== drop
      const [a, b] = opened(pair, 3000, 3000)
      if (!pair.run(() => a.closed && b.closed, 60_000)) t.fail(`packet ${drop} of ${way}: ${a}; ${b}`)
      a.check()
      b.check()
      unhurt(pair)
    }
  }
  t.pass('whichever it is')
})

t.test('every second packet lost at first, and a link that is dead for a minute', async (t) => {
  const pair = new Pair({ delay: 10 }, 4)
  let n = 0
  pair.ab.tap = (_, now) => n++ % 2 === 0 || now > 20_000
  const [a, b] = opened(pair, 10_000, 10_000)
  t.ok(
    pair.run(() => a.closed && b.closed, 200_000),
    `${a}; ${b}`,
  )
  a.check()
  b.check()
  unhurt(pair)

  const dead = new Pair({ delay: 10, rate: 500 }, 5)
  const [c, d] = opened(dead, 500_000, 500_000)
  dead.ab.tap = dead.ba.tap = (_, now) => now < 1200 || now > 61_200
  t.ok(
    dead.run(() => c.closed && d.closed, 300_000),
    `${c}; ${d}`,
  )
  c.check()
  d.check()
  unhurt(dead)
})

t.test('an outer stall of three seconds loses nothing, and does not end in a storm', async (t) => {
  const pair = new Pair({ delay: 10, rate: 1000, stalls: [[1100, 4100]] }, 6)
  const [a, b] = opened(pair, 300_000, 0)
  t.ok(pair.run(() => a.closed && b.closed, 60_000))
  a.check()
  b.check()
  t.ok(pair.a.counters.retransmissions < 300, `${pair.a.counters.retransmissions}`)
  unhurt(pair)
})

t.test('half-close: one side ends at once, the other goes on for long', async (t) => {
  for (const [ours, theirs] of [
    [0, 200_000],
    [200_000, 0],
    [1, 50_000],
  ] as const) {
    const pair = new Pair({ delay: 20, loss: 0.02 }, 8)
    const [a, b] = opened(pair, ours, theirs)
    t.ok(
      pair.run(() => a.closed && b.closed, 600_000),
      `${a}; ${b}`,
    )
    a.check()
    b.check()
    unhurt(pair)
  }
})

t.test('abort in the middle, by either side, at any time', async (t) => {
  for (let seed = 1; seed <= 30; seed++) {
    const pair = new Pair({ delay: 10, loss: 0.05, rate: 200, reorder: 0.05 }, seed)
    const [a, b] = opened(pair, 200_000, 200_000)
    pair.pass(pair.random.below(1500))
    const [one, other] = seed % 2 ? [a, b] : [b, a]
    const early = one.closed || one.connection === undefined
    one.connection?.abort()
    // The other side has something to send, so it finds out even if the RST is lost.
    const done = pair.run(() => one.closed && (other.closed || other.connection === undefined), 400_000)
    if (!done) t.fail(`seed ${seed}: ${a}; ${b}`)
    if (!early) t.equal(one.connection?.error, 'aborted')
    a.checkPrefix()
    b.checkPrefix()
    pair.run(() => pair.a.held.connections + pair.b.held.connections === 0, 200_000)
    unhurt(pair)
  }
})

t.test('a reader that pauses for five minutes stops the sender, and gets everything', async (t) => {
  const pair = new Pair({ delay: 20, loss: 0.02 }, 9)
  const [a, b] = opened(pair, 3_000_000, 0)
  b.paused = true
  pair.pass(300_000)
  t.ok(b.connection !== undefined && b.connection.readable <= 1 << 20)
  t.ok(pair.b.held.bytes <= 1 << 20, `${pair.b.held.bytes}`)
  t.equal(a.connection?.state, TcpState.CLOSE_WAIT, 'not all is written yet')
  b.paused = false
  b.drain()
  t.ok(
    pair.run(() => a.closed && b.closed, 600_000),
    `${a}; ${b}`,
  )
  a.check()
  b.check()
  unhurt(pair)
})

t.test('many connections at once, each with its own stream', async (t) => {
  const pair = new Pair({ delay: 10, rate: 1000, queue: 100_000, loss: 0.01 }, 10)
  const ends: End[] = []
  const l = pair.b.listen({ port: 80 })
  if (l === undefined) return t.fail()
  pair.onReady = (s, stack: NetStack) => {
    if (s === l) {
      for (let c = stack.accept(l); c !== undefined; c = stack.accept(l)) {
        ends.push(new End(pair, 5000, 5000, c))
      }
    }
    End.ready(s)
  }
  for (let i = 0; i < 50; i++) {
    const c = pair.a.connect({ address: ADDRESS_B, port: 80 }, pair.now)
    if (typeof c === 'string') return t.fail(c)
    ends.push(new End(pair, 5000, 5000, c))
  }
  t.ok(pair.run(() => ends.length === 100 && ends.every((e) => e.closed), 600_000))
  for (const e of ends) e.check()
  unhurt(pair)
})
