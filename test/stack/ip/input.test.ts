/** What the layers above are handed, and by what they know it. */
import t from 'tap'
import { DEFAULT_LIMITS, newCounters } from '../../../stack/index.js'
import { IpInput } from '../../../stack/ip/input.js'
import { Reassembly } from '../../../stack/ip/reassembly.js'
import { destinationOf, type PacketAddresses, sourceOf } from '../../../stack/tuple.js'
import { cutAll } from '../../helpers/fragments.js'
import {
  address,
  extensions,
  hex,
  ip,
  naiveSum,
  optionsHeader,
  poisoned,
  pseudoHeader,
  toHex,
} from '../../helpers/ip-packet.js'

interface Handed {
  readonly layer: string
  readonly from: string
  readonly to: string
  readonly ecn: number
  readonly family: number
  readonly sum: number
  readonly data: string
  readonly ours: boolean
}

function bench(anyAddress = false): {
  readonly handed: Handed[]
  readonly input: (p: Uint8Array) => void
  readonly errors: number[][]
} {
  const handed: Handed[] = []
  const errors: number[][] = []
  const counters = newCounters()
  const own = [address('10.0.0.1'), address('fd00::1')]
  const take =
    (layer: string) =>
    (b: Uint8Array, o: number, len: number, a: PacketAddresses, ours: boolean): boolean => {
      const data = toHex(b.subarray(o, o + len))
      const [from, to] = [sourceOf(a).toString(), destinationOf(a).toString()]
      handed.push({ layer, from, to, ecn: a.ecn, family: a.family, sum: a.sum, data, ours })
      return true
    }
  const reassembly = new Reassembly({
    counters,
    limits: DEFAULT_LIMITS,
    time: 30_000,
    timeExceeded: () => {},
  })
  const input = new IpInput({
    counters,
    reassembly,
    tcp: { input: (b, o, len, a) => void take('tcp')(b, o, len, a, true) },
    udp: { input: take('udp') },
    icmp: { input4: take('icmp'), input6: take('icmp6') },
    errors: { about: (_a, type, code, detail) => void errors.push([type, code, detail]) },
    anyAddress,
    unclaimed: () => false,
    hasV6: () => true,
    isOwn: (w0, w1, w2, w3) => own.some((a) => a.w0 === w0 && a.w1 === w1 && a.w2 === w2 && a.w3 === w3),
  })
  return {
    handed,
    errors,
    input: (p) => {
      const b = poisoned(p.length + 30)
      b.set(p, 11)
      input.input(b, 11, p.length, 0)
    },
  }
}

const PAYLOAD = hex('00112233445566778899aabb50ddeeff00112233445566778899aabbccddeeff0011223344')

/** Sets the ECN bits of a whole packet, and DSCP bits beside them that must not count. */
function marked(p: Uint8Array, ecn: number): Uint8Array {
  const b = p.slice()
  if ((b[0] as number) >>> 4 === 4) {
    b[1] = 0xb8 | ecn
    b.fill(0, 10, 12)
    const sum = 65535 - naiveSum(b.subarray(0, 20))
    b.set([sum >>> 8, sum & 255], 10)
  } else {
    b[0] = 0x6b
    b[1] = 0x80 | (ecn << 4)
  }
  return b
}

const families = [
  { src: '10.0.0.2', dst: '10.0.0.1', other: '192.0.2.1', protocols: { tcp: 6, udp: 17, icmp: 1 } },
  { src: 'fd00::2', dst: 'fd00::1', other: '2001:db8::1', protocols: { tcp: 6, udp: 17, icmp6: 58 } },
] as const

for (const f of families) {
  const family = f.src.includes(':') ? 6 : 4

  t.test(`IPv${family}: whole packets`, async (t) => {
    for (const [layer, proto] of Object.entries(f.protocols)) {
      for (const ecn of [0, 1, 2, 3]) {
        const { handed, input } = bench()
        input(marked(ip({ src: f.src, dst: f.dst, proto }, PAYLOAD), ecn))
        const sum = naiveSum(pseudoHeader(address(f.src), address(f.dst), 0, 0))
        t.match(handed, [
          { layer, from: f.src, to: f.dst, ecn, family, sum, data: toHex(PAYLOAD), ours: true },
        ])
      }
    }
  })

  t.test(`IPv${family}: packets in fragments`, async (t) => {
    for (const [layer, proto] of Object.entries(f.protocols)) {
      for (const marks of [
        [0, 0],
        [2, 2],
        [2, 3],
        [3, 2],
        [1, 1],
      ]) {
        const { handed, input } = bench()
        const packet = ip({ src: f.src, dst: f.dst, proto, fragment: 0 }, PAYLOAD)
        const parts = cutAll(packet, 24)
        parts.reverse().forEach((p, i) => void input(marked(p, marks[i] as number)))
        const ecn = Math.max(...marks)
        t.match(handed, [{ layer, from: f.src, to: f.dst, ecn, family, data: toHex(PAYLOAD), ours: true }])
      }
    }
  })

  t.test(`IPv${family}: packets for others`, async (t) => {
    for (const anyAddress of [false, true]) {
      const { handed, input } = bench(anyAddress)
      const packet = ip({ src: f.src, dst: f.other, proto: 17, fragment: 0 }, PAYLOAD)
      input(packet)
      for (const p of cutAll(packet, 24)) input(p)
      t.match(
        handed.map((h) => [h.to, h.ours]),
        anyAddress
          ? [
              [f.other, false],
              [f.other, false],
            ]
          : [],
      )
      t.equal(handed.length, anyAddress ? 2 : 0)
    }
  })
}

t.test('IPv6: every next header that is no upper layer of ours', async (t) => {
  const pad = optionsHeader(60, hex('010400000000'))
  for (let proto = 0; proto < 256; proto++) {
    // Extension headers, and what follows them, are looked at elsewhere.
    if ([0, 43, 44, 60, 6, 17, 58].includes(proto)) continue
    for (const [list, pointer] of [
      [[], 6],
      [[pad, pad], 48],
    ] as const) {
      const { handed, input, errors } = bench()
      input(ip({ src: 'fd00::2', dst: 'fd00::1', proto, ext: extensions(list, proto) }, PAYLOAD))
      t.equal(handed.length, 0)
      const silent = proto === 50 || proto === 51 || proto === 59
      t.same(errors, silent ? [] : [[4, 1, pointer]], `${proto} behind ${list.length}`)
    }
  }
})

t.test('IPv6: every option type (RFC 8200 4.2)', async (t) => {
  for (let type = 2; type < 256; type++) {
    for (const kind of [0, 60]) {
      const { handed, input, errors } = bench()
      const option = new Uint8Array([1, 1, 0, type, 1, 0])
      input(
        ip(
          { src: 'fd00::2', dst: 'fd00::1', proto: 17, ext: extensions([optionsHeader(kind, option)], 17) },
          PAYLOAD,
        ),
      )
      const action = type >> 6
      if (handed.length !== (action === 0 ? 1 : 0)) t.fail(`type ${type}`)
      if (action >= 2) t.same(errors, [[4, 2, 45]])
      else t.same(errors, [])
    }
  }
})
