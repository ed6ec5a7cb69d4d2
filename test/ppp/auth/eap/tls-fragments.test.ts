/** Flights in pieces: RFC 5216 2.1.5 and 3.1. */
import t from 'tap'
import { FlightReader, FlightWriter, MAX_FLIGHT } from '../../../../src/ppp/auth/eap/tls-fragments.js'
import { seededNumbers, toHex } from '../../../helpers/ppp.js'

function flight(length: number): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => i & 255)
}

function cut(whole: Uint8Array, limit: number): Uint8Array[] {
  const writer = new FlightWriter()
  writer.load(whole)
  const out = [writer.next(limit)]
  while (writer.waiting) out.push(writer.next(limit))
  return out
}

t.test('the shared vectors', async (t) => {
  // eap-tls-fragments-3 and eap-tls-fragments-1; lengths are those of whole EAP packets.
  for (const [length, heads] of [
    [
      3000,
      [
        ['c000000bb8', 1310],
        ['40', 1306],
        ['00', 406],
      ],
    ],
    [200, [['00', 206]]],
  ] as const) {
    const packets = cut(flight(length), 1305)
    t.same(
      packets.map((p, i) => [toHex(p.subarray(0, i === 0 && packets.length > 1 ? 5 : 1)), p.length + 5]),
      heads,
    )
  }
})

t.test('whatever is cut is put together again', async (t) => {
  const number = seededNumbers(7)
  for (let round = 0; round < 200; round += 1) {
    const limit = 6 + number(1400)
    const whole = flight(1 + number(limit < 40 ? 600 : 9000))
    const reader = new FlightReader()
    const packets = cut(whole, limit)
    packets.forEach((packet, i) => {
      if (packet.length > limit) t.fail(`${packet.length} octets where ${limit} fit`)
      // In the middle of an array, as it comes from a frame
      const dirty = new Uint8Array(packet.length + 20).fill(0xa5)
      dirty.set(packet, 9)
      const kind = reader.input(dirty, 9, packet.length)
      if (kind !== (i === packets.length - 1 ? 'whole' : 'more')) t.fail(`round ${round}: ${kind}`)
    })
    t.equal(toHex(reader.take()), toHex(whole), `${whole.length} in ${limit}`)
  }
})

t.test('an acknowledgement, and a start of whatever version', async (t) => {
  const writer = new FlightWriter()
  writer.load(new Uint8Array(0))
  t.same([...writer.next(1000)], [0])
  t.equal(writer.waiting, false)
  const reader = new FlightReader()
  t.equal(reader.input(Uint8Array.of(0), 0, 1), 'empty')
  t.equal(reader.input(Uint8Array.of(0x20), 0, 1), 'start')
  t.equal(reader.input(Uint8Array.of(0x21), 0, 1), 'start')
})

t.test('L on a flight that fits, if its length is to be told', async (t) => {
  const writer = new FlightWriter()
  writer.load(Uint8Array.of(1, 2, 3), true)
  t.same([...writer.next(1000)], [0x80, 0, 0, 0, 3, 1, 2, 3])
  t.equal(writer.waiting, false)
  writer.load(new Uint8Array(0), true)
  t.same([...writer.next(1000)], [0], 'an acknowledgement has none')
  // One octet less than what would fit without its length.
  for (let size = 90; size <= 110; size += 1) {
    writer.load(new Uint8Array(size), true)
    const reader = new FlightReader()
    for (let kind = 'more'; kind === 'more'; ) {
      const packet = writer.next(100)
      t.ok(packet.length <= 100)
      kind = reader.input(packet, 0, packet.length)
    }
    t.equal(reader.take().length, size)
  }
})

t.test('L on every packet, as FreeRADIUS sends it', async (t) => {
  const reader = new FlightReader()
  t.equal(reader.input(Uint8Array.of(0xc0, 0, 0, 0, 3, 1, 2), 0, 7), 'more')
  t.equal(reader.midway, true)
  t.equal(reader.input(Uint8Array.of(0x80, 0, 0, 0, 3, 3), 0, 6), 'whole')
  t.same([...reader.take()], [1, 2, 3])
})

t.test('what cannot be', async (t) => {
  const cases: [string, number[][], RegExp][] = [
    ['nothing', [[]], /without its flags/],
    ['a short length', [[0x80, 0, 0, 0]], /shorter than its length field/],
    ['1 GiB', [[0xc0, 0x40, 0, 0, 0, 1]], /1073741824 octets is announced/],
    ['4 GiB less one', [[0xc0, 255, 255, 255, 255, 1]], /4294967295 octets/],
    ['more than said', [[0xc0, 0, 0, 0, 2, 1, 2, 3]], /longer than announced/],
    ['less than said', [[0x80, 0, 0, 0, 9, 1, 2, 3]], /shorter than announced/],
    [
      'another length',
      [
        [0xc0, 0, 0, 0, 9, 1],
        [0xc0, 0, 0, 0, 8, 2],
      ],
      /length of a flight changes/,
    ],
    ['nothing, and more of it', [[0x40]], /without data/],
    ['an empty end', [[0x40, 1], [0]], /without data/],
    ['a start in the middle', [[0x40, 1], [0x20]], /start in the middle/],
  ]
  for (const [what, packets, problem] of cases) {
    const reader = new FlightReader()
    const kinds = packets.map((packet) => reader.input(Uint8Array.from(packet), 0, packet.length))
    t.equal(kinds.at(-1), 'bad', what)
    t.match(reader.problem, problem, what)
    t.equal(reader.take().length, 0, 'nothing is kept')
  }
})

t.test('a flight without end, and one of nothing but a promise', async (t) => {
  const reader = new FlightReader()
  const packet = new Uint8Array(1001)
  packet[0] = 0x40
  let kind = reader.input(packet, 0, packet.length)
  let packets = 1
  for (; kind === 'more'; packets += 1) kind = reader.input(packet, 0, packet.length)
  t.equal(kind, 'bad')
  t.equal(packets, Math.floor(MAX_FLIGHT / 1000) + 1)
  t.match(reader.problem, /more than 65536/)
})

t.test('any octets: one of five answers, and never more than a flight', async (t) => {
  const number = seededNumbers(11)
  const reader = new FlightReader()
  const seen = new Set<string>()
  for (let round = 0; round < 20_000; round += 1) {
    const packet = Uint8Array.from({ length: number(24) }, () => number(256))
    if (number(2) === 0) packet.fill(0, 1, Math.min(4, packet.length))
    const kind = reader.input(packet, 0, packet.length)
    seen.add(kind)
    if (kind === 'whole' && reader.take().length > MAX_FLIGHT) t.fail('too much')
  }
  t.same([...seen].sort(), ['bad', 'empty', 'more', 'start', 'whole'])
})
