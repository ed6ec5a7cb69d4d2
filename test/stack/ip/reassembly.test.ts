/** Reassembly by itself, against a twin that keeps single octets. */
import t from 'tap'
import { DEFAULT_LIMITS, newCounters, type StackLimits } from '../../../stack/index.js'
import { Reassembly } from '../../../stack/ip/reassembly.js'
import { newPacketAddresses, type PacketAddresses } from '../../../stack/tuple.js'
import { type Cut, type CutOptions, cutAll, fragmentOf } from '../../helpers/fragments.js'
import { concat, ip, naiveSum, toHex } from '../../helpers/ip-packet.js'
import { SeededRandom } from '../../helpers/random.js'

type Family = 4 | 6

/** One reassembly, fed with fragments as they come from the wire. */
class Bench {
  readonly counters = newCounters()
  readonly told: string[] = []
  readonly reassembly: Reassembly
  now = 1000

  constructor(limits: Partial<StackLimits> = {}) {
    this.reassembly = new Reassembly({
      counters: this.counters,
      limits: { ...DEFAULT_LIMITS, ...limits },
      time: 30_000,
      timeExceeded: (_a, b, len) => void this.told.push(toHex(b.subarray(0, len))),
    })
  }

  /** @returns the whole packet if it is complete */
  input(fragment: Uint8Array): Uint8Array | undefined {
    const at = 3
    const b = Buffer.alloc(fragment.length + 20, 0xa5)
    b.set(fragment, at)
    const four = (fragment[0] as number) >>> 4 === 4
    const a = addressesOf(fragment)
    let n: number
    if (four) {
      n = this.reassembly.input4(b, at, 20, a, this.now)
    } else {
      // Behind as many extension headers as there are.
      let named = at + 6
      let f = at + 40
      while (b[named] !== 44) {
        named = f
        f += ((b[f + 1] as number) + 1) * 8
      }
      n = this.reassembly.input6(b, at, f, named, at + fragment.length, a, this.now)
    }
    b.fill(0xa5)
    return n === 0 ? undefined : this.reassembly.buffer.slice(0, n)
  }
}

function addressesOf(p: Uint8Array): PacketAddresses {
  const a = newPacketAddresses()
  const view = Buffer.from(p)
  if ((p[0] as number) >>> 4 === 4) {
    a.s3 = view.readInt32BE(12)
    a.d3 = view.readInt32BE(16)
    a.s2 = a.d2 = 0xffff
    a.ecn = (p[1] as number) & 3
  } else {
    a.family = 6
    a.s3 = view.readInt32BE(20)
    a.d3 = view.readInt32BE(36)
    a.s0 = view.readInt32BE(8)
    a.d0 = view.readInt32BE(24)
    a.ecn = ((p[1] as number) >>> 4) & 3
  }
  return a
}

const packetOf = (family: Family, data: Uint8Array, host = 2): Uint8Array =>
  family === 4
    ? ip({ src: `10.0.0.${host}`, dst: '10.0.0.1', proto: 17, fragment: 0 }, data)
    : ip({ src: `fd00::${host}`, dst: 'fd00::1', proto: 17 }, data)

/** What the packet put together from fragments of `packet` must be. */
function expected(packet: Uint8Array, ecn = 0): Uint8Array {
  const b = packet.slice()
  if ((b[0] as number) >>> 4 === 4) {
    b[1] = ((b[1] as number) & 0xfc) | ecn
    b.set([0x12, 0x34], 4)
    b.fill(0, 10, 12)
    const sum = 65535 - naiveSum(b.subarray(0, 20))
    b.set([sum >>> 8, sum & 255], 10)
  } else {
    b[1] = ((b[1] as number) & 0xcf) | (ecn << 4)
  }
  return b
}

/** One datagram, octet by octet. */
class Twin {
  private readonly octets = new Map<number, number>()
  private readonly seen = new Set<string>()
  private end = -1
  dead = false

  add(start: number, data: Uint8Array, more: boolean): Uint8Array | undefined {
    if (this.dead) return undefined
    const name = `${start} ${more} ${toHex(data)}`
    if (this.seen.has(name)) return undefined
    this.seen.add(name)
    const end = start + data.length
    for (let i = start; i < end; i++) if (this.octets.has(i)) this.dead = true
    if (!more && this.end >= 0) this.dead = true
    if (!more) for (const i of this.octets.keys()) if (i >= end) this.dead = true
    if (more && this.end >= 0 && end >= this.end) this.dead = true
    if (this.seen.size > 256) this.dead = true
    if (this.dead) return undefined
    data.forEach((v, i) => void this.octets.set(start + i, v))
    if (!more) this.end = end
    if (this.octets.size !== this.end) return undefined
    return Uint8Array.from({ length: this.end }, (_, i) => this.octets.get(i) as number)
  }
}

