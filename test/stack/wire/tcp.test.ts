import t from 'tap'
import { seq } from '../../../stack/seq.js'
import * as tcp from '../../../stack/wire/tcp.js'
import { concat, hex, poisoned, toHex } from '../../helpers/ip-packet.js'

const SYN = hex('c00001bb1122334400000000a002ffff02620000020405500402080a000000010000000001030307')

t.test('check: whole, cut, with octets behind it, at an offset', async (t) => {
  t.equal(tcp.check(SYN, 0, 40), 40)
  for (let n = 0; n < 40; n++) t.equal(tcp.check(SYN.subarray(0, n), 0, n), -1)
  t.equal(tcp.check(concat(SYN, hex('00ff')), 0, 42), 40)
  const inside = poisoned(60)
  inside.set(SYN, 11)
  t.equal(tcp.check(inside, 11, 40), 40)
  t.equal(tcp.check(inside.subarray(11), 0, 40), 40)
  t.equal(tcp.sourcePort(inside, 11), 0xc000)
  t.equal(tcp.destinationPort(inside, 11), 443)
  t.equal(tcp.seqNumber(inside, 11), 0x11223344)
  t.equal(tcp.ackNumber(inside, 11), 0)
  t.equal(tcp.flags(inside, 11), tcp.SYN)
  t.equal(tcp.window(inside, 11), 65535)
})

t.test('data offset', async (t) => {
  for (let offset = 0; offset < 16; offset++) {
    const b = new Uint8Array(48)
    b[12] = (offset << 4) | 0xf
    t.equal(
      tcp.check(b, 0, 48),
      offset < 5 || offset > 12 ? -1 : offset * 4,
      `${offset} words, reserved bits set`,
    )
  }
})

t.test('emit into a dirty buffer', async (t) => {
  const b = poisoned(30)
  tcp.emit(b, 5, 0xc000, 443, seq(0xfffffff0), seq(0x80000001), 40, tcp.ACK | tcp.FIN, 0xabcd)
  t.equal(toHex(b), `${'a5'.repeat(5)}c00001bbfffffff080000001a011abcd00000000${'a5'.repeat(5)}`)
  t.equal(tcp.seqNumber(b, 5), seq(0xfffffff0), 'signed, as all sequence numbers')
  t.equal(tcp.ackNumber(b, 5), seq(0x80000001))
  tcp.setChecksum(b, 5, 0x1234)
  t.equal(toHex(b.subarray(21, 25)), '12340000')
})

t.test('flags are the bits of RFC 9293 3.1', async (t) => {
  t.same(
    [tcp.FIN, tcp.SYN, tcp.RST, tcp.PSH, tcp.ACK, tcp.URG, tcp.ECE, tcp.CWR],
    [1, 2, 4, 8, 16, 32, 64, 128],
  )
})
