import fc from 'fast-check'
import t from 'tap'
import type { SstpErrorCode } from '../../src/sstp/errors.js'
import { Framer, type PacketSink } from '../../src/sstp/framer.js'
import { hex, packetVectors, seededInt, shifted, toHex } from '../helpers/sstp.js'

/** Collects copies, and counts how many packets lay in the pusher's chunk. */
class Collector implements PacketSink {
  readonly packets: string[] = []
  chunk: Uint8Array | undefined
  inPlace = 0
  onPacket(b: Uint8Array, off: number, len: number, control: boolean): void {
    if (b === this.chunk) this.inPlace += 1
    this.packets.push(`${control ? 'c' : 'd'}${toHex(b.subarray(off, off + len))}`)
  }
}

/** The naive twin: the whole stream at once. */
function twin(stream: Uint8Array): { packets: string[]; code: SstpErrorCode | 0 } {
  const packets: string[] = []
  let rest = [...stream]
  while (rest.length >= 4) {
    if (rest[0] !== 16) return { packets, code: 'SSTP_VERSION' }
    const length = (((rest[2] ?? 0) * 256 + (rest[3] ?? 0)) % 4096) | 0
    if (length < 4) return { packets, code: 'SSTP_LENGTH' }
    if (rest.length < length) break
    packets.push(`${(rest[1] ?? 0) % 2 === 1 ? 'c' : 'd'}${toHex(Uint8Array.from(rest.slice(0, length)))}`)
    rest = rest.slice(length)
  }
  return { packets, code: 0 }
}

/** Pushes a stream in pieces, each in the same reused buffer at an offset, poisoned in between. */
function run(stream: Uint8Array, cuts: readonly number[]): { packets: string[]; code: SstpErrorCode | 0 } {
  const framer = new Framer()
  const sink = new Collector()
  const chunk = new Uint8Array(stream.length + 10)
  sink.chunk = chunk
  let code: SstpErrorCode | 0 = 0
  let at = 0
  for (const cut of [...cuts, stream.length]) {
    const end = Math.max(at, Math.min(cut, stream.length))
    chunk.fill(0xa5)
    chunk.set(stream.subarray(at, end), 5)
    code = framer.push(chunk, 5, end - at, sink)
    at = end
  }
  return { packets: sink.packets, code }
}

const stream = Uint8Array.from(packetVectors.flatMap((v) => [...hex(v.out.packetHex)]))
const want = packetVectors.map((v) => `${v.in.message === undefined ? 'd' : 'c'}${v.out.packetHex}`)

t.test('all vectors in one chunk are handed on in place', (t) => {
  const framer = new Framer()
  const sink = new Collector()
  const { b, off } = shifted(stream)
  sink.chunk = b
  t.equal(framer.push(b, off, stream.length, sink), 0)
  t.same(sink.packets, want)
  t.equal(sink.inPlace, want.length)
  t.end()
})

t.test('byte by byte', (t) => {
  t.same(run(stream, [...stream.keys()]), { packets: want, code: 0 })
  t.end()
})

t.test('cut once, anywhere', (t) => {
  for (let cut = 0; cut <= stream.length; cut += 1) {
    const framer = new Framer()
    const sink = new Collector()
    sink.chunk = stream
    framer.push(stream, 0, cut, sink)
    framer.push(stream, cut, stream.length - cut, sink)
    t.same(sink.packets, want, `cut at ${cut}`)
    t.ok(sink.inPlace >= want.length - 1, `cut at ${cut}: no more than the packet on it is copied`)
  }
  t.end()
})

t.test('the largest packet, in pieces', (t) => {
  const big = new Uint8Array(4095).fill(7)
  big.set(hex('10 00 0f ff'))
  const two = new Uint8Array(2 * 4095)
  two.set(big)
  two.set(big, 4095)
  const packets = [`d${toHex(big)}`, `d${toHex(big)}`]
  for (const cuts of [[], [1], [4094], [4095], [4096, 4098], [3, 8189]]) {
    t.same(run(two, cuts), { packets, code: 0 })
  }
  t.end()
})

t.test('bits R and the reserved bits are ignored', (t) => {
  t.same(run(hex('10 fe f0 05 ff 10 ff 40 08 00 05 00 00'), []), {
    packets: ['d10fef005ff', 'c10ff400800050000'],
    code: 0,
  })
  t.end()
})

t.test('what cannot be delimited ends the stream for good', (t) => {
  for (const [bad, code] of [
    ['11 00 00 04', 'SSTP_VERSION'],
    ['48 54 54 50', 'SSTP_VERSION'],
    ['10 00 00 03', 'SSTP_LENGTH'],
    ['10 01 f0 00', 'SSTP_LENGTH'],
  ] as const) {
    const broken = Uint8Array.from([...hex('10 00 00 05 aa'), ...hex(bad), ...hex('10 00 00 05 bb')])
    for (const cuts of [[], [5], [6], [8], [9], [...broken.keys()]]) {
      t.same(run(broken, cuts), { packets: ['d10000005aa'], code }, `${bad}, cuts ${cuts}`)
    }
    const framer = new Framer()
    const sink = new Collector()
    framer.push(broken, 0, broken.length, sink)
    t.equal(framer.push(hex('10 00 00 04'), 0, 4, sink), code, 'a good packet later does not help')
    t.equal(sink.packets.length, 1)
  }
  t.end()
})

t.test('stop discards the rest', (t) => {
  for (const cuts of [[], [2], [5], [6]]) {
    const framer = new Framer()
    let seen = 0
    const sink = {
      onPacket() {
        seen += 1
        framer.stop()
      },
    }
    const b = hex('10 00 00 05 aa 10 00 00 05 bb 99 99 99 99')
    let at = 0
    for (const cut of [...cuts, b.length]) {
      t.equal(framer.push(b, at, cut - at, sink), 0)
      at = cut
    }
    t.equal(seen, 1)
  }
  t.end()
})

t.test('any stream at any cuts is as the naive twin says', (t) => {
  const piece = fc.oneof(
    { weight: 8, arbitrary: fc.uint8Array({ maxLength: 40 }).map(packet) },
    { weight: 1, arbitrary: fc.uint8Array({ minLength: 4000, maxLength: 4091 }).map(packet) },
    { weight: 1, arbitrary: fc.uint8Array({ maxLength: 6 }) },
  )
  const seed = 20
  t.comment(`seed ${seed}`)
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 8 }), fc.infiniteStream(fc.nat(60)), (pieces, steps) => {
      const all = Uint8Array.from(pieces.flatMap((p) => [...p]))
      const cuts: number[] = []
      for (let at = 0; at < all.length && cuts.length < 300; ) cuts.push((at += steps.next().value ?? 1))
      t.same(run(all, cuts), twin(all))
    }),
    { seed, numRuns: 200 },
  )
  t.end()
})

t.test('random octets behind a good beginning never throw', (t) => {
  const int = seededInt(7)
  for (let n = 0; n < 500; n += 1) {
    const all = new Uint8Array(200).map(() => (int(3) === 0 ? 0x10 : int(8)))
    all.set(hex('10 00 00 05 00'))
    const cuts = Array.from({ length: 20 }, (_, i) => i * 10 + int(10))
    t.same(run(all, cuts), twin(all))
  }
  t.end()
})

function packet(frame: Uint8Array): Uint8Array {
  const length = frame.length + 4
  return Uint8Array.from([0x10, (frame[0] ?? 0) & 1, length >> 8, length & 255, ...frame])
}