for (const family of [4, 6] as const) {
  t.test(`IPv${family}: any order and any duplicates give the same datagram`, async (t) => {
    const r = new SeededRandom(100 + family)
    let packets = 0
    for (let round = 0; round < 300; round++) {
      const bench = new Bench()
      const data = r.bytes(8 * r.below(200) + 1 + r.below(8))
      const packet = packetOf(family, data)
      const fragments: Uint8Array[] = []
      for (let at = 0; at < data.length; ) {
        const length = Math.min(8 * (1 + r.below(12)), data.length - at)
        fragments.push(fragmentOf(packet, { at, length }))
        at += length
      }
      // Whatever is done twice is done before the last one is missing no more.
      const list = [...fragments, ...fragments.filter(() => r.chance(0.3))]
      for (let i = list.length - 1; i > 0; i--) {
        const j = r.below(i + 1)
        ;[list[i], list[j]] = [list[j] as Uint8Array, list[i] as Uint8Array]
      }
      const missing = new Set(fragments)
      let got: Uint8Array | undefined
      for (const f of list) {
        const whole = bench.input(f)
        missing.delete(f)
        if ((whole !== undefined) !== (missing.size === 0 && got === undefined)) t.fail(`round ${round}`)
        if (whole !== undefined) {
          got = whole
          break
        }
      }
      if (got === undefined || toHex(got) !== toHex(expected(packet)))
        t.fail(`round ${round}: another packet`)
      if (bench.reassembly.bytes !== 0 || bench.reassembly.size !== 0) t.fail('something is kept')
      packets++
    }
    t.equal(packets, 300)
  })

  t.test(`IPv${family}: as the twin, whatever comes`, async (t) => {
    let done = 0
    let dead = 0
    for (let seed = 1; seed <= 1500; seed++) {
      const r = new SeededRandom(seed * 7 + family)
      const bench = new Bench()
      const units = 2 + r.below(8)
      const contents = [r.bytes(8 * units), r.bytes(8 * units)]
      const twins = new Map<number, Twin>()
      const messy = r.next() * 0.5
      for (let step = 0; step < 30; step++) {
        const id = r.below(3)
        const from = r.below(units)
        const length = r.chance(messy) ? 1 + r.below(units - from) : 1
        const last = from + length === units
        const more = r.chance(messy / 10) ? last : !last
        const cut: Cut = { at: from * 8, length: length * 8 - (more ? 0 : seed % 8), more }
        const content = contents[r.chance(messy / 10) ? 1 : 0] as Uint8Array
        const fragment = fragmentOf(packetOf(family, content), cut, { id })
        const twin = twins.get(id) ?? new Twin()
        twins.set(id, twin)
        const want = twin.add(cut.at, content.slice(cut.at, cut.at + cut.length), more)
        const got = bench.input(fragment)
        if (twin.dead) dead++
        if (want !== undefined) {
          twins.delete(id)
          done++
        }
        const gotData = got?.slice(family === 4 ? 20 : 40)
        if ((gotData && toHex(gotData)) !== (want && toHex(want)))
          t.fail(`seed ${seed} step ${step}: ${gotData && toHex(gotData)}, not ${want && toHex(want)}`)
      }
      if (bench.counters.reassembled + twins.size === 0) t.fail('nothing happened')
    }
    t.ok(done > 1000, `${done} complete`)
    t.ok(dead > 1000, `${dead} overlapped`)
  })

  t.test(`IPv${family}: overlaps kill a datagram and all of it that comes later`, async (t) => {
    const data = new SeededRandom(1).bytes(64)
    const packet = packetOf(family, data)
    const other = packetOf(family, new SeededRandom(2).bytes(64))
    const first = { at: 0, length: 32 }
    const cases: readonly (readonly [string, Uint8Array])[] = [
      ['one unit in common', fragmentOf(packet, { at: 24, length: 40 })],
      ['inside', fragmentOf(packet, { at: 8, length: 8 })],
      ['around', fragmentOf(packet, { at: 0, length: 40 })],
      ['the same place, other octets', fragmentOf(other, first)],
      ['the same, but the last', fragmentOf(packet, { ...first, more: false })],
      ['an end before what has come', fragmentOf(packet, { at: 16, length: 8, more: false })],
    ]
    for (const [name, f] of cases) {
      const bench = new Bench()
      bench.input(fragmentOf(packet, first))
      t.equal(bench.input(f), undefined, name)
      t.equal(bench.counters.reassemblyFailed, 1)
      t.ok(bench.reassembly.bytes < 1000, 'its octets are gone')
      for (const whole of cutAll(packet, 32)) t.equal(bench.input(whole), undefined, 'nor does it come later')
      t.equal(bench.counters.reassemblyFailed, 1, 'counted once')
      t.equal(bench.reassembly.size, 1)
      bench.now += 60_000
      bench.reassembly.handleTimeout(bench.now)
      t.same(bench.told, [], 'and nothing is said about it')
      t.equal(bench.reassembly.bytes, 0)
      t.equal(
        cutAll(packet, 32)
          .map((p) => bench.input(p))
          .filter(Boolean).length,
        1,
        'the name is free again',
      )
    }
    for (const [name, cut] of [
      ['a second end', { at: 40, length: 8, more: false }],
      ['more behind the end', { at: 56, length: 8, more: true }],
      ['more up to the end', { at: 48, length: 8, more: true }],
    ] as const) {
      const bench = new Bench()
      bench.input(fragmentOf(packet, { at: 40, length: 16, more: false }))
      bench.input(fragmentOf(packet, cut))
      t.equal(bench.counters.reassemblyFailed, 1, name)
    }
  })

  t.test(`IPv${family}: ECN, RFC 3168 5.3`, async (t) => {
    const packet = packetOf(family, new Uint8Array(24).fill(9))
    const table: readonly (readonly [readonly number[], number])[] = [
      [[0, 0, 0], 0],
      [[1, 1, 1], 1],
      [[2, 2, 2], 2],
      [[3, 3, 3], 3],
      [[2, 3, 2], 3],
      [[3, 1, 1], 3],
      [[2, 2, 3], 3],
      [[2, 1, 2], 2],
      [[0, 3, 3], -1],
      [[3, 3, 0], -1],
      [[2, 0, 3], -1],
    ]
    for (const [marks, want] of table) {
      const bench = new Bench()
      let got: Uint8Array | undefined
      marks.forEach((ecn, i) => {
        got = bench.input(fragmentOf(packet, { at: i * 8, length: 8 }, { ecn }))
      })
      t.equal(got && toHex(got), want < 0 ? undefined : toHex(expected(packet, want)), marks.join())
      t.equal(bench.counters.reassemblyFailed, want < 0 ? 1 : 0)
      t.equal(bench.reassembly.bytes, 0)
    }
  })

  t.test(`IPv${family}: the key`, async (t) => {
    const bench = new Bench()
    const packet = packetOf(family, new Uint8Array(16).fill(1))
    const change = (at: number): Uint8Array => {
      const b = packet.slice()
      b[at] = (b[at] as number) ^ 0x40
      return b
    }
    const [source, destination] = family === 4 ? [15, 19] : [23, 39]
    const halves = (p: Uint8Array, options: CutOptions = {}): void => {
      bench.input(fragmentOf(p, { at: 0, length: 8 }, options))
    }
    halves(packet)
    halves(packet, { id: 0x1235 })
    halves(change(source))
    halves(change(destination))
    t.equal(bench.reassembly.size, 4)
    halves(change(family === 4 ? 9 : 6))
    t.equal(bench.reassembly.size, family === 4 ? 5 : 4, 'IPv6 takes the next header from the first fragment')
    t.ok(bench.input(fragmentOf(packet, { at: 8, length: 8 })))
  })

  t.test(`IPv${family}: time`, async (t) => {
    const time = family === 4 ? 30_000 : 60_000
    const packet = packetOf(family, new Uint8Array(24).fill(1))
    const [a, b, c] = cutAll(packet, 8) as [Uint8Array, Uint8Array, Uint8Array]
    const bench = new Bench()
    const { reassembly } = bench
    t.equal(reassembly.nextTimeout, Number.POSITIVE_INFINITY)
    bench.input(a)
    t.equal(reassembly.nextTimeout, 1000 + time)
    bench.now += time - 1
    bench.input(b)
    reassembly.handleTimeout(bench.now)
    t.equal(reassembly.size, 1)
    t.equal(reassembly.nextTimeout, 1000 + time, 'later fragments gain no time')
    bench.now += 1
    t.equal(bench.input(c), undefined, 'too late, though nobody has called handleTimeout')
    t.same(bench.told, [toHex(a)], 'the first fragment is quoted as it came')
    t.equal(bench.counters.reassemblyFailed, 1)
    bench.now += time
    reassembly.handleTimeout(bench.now)
    t.equal(bench.told.length, 1, 'nothing is said without the first fragment')
    t.equal(bench.counters.reassemblyFailed, 2)
    t.equal(reassembly.nextTimeout, Number.POSITIVE_INFINITY)
    t.equal(reassembly.bytes, 0)
    bench.input(a)
    reassembly.close()
    t.equal(reassembly.bytes, 0)
    t.equal(reassembly.nextTimeout, Number.POSITIVE_INFINITY)
  })

  t.test(`IPv${family}: the largest, and one octet more`, async (t) => {
    const most = family === 4 ? 65_515 : 65_535
    const data = new SeededRandom(5).bytes(most)
    const bench = new Bench()
    const packet = packetOf(family, data)
    const parts = cutAll(packet, 1400)
    const got = parts.map((p) => bench.input(p)).pop()
    t.ok(got !== undefined && toHex(got) === toHex(expected(packet)))
  })

  t.test(`IPv${family}: the oldest goes first`, async (t) => {
    const first = (host: number, id: number): Uint8Array =>
      fragmentOf(packetOf(family, new Uint8Array(1016).fill(id), host), { at: 0, length: 1008 }, { id })
    const second = (host: number, id: number): Uint8Array =>
      fragmentOf(packetOf(family, new Uint8Array(1016).fill(id), host), { at: 1008, length: 8 }, { id })
    const one = new Bench()
    for (let id = 0; id < 9; id++) one.input(first(2, id))
    t.equal(one.reassembly.size, 8, 'of one source')
    t.equal(one.counters.reassemblyFailed, 1)
    t.ok(one.input(second(2, 1)), 'the second oldest is there')
    t.equal(one.input(second(2, 0)), undefined, 'the oldest is not')

    const many = new Bench()
    for (let host = 2; host < 70; host++) many.input(first(host, 0))
    t.equal(many.reassembly.size, 64, 'of all')
    t.equal(many.input(second(5, 0)), undefined)
    t.ok(many.input(second(69, 0)))

    const small = new Bench({ reassemblyBytes: 10_000 })
    for (let host = 2; host < 70; host++) {
      small.input(first(host, 0))
      if (small.reassembly.bytes > 10_000) t.fail(`${small.reassembly.bytes} octets`)
    }
    t.equal(small.reassembly.size, 5, 'each costs more than its octets')
    t.ok(small.input(second(69, 0)))
    const none = new Bench({ reassemblyBytes: 0, reassemblyDatagrams: 0, reassemblyPerSource: 0 })
    for (const f of cutAll(packetOf(family, new Uint8Array(100)), 8)) t.equal(none.input(f), undefined)
    t.equal(none.reassembly.bytes, 0)
  })

  t.test(`IPv${family}: tiny fragments are bounded in number`, async (t) => {
    const packet = packetOf(family, new Uint8Array(65_000).fill(3))
    const bench = new Bench()
    for (let i = 0; i < 257; i++) {
      bench.input(fragmentOf(packet, { at: (256 - i) * 16, length: 8 }))
      if (bench.reassembly.bytes > 110_000) t.fail(`${bench.reassembly.bytes} octets`)
    }
    t.equal(bench.counters.reassemblyFailed, 1)
    t.ok(bench.reassembly.bytes < 1000)
  })
}

