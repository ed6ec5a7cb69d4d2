/** The budget of a stack: what peers can make it hold, whatever they do. */
import t from 'tap'
import { MemoryAccount } from '../../stack/memory.js'
import { BlockPool } from '../../stack/ring.js'
import { seq, seqAdd } from '../../stack/seq.js'
import { Receiver } from '../../stack/tcp/receiver.js'
import { SeededRandom } from '../helpers/random.js'

const KIB = 1024
const MIB = 1 << 20
const LIMITS = { receiveBuffer: 256 * KIB, receiveBufferMax: 8 * MIB, outOfOrderRanges: 64 }

t.test('grants: in full, then shares of what is left, then the floor', async (t) => {
  const account = new MemoryAccount(256 * MIB, 1024)
  const grants: number[] = []
  for (let i = 0; i < 1024; i++) grants.push(account.open(256 * KIB))
  t.equal(grants[0], 256 * KIB)
  for (let i = 1; i < 1024; i++) {
    const grant = grants[i] as number
    if (grant > (grants[i - 1] as number)) t.fail(`grant ${i} is larger than the one before`)
    if ((grant & (grant - 1)) !== 0) t.fail(`${grant} does not fit a block`)
  }
  t.equal(grants.at(-1), 32 * KIB, 'an eighth of the budget is divided by all')
  t.ok(account.granted <= 128 * MIB, `${account.granted}`)
  for (const g of grants) account.release(g)
  t.equal(account.granted, 0)
  t.equal(account.open(10_000), 10_000, 'what is asked for, if it is there')
})

t.test('grants never exceed half of the limit, whoever opens, grows and ends', async (t) => {
  for (const [limit, connections] of [
    [256 * MIB, 65536],
    [256 * MIB, 1024],
    [16 * MIB, 256],
    [1 * MIB, 1000],
  ] as const) {
    const r = new SeededRandom(limit + connections)
    const account = new MemoryAccount(limit, connections)
    const grants: number[] = []
    for (let i = 0; i < 40_000; i++) {
      const k = r.below(grants.length + 1)
      const grant = grants[k]
      if (grants.length < connections && r.chance(0.6)) {
        grants.push(account.open(2 ** (9 + r.below(10))))
      } else if (grant !== undefined && r.chance(0.7)) {
        const wanted = 2 ** (9 + r.below(15))
        const now = account.grow(grant, wanted, r.chance(0.5))
        if (now < grant || now > Math.max(grant, wanted)) t.fail(`${grant} grew to ${now} of ${wanted}`)
        grants[k] = now
      } else if (grant !== undefined) {
        account.release(grant)
        grants.splice(k, 1)
      }
      if (account.granted > limit / 2) t.fail(`step ${i}: ${account.granted} of ${limit}`)
    }
    t.equal(
      account.granted,
      grants.reduce((a, b) => a + b, 0),
      `${limit} for ${connections}`,
    )
  }
})

t.test('who reads may grow more than who only receives', async (t) => {
  const account = new MemoryAccount(256 * MIB, 1024)
  // 96 MiB are there to share.
  t.equal(account.grow(0, 8 * MIB, false), 256 * KIB)
  t.equal(account.grow(0, 8 * MIB, true), 8 * MIB)
  t.equal(account.grow(1 * MIB, 64 * MIB, true), 16 * MIB)
  t.equal(account.grow(64 * KIB, 4 * KIB, true), 64 * KIB, 'never less')
})

t.test('ten thousand idle connections leave room for those that read', async (t) => {
  // The limits of a stack that is told nothing.
  const account = new MemoryAccount(256 * MIB, 65_536)
  const pool = new BlockPool(65536, 128, account)
  const idle: Receiver[] = []
  for (let i = 0; i < 10_000; i++) idle.push(new Receiver(pool, LIMITS))
  const segment = new Uint8Array(1360)
  const busy = Array.from({ length: 4 }, (_, i) => {
    const rcv = new Receiver(pool, LIMITS)
    rcv.shift = 8
    rcv.start(seq(i))
    rcv.announce(false)
    let now = 0
    for (let round = 0; round < 12; round++) {
      rcv.rttSample(10, now)
      fill(rcv, segment, now, rcv.window)
      rcv.ring.consume(rcv.ring.size)
      rcv.releaseIdle()
      rcv.announce(false)
      now += 21
    }
    return rcv
  })
  for (const rcv of busy) t.ok(rcv.window >= 1 * MIB, `a window of ${rcv.window}`)
  t.ok(account.granted <= 128 * MIB)
  for (const rcv of [...idle, ...busy]) rcv.drop()
  t.equal(account.granted, 0)
  t.equal(account.unread, 0)
})

t.test('roomy and full', async (t) => {
  const account = new MemoryAccount(1000, 1)
  account.add(500)
  t.ok(account.roomy)
  account.add(1)
  t.notOk(account.roomy)
  t.equal(account.grow(10, 20, true), 10)
  account.add(498)
  t.notOk(account.full)
  account.add(1)
  t.ok(account.full)
  account.sub(1000)
  t.ok(account.roomy)
})

