import t from 'tap'
import { MemoryAccount } from '../../stack/memory.js'
import { BlockPool, Ring } from '../../stack/ring.js'
import { SeededRandom } from '../helpers/random.js'

/** Octets that say where they belong. */
function fill(from: number, n: number): Uint8Array {
  return Uint8Array.from({ length: n }, (_, i) => ((from + i) * 167 + ((from + i) >> 8)) & 255)
}

function all(r: Ring): number[] {
  const out: number[] = []
  while (out.length < r.size) {
    const piece = r.peek(out.length)
    if (piece.length === 0) throw new Error('nothing to see of what is readable')
    out.push(...piece)
  }
  return out
}

t.test('against an array: stores in order and ahead, wrap, growth', async (t) => {
  for (let seed = 1; seed <= 30; seed++) {
    const r = new SeededRandom(seed)
    const limit = 64 + r.below(400)
    const pool = new BlockPool(64, 3)
    const ring = new Ring(pool)
    // The twin: octet number n of the stream, stored or not, from `read` on.
    const stored = new Set<number>()
    let read = 0
    let end = 0
    for (let step = 0; step < 400; step++) {
      const what = r.below(10)
      if (what < 6) {
        const room = limit - (end - read)
        const skip = r.chance(0.5) ? 0 : r.below(room + 1)
        const n = r.below(Math.min(room - skip, 90) + 1)
        const source = new Uint8Array(n + 9).fill(0xa5)
        source.set(fill(end + skip, n), 5)
        ring.store(skip, source, 5, n)
        for (let i = 0; i < n; i++) stored.add(end + skip + i)
        let ready = 0
        while (stored.has(end + ready)) ready++
        ring.commit(ready)
        end += ready
      } else if (what < 9) {
        const n = r.below(ring.size + 1)
        ring.consume(n)
        read += n
      } else if (ring.size === 0 && ![...stored].some((s) => s >= end)) {
        ring.releaseIfEmpty()
        t.equal(ring.capacity, 0)
      }
      t.equal(ring.size, end - read)
      const got = all(ring)
      const expected = [...fill(read, end - read)]
      if (got.join() !== expected.join()) t.fail(`seed ${seed}, step ${step}`)
      if (ring.capacity > 64 && ring.capacity >= 4 * limit) t.fail(`seed ${seed}: grew to ${ring.capacity}`)
    }
  }
})

t.test('against a buffer: with memory running short and coming back, large and small', async (t) => {
  for (let seed = 1; seed <= 8; seed++) {
    const r = new SeededRandom(seed)
    const account = new MemoryAccount(1 << 20, 4)
    const pool = new BlockPool(4096, 8, account)
    const limit = 1 << 17
    const ring = new Ring(pool)
    let others = 0
    // The twin: the whole stream, and how far it is known, readable and read.
    const twin = fill(0, 1 << 20)
    let read = 0
    let end = 0
    let ahead = 0
    for (let step = 0; step < 600; step++) {
      const place = `seed ${seed}, step ${step}`
      if (r.chance(0.05)) {
        account.sub(others)
        others = r.chance(0.5) ? 600_000 : 0
        account.add(others)
      }
      const room = Math.min(limit - (end - read), twin.length - end)
      if (r.chance(0.6)) {
        const n = Math.min(room, r.chance(0.1) ? r.below(60_000) : r.below(1400))
        const skip = r.chance(0.2) ? r.below(room - n + 1) : 0
        ring.store(skip, twin, end + skip, n)
        if (skip === 0) {
          ring.commit(n)
          end += n
          ahead = Math.max(ahead, end)
        } else {
          ahead = Math.max(ahead, end + skip + n)
        }
      } else if (ring.size > 0) {
        const n = r.chance(0.2) ? ring.size : r.below(ring.size + 1)
        ring.consume(n)
        read += n
      } else if (ahead <= end) {
        ring.releaseIfEmpty()
      }
      if (ring.size !== end - read) t.fail(`${place}: ${ring.size} octets`)
      for (let skip = 0; skip < ring.size; ) {
        const piece = ring.peek(skip)
        const same = Buffer.compare(piece, twin.subarray(read + skip, read + skip + piece.length)) === 0
        if (!same || piece.length === 0) t.fail(`${place}: other octets`)
        skip += piece.length || ring.size
      }
      if (account.held - others !== ring.capacity) t.fail(`${place}: ${account.held - others} on the account`)
      if (ring.capacity > limit) t.fail(`${place}: a block of ${ring.capacity}`)
    }
    ring.drop()
    t.equal(account.held, others)
  }
})

