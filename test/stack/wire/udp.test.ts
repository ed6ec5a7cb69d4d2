import t from 'tap'
import * as udp from '../../../stack/wire/udp.js'
import { concat, hex, poisoned, toHex } from '../../helpers/ip-packet.js'

const DATAGRAM = hex('cf08003500146fb4abcd01000001000000000000')

t.test('check: whole, cut, with octets behind it, at an offset', async (t) => {
  t.equal(udp.check(DATAGRAM, 0, 20), 20)
  for (let n = 0; n < 20; n++) t.equal(udp.check(DATAGRAM.subarray(0, n), 0, n), -1)
  t.equal(udp.check(concat(DATAGRAM, hex('ffffff')), 0, 23), 20, 'its own length field counts')
  const inside = poisoned(50)
  inside.set(DATAGRAM, 7)
  t.equal(udp.check(inside, 7, 20), 20)
  t.equal(udp.check(inside.subarray(7), 0, 20), 20)
  t.equal(udp.sourcePort(inside, 7), 0xcf08)
  t.equal(udp.destinationPort(inside, 7), 53)
  t.equal(udp.checksum(inside, 7), 0x6fb4)
})

t.test('lengths', async (t) => {
  const said = (n: number): number =>
    udp.check(
      concat(hex('00010002'), hex(n.toString(16).padStart(4, '0')), hex('0000'), new Uint8Array(4)),
      0,
      12,
    )
  t.equal(said(0), -1)
  t.equal(said(7), -1)
  t.equal(said(8), 8, 'no data')
  t.equal(said(12), 12)
  t.equal(said(13), -1)
  t.equal(said(65535), -1)
})

t.test('emit into a dirty buffer', async (t) => {
  const b = poisoned(16)
  udp.emit(b, 3, 0xcf08, 53, 20)
  t.equal(toHex(b), `a5a5a5cf08003500140000${'a5'.repeat(5)}`)
  udp.setChecksum(b, 3, 0x6fb4)
  t.equal(toHex(b), `a5a5a5cf08003500146fb4${'a5'.repeat(5)}`)
  udp.setChecksum(b, 3, 0)
  t.equal(udp.checksum(b, 3), 0xffff, 'RFC 768: a computed 0 goes out as ffff')
})