t.test('blocks are on the account: taken, grown, given back, abandoned', async (t) => {
  const account = new MemoryAccount(1 * MIB, 4)
  const pool = new BlockPool(4096, 4, account)
  const a = pool.take(1)
  const b = pool.take(5000)
  t.equal(account.held, 4096 + 8192)
  pool.give(a)
  t.equal(account.held, 8192)
  t.equal(pool.idle, 4096, 'idle ones are the pool’s')
  pool.abandon(b)
  t.equal(account.held, 0)
  t.equal(pool.idle, 4096)
  account.add(600 * KIB)
  t.equal(pool.take(1).length, 32, 'small ones if memory is scarce')
  t.equal(pool.take(33, 4096).length, 64, 'whatever is usual')
  t.equal(pool.take(4096).length, 4096)
  t.equal(pool.idle, 0)
})

/** Sends all that it may, as a peer does that wants us to hold as much as possible. @returns octets sent */
function fill(rcv: Receiver, segment: Uint8Array, now: number, most = Number.POSITIVE_INFINITY): number {
  let sent = 0
  while (sent < most) {
    const n = Math.min(segment.length, rcv.window, most - sent)
    if (n === 0) break
    rcv.arrives(n, now, 200)
    rcv.data(rcv.nxt, segment, 0, n)
    sent += n
    rcv.announce(false)
    rcv.acknowledged()
  }
  return sent
}

t.test('1024 connections that are filled while nobody reads hold no more than the budget', async (t) => {
  const limit = 32 * MIB
  const segment = new Uint8Array(1360)
  for (const grow of [false, true]) {
    const account = new MemoryAccount(limit, 1024)
    const pool = new BlockPool(65536, 128, account)
    const all: Receiver[] = []
    let most = 0
    for (let i = 0; i < 1024; i++) {
      const rcv = new Receiver(pool, LIMITS)
      rcv.shift = 8
      rcv.start(seq(i * 0x3fffff))
      rcv.announce(false)
      all.push(rcv)
      if (grow) {
        // First everything is read, at a rate that asks for the largest window.
        let now = i
        for (let round = 0; round < 8; round++) {
          rcv.rttSample(10, now)
          fill(rcv, segment, now, rcv.window)
          rcv.ring.consume(rcv.ring.size)
          rcv.releaseIdle()
          rcv.announce(false)
          now += 11
        }
      }
    }
    const promised = all.reduce((n, r) => n + r.window, 0)
    t.ok(promised <= limit / 2, `${promised} octets are promised to all of them`)
    if (grow) t.ok(Math.max(...all.map((r) => r.window)) >= 1 * MIB, 'some have grown')
    let sent = 0
    for (const rcv of all) {
      sent += fill(rcv, segment, 1e6)
      most = Math.max(most, account.held)
      if (rcv.window > 0) t.fail('a window is left')
    }
    t.ok(sent >= promised, 'every octet that was promised is taken')
    t.ok(sent <= limit / 2, `${sent} octets`)
    t.ok(most <= limit, `${most} octets are held at most`)
    t.equal(
      account.held,
      all.reduce((n, r) => n + r.ring.capacity, 0),
    )
    for (const rcv of all) rcv.drop()
    t.equal(account.held, 0)
    t.equal(account.granted, 0)
    const next = new Receiver(pool, LIMITS)
    t.equal(next.buffer.limit, 32 * KIB, 'the share of one that comes then: half of 32 MiB less the floors')
    next.drop()
  }
})

t.test('an octet each on very many connections', async (t) => {
  const limit = 64 * MIB
  const account = new MemoryAccount(limit, 16_384)
  const pool = new BlockPool(65536, 128, account)
  const all: Receiver[] = []
  for (let i = 0; i < 16_384; i++) {
    const rcv = new Receiver(pool, LIMITS)
    rcv.start(seq(i))
    rcv.announce(false)
    fill(rcv, new Uint8Array(1), 0, 1)
    all.push(rcv)
  }
  t.ok(account.held <= limit, `${account.held}`)
  t.ok(all.every((r) => r.ring.size === 1))
})

t.test('at the limit nothing out of order is kept, and what is next in order always is', async (t) => {
  const account = new MemoryAccount(1 * MIB, 4)
  const rcv = new Receiver(new BlockPool(4096, 4, account), LIMITS)
  rcv.start(seq(99))
  rcv.announce(false)
  const segment = new Uint8Array(100).fill(7)
  t.equal(rcv.data(seq(300), segment, 0, 100), 0)
  t.equal(rcv.ranges.count, 1)
  account.add(1 * MIB)
  rcv.acknowledged()
  t.equal(rcv.data(seq(500), segment, 0, 100), 0)
  t.equal(rcv.ranges.count, 1, 'not kept')
  t.ok(rcv.ackNow, 'but answered')
  const promised = rcv.window
  let taken = 0
  while (taken < promised) taken += rcv.data(seqAdd(seq(100), taken), segment, 0, 100)
  t.equal(taken, promised)
  t.equal(rcv.ring.size, promised)
})

t.test('what a connection gives back: at its end, when all is read, and not twice', async (t) => {
  const account = new MemoryAccount(64 * MIB, 4)
  const pool = new BlockPool(4096, 4, account)
  const rcv = new Receiver(pool, LIMITS)
  rcv.start(seq(99))
  rcv.announce(false)
  rcv.data(seq(100), new Uint8Array(50), 0, 50)
  t.equal(account.granted, 128 * KIB)
  rcv.fin(seq(150))
  t.equal(account.granted, 50, 'nothing more can come')
  rcv.ring.consume(50)
  rcv.releaseIdle()
  t.equal(account.granted, 0)
  t.equal(account.held, 0)
  rcv.drop()
  t.equal(account.granted, 0)
})