t.test('views stay good until their octets are consumed', async (t) => {
  const pool = new BlockPool(16, 4)
  const ring = new Ring(pool)
  ring.store(0, fill(0, 12), 0, 12)
  ring.commit(12)
  ring.consume(8)
  const view = ring.peek()
  const before = [...view]
  // Wraps, then grows twice.
  ring.store(0, fill(12, 10), 0, 10)
  ring.commit(10)
  t.same([...view], before, 'after a wrap')
  ring.store(0, fill(22, 60), 0, 60)
  ring.commit(60)
  t.same([...view], before, 'after growth')
  t.equal(pool.idle, 0, 'a block that is looked at does not go back')
  const other = new Ring(pool)
  other.store(0, new Uint8Array(16).fill(0xee), 0, 16)
  t.same([...view], before, 'after another connection took a block')
  t.same(all(ring), [...fill(8, 74)])
})

t.test('blocks go back to the pool only when empty', async (t) => {
  const pool = new BlockPool(32, 2)
  const ring = new Ring(pool)
  t.equal(ring.capacity, 0, 'nothing is taken in advance')
  ring.store(0, fill(0, 5), 0, 5)
  ring.commit(5)
  t.equal(ring.capacity, 32)
  ring.releaseIfEmpty()
  t.equal(ring.capacity, 32)
  t.equal(pool.idle, 0)
  ring.consume(5)
  ring.releaseIfEmpty()
  t.equal(ring.capacity, 0)
  t.equal(pool.idle, 32)
  ring.releaseIfEmpty()
  t.equal(pool.idle, 32, 'once')
  ring.store(0, fill(9, 5), 0, 5)
  ring.commit(5)
  t.equal(pool.idle, 0, 'and comes out again')
  t.same(all(ring), [...fill(9, 5)])

  const view = ring.peek()
  const seen = [...view]
  ring.drop()
  t.equal(ring.size, 0)
  t.equal(ring.capacity, 0)
  t.equal(pool.idle, 0, 'dropped with unread octets: the block may still be looked at')
  const next = new Ring(pool)
  next.store(0, new Uint8Array(32).fill(0xee), 0, 32)
  t.same([...view], seen)
  next.commit(32)
  next.consume(32)
  next.drop()
  t.equal(pool.idle, 32, 'dropped when empty')
})

t.test('the pool keeps so many blocks and of one size', async (t) => {
  const pool = new BlockPool(32, 2)
  const rings = Array.from({ length: 5 }, () => new Ring(pool))
  for (const ring of rings) {
    ring.store(0, fill(0, 20), 0, 20)
    ring.commit(20)
  }
  for (const ring of rings) {
    ring.consume(20)
    ring.releaseIfEmpty()
  }
  t.equal(pool.idle, 64)
  const big = new Ring(pool)
  big.store(0, fill(0, 100), 0, 100)
  t.equal(big.capacity, 128)
  big.commit(100)
  big.consume(100)
  big.releaseIfEmpty()
  t.equal(pool.idle, 64)
})

t.test('growth while nothing is readable keeps what is stored ahead', async (t) => {
  const ring = new Ring(new BlockPool(16, 4))
  ring.store(0, fill(0, 10), 0, 10)
  ring.commit(10)
  ring.consume(10)
  ring.store(3, fill(13, 10), 0, 10)
  ring.store(20, fill(30, 40), 0, 40)
  ring.store(0, fill(10, 3), 0, 3)
  ring.commit(13)
  t.same(all(ring), [...fill(10, 13)])
  ring.store(0, fill(23, 7), 0, 7)
  ring.commit(47)
  t.same(all(ring), [...fill(10, 60)])
})

t.test('edges', async (t) => {
  const ring = new Ring(new BlockPool(16, 4))
  t.equal(ring.peek().length, 0)
  t.equal(ring.peek(5).length, 0)
  ring.consume(7)
  ring.store(0, new Uint8Array(0), 0, 0)
  t.equal(ring.capacity, 0)
  ring.store(0, fill(0, 16), 0, 16)
  ring.commit(16)
  t.equal(ring.capacity, 16, 'exactly full')
  t.equal(ring.peek(16).length, 0)
  t.equal(ring.peek(17).length, 0)
  ring.consume(100)
  t.equal(ring.size, 0, 'more than there is')
})