t.test("IPv4: a total length above 65535 with the first fragment's options", async (t) => {
  const options = new Uint8Array(40).fill(1)
  const data = new Uint8Array(65_500).fill(4)
  const plain = packetOf(4, data)
  const bench = new Bench()
  const head = fragmentOf(plain, { at: 0, length: 8 })
  const long = concat(head.subarray(0, 20), options, head.subarray(20))
  long[0] = 0x4f
  long.set([0, long.length], 2)
  const a = addressesOf(long)
  t.equal(bench.reassembly.input4(long, 0, 60, a, 1000), 0)
  let n = 0
  for (const f of cutAll(concat(plain), 1400).slice(1)) if (bench.input(f)) n++
  bench.input(fragmentOf(plain, { at: 8, length: 1392 }))
  t.equal(n, 0)
  t.match(bench.counters, { reassembled: 0, reassemblyFailed: 1 })
  t.equal(bench.reassembly.bytes, 0)
})

t.test('IPv6: headers in front of the fragment header stay, it goes', async (t) => {
  const r = new SeededRandom(9)
  const payload = r.bytes(100)
  const hop = new Uint8Array([17, 1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
  const packet = ip({ src: 'fd00::2', dst: 'fd00::1', proto: 17, ext: { first: 0, bytes: hop } }, payload)
  const bench = new Bench()
  let got: Uint8Array | undefined
  for (let at = 0; at < 100; at += 24) {
    got = bench.input(fragmentOf(packet, { at, length: Math.min(24, 100 - at) }, { unfragmentable: 16 }))
  }
  t.equal(got && toHex(got), toHex(packet))
  t.equal(bench.reassembly.stripped, 56)
})
