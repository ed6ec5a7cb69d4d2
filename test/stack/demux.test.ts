import t from 'tap'
import { type Demuxed, TupleTable } from '../../stack/demux.js'
import { newPacketAddresses, type PacketAddresses, Tuple } from '../../stack/tuple.js'
import { address } from '../helpers/ip-packet.js'
import { SeededRandom } from '../helpers/random.js'

class Item implements Demuxed {
  readonly tuple: Tuple
  hashNext: Item | undefined
  constructor(tuple: Tuple) {
    this.tuple = tuple
  }
}

/** The addresses as a packet from the tuple's remote end has them. */
function packet(u: Tuple): PacketAddresses {
  const a = newPacketAddresses()
  a.family = u.family
  a.s0 = u.remote.w0
  a.s1 = u.remote.w1
  a.s2 = u.remote.w2
  a.s3 = u.remote.w3
  a.d0 = u.local.w0
  a.d1 = u.local.w1
  a.d2 = u.local.w2
  a.d3 = u.local.w3
  return a
}

const LOCALS = ['10.0.0.1', '10.0.0.3', 'fd00::1', 'fd00::3'].map(address)
const REMOTES = [
  '10.0.0.2',
  '10.0.1.2',
  '192.0.2.9',
  'fd00::2',
  'fd00:0:0:1::2',
  'fd00::2:2',
  '2001:db8::2',
].map(address)

t.test('against a map, through several sizes', async (t) => {
  for (let seed = 1; seed <= 4; seed++) {
    const r = new SeededRandom(seed)
    const table = new TupleTable<Item>(r.below(2 ** 32))
    const twin = new Map<string, Item>()
    const some = (): Tuple => {
      const remote = REMOTES[r.below(REMOTES.length)] as (typeof REMOTES)[number]
      const locals = LOCALS.filter((l) => l.family === remote.family)
      const local = locals[r.below(locals.length)] as (typeof LOCALS)[number]
      return new Tuple(local, 1 + r.below(12), remote, 1 + r.below(40))
    }
    for (let step = 0; step < 6000; step++) {
      const tuple = some()
      const key = tuple.toString()
      const old = twin.get(key)
      if (r.chance(0.6)) {
        if (old === undefined) {
          const item = new Item(tuple)
          table.add(item)
          twin.set(key, item)
        }
      } else if (old !== undefined && r.chance(0.5)) {
        if (!table.delete(old)) t.fail('delete said no')
        if (table.delete(old)) t.fail('deleted twice')
        twin.delete(key)
      }
      const asked = some()
      const expected = twin.get(asked.toString())
      if (table.find(packet(asked), asked.remotePort, asked.localPort) !== expected) t.fail(`find ${asked}`)
      if (table.get(asked) !== expected || table.has(asked) !== (expected !== undefined))
        t.fail(`get ${asked}`)
      if (table.size !== twin.size) t.fail('size')
    }
    const seen = new Set<Item>()
    table.forEach((i) => {
      seen.add(i)
    })
    t.same(seen.size, twin.size)
    t.ok(twin.size > 256, `${twin.size} at the end: it has grown`)
    // Deleting while walking, as closing everything does.
    table.forEach((i) => {
      table.delete(i)
    })
    t.equal(table.size, 0)
  }
})

t.test('a look-up tells each part of the tuple', async (t) => {
  const table = new TupleTable<Item>(5)
  const u = new Tuple(address('fd00::1'), 80, address('fd00::2'), 5000)
  table.add(new Item(u))
  t.ok(table.find(packet(u), 5000, 80))
  t.equal(table.find(packet(u), 5001, 80), undefined)
  t.equal(table.find(packet(u), 5000, 81), undefined)
  for (const field of ['s0', 's1', 's2', 's3', 'd0', 'd1', 'd2', 'd3'] as const) {
    const a = packet(u)
    a[field] ^= 1
    t.equal(table.find(a, 5000, 80), undefined, field)
  }
})

t.test('chains stay short, whatever ports a peer takes', async (t) => {
  const table = new TupleTable<Item>(0x12345678)
  for (let i = 0; i < 4096; i++) {
    table.add(new Item(new Tuple(address('10.0.0.1'), 80, address('10.0.0.2'), 1024 + i)))
  }
  let longest = 0
  table.forEach((first) => {
    let n = 1
    for (let i = first.hashNext; i !== undefined; i = i.hashNext) n++
    longest = Math.max(longest, n)
  })
  t.ok(longest < 12, `the longest chain has ${longest}`)
})
