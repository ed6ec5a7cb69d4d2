/** What a peer can make a receiver keep: tiny segments all over a large window, holes, fragments that overlap. */
import t from 'tap'
import { concat, ip as ipPacket, PROTO } from '../../helpers/ip-packet.js'
import { Dialogue, readAll, stream } from '../../helpers/segment.js'
import { A, B, Siege, undisturbed } from './siege.js'

const LIMITS = { receiveBuffer: 1 << 23, receiveBufferMax: 1 << 23 }

t.test('single octets all over a window of 8 MiB', async (t) => {
  const d = new Dialogue(t, { limits: LIMITS })
  const c = d.open({ shift: 7, sackOk: true })
  const other = d.stack.held.bytes
  const begin = process.cpuUsage()
  let answers = 0
  for (let i = 0; i < 10_000; i++) {
    // Every 839th octet: no two touch, and every block of the buffer would be touched.
    const at = 2 + ((i * 839) % ((1 << 23) - 10))
    d.in({ flags: 'PA', seq: at, ack: 1, data: stream(1, at - 1) })
    d.drain()
    answers += d.forget().length
  }
  t.ok(answers <= 10_000, `${answers} answers`)
  // 64 ranges may each lie in a block of its own.
  t.ok(d.stack.held.bytes - other <= 64 * 65536 + (1 << 20), `${d.stack.held.bytes} octets held`)
  // In microseconds of this process: what else the machine has to do is not counted.
  const { user, system } = process.cpuUsage(begin)
  t.ok(user + system < 10_000_000)
  // What is in order is still taken, all of it.
  const want = 2_000_000
  let text = 0
  for (let at = 1; at <= want; at += 1000) {
    d.in({ flags: 'A', seq: at, ack: 1, data: stream(1000, at - 1) })
    d.drain()
    const got = readAll(c)
    for (let k = 0; k < got.length; k++) {
      const place = text + k
      if (got.charCodeAt(k) !== ((place ^ (place >>> 7) ^ (place >>> 13)) & 255)) t.fail(`octet ${place}`)
    }
    text += got.length
  }
  t.ok(text >= want, `${text} octets`)
})

t.test('hundreds of connections that hold out-of-order octets stay within the memory of all', async (t) => {
  const memory = 1 << 24
  const d = new Dialogue(t, { limits: { receiveBuffer: 1 << 20, receiveBufferMax: 1 << 20, memory } })
  let most = 0
  for (let i = 0; i < 200; i++) {
    d.stackIss = undefined
    d.peerNext = 0
    d.open({ shift: 7, sackOk: true })
    for (let k = 0; k < 64; k++) d.in({ flags: 'A', seq: 2 + k * 16_000, ack: 1, data: stream(1) })
    d.forget()
    most = Math.max(most, d.stack.held.bytes)
  }
  t.ok(most <= memory + (1 << 20), `${most} octets held of ${memory}`)
})

t.test('a stream of single octets, in order, is cheap to hold', async (t) => {
  const d = new Dialogue(t)
  const c = d.open({ sackOk: true })
  let answers = 0
  for (let i = 0; i < 20_000; i++) {
    d.in({ flags: 'PA', seq: 1 + i, ack: 1, data: stream(1, i) })
    d.drain()
    answers += d.forget().length
  }
  t.ok(answers <= 20_000)
  t.ok(d.stack.held.bytes <= 4 * 65536, `${d.stack.held.bytes} octets for 20000`)
  t.equal(readAll(c).length, 20_000)
})

t.test('the same octets with other contents, again and again', async (t) => {
  const d = new Dialogue(t)
  const c = d.open({ sackOk: true })
  for (let i = 0; i < 5000; i++) {
    d.in({ flags: 'PA', seq: 101, ack: 1, data: new Uint8Array(500).fill(i) })
    d.drain()
  }
  t.ok(d.stack.held.bytes <= 2 * 65536)
  d.in({ flags: 'PA', seq: 1, ack: 1, data: new Uint8Array(100) })
  const text = readAll(c)
  t.equal(text.length, 600)
  t.equal(text.charCodeAt(100), 0, 'the first one counted')
})

/** A fragment of a segment-sized datagram for the server. */
function fragment(id: number, offset: number, length: number, more: boolean, src = A): Uint8Array {
  const field = (offset >>> 3) | (more ? 0x2000 : 0)
  return ipPacket({ src, dst: B, proto: PROTO.tcp, id, fragment: field }, new Uint8Array(length).fill(id))
}

t.test('fragments that overlap, that never end, that end before they begin', async (t) => {
  const quiet = undisturbed()
  const s = new Siege()
  s.run((i) => {
    for (let k = 0; k < 5; k++) {
      const id = (i * 5 + k) & 0xffff
      const src = k === 0 ? A : `10.5.${i & 255}.${k}`
      s.attack(fragment(id, 0, 64, true, src))
      s.attack(fragment(id, 8, 64, true, src))
      s.attack(fragment(id, 0, 128, false, src))
      s.attack(fragment(id ^ 0x8000, 65_528, 64, false, src))
      s.attack(fragment(id ^ 0x4000, 1304, 800, true, src))
      s.attack(fragment(id ^ 0x2000, 0, 8, true, src))
      s.attack(fragment(id ^ 0x1000, 1304, 3, true, src))
    }
    s.look()
  })
  t.ok(s.forged > 5000)
  t.ok(s.peak <= quiet.peak + (1 << 22) + 100_000, `${s.peak} octets held, ${quiet.peak} in peace`)
  s.survived()
})

t.test('a datagram in fragments does not get in the way of segments (the flow stays whole)', async (t) => {
  const s = new Siege()
  s.run((i) => {
    // A whole segment of the client’s, in two parts, with numbers that are wrong.
    const whole = s.asClient({ seq: s.anySeq(), ack: s.anySeq(), flags: 24, data: s.random.bytes(96) })
    const body = whole.subarray(20)
    const cut = 64
    const head = { src: A, dst: B, proto: PROTO.tcp, id: i & 0xffff }
    s.attack(ipPacket({ ...head, fragment: 0x2000 }, concat(body.subarray(0, cut))))
    s.attack(ipPacket({ ...head, fragment: cut >>> 3 }, concat(body.subarray(cut))))
  })
  t.ok(s.forged > 500)
  s.survived()
})
