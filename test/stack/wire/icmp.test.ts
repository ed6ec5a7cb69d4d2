import t from 'tap'
import { combine, sum, sum32 } from '../../../stack/checksum.js'
import * as v4 from '../../../stack/wire/icmpv4.js'
import * as v6 from '../../../stack/wire/icmpv6.js'
import { address, concat, hex, naiveSum, poisoned, pseudoHeader, toHex } from '../../helpers/ip-packet.js'

const ECHO4 = hex('08005435123400016162636465666768')
const ECHO6 = hex('80008072123400016162636465666768')
const from = address('2001:db8::5')
const to = address('2001:db8::1')
const PSEUDO = combine(combine(from.sum, to.sum), combine(sum32(16), 58))

t.test('ICMP: whole, cut, with octets behind it, at an offset', async (t) => {
  t.equal(v4.check(ECHO4, 0, 16), true)
  for (let n = 0; n < 16; n++) t.equal(v4.check(ECHO4.subarray(0, n), 0, n), false)
  t.equal(v4.check(concat(ECHO4, hex('01')), 0, 17), false, 'octets behind it belong to it')
  const inside = poisoned(40)
  inside.set(ECHO4, 9)
  t.equal(v4.check(inside, 9, 16), true)
  t.equal(v4.check(inside.subarray(9), 0, 16), true)
  t.equal(v4.type(inside, 9), v4.ECHO_REQUEST)
  t.equal(v4.code(inside, 9), 0)
  t.equal(v4.identifier(inside, 9), 0x1234)
  t.equal(v4.sequence(inside, 9), 1)
  t.equal(v4.nextHopMtu(inside, 9), 1)
  t.equal(v4.check(new Uint8Array(8), 0, 8), false, 'all zeros')
  for (let bit = 0; bit < 128; bit++) {
    const b = ECHO4.slice()
    b[bit >> 3] = (b[bit >> 3] as number) ^ (1 << (bit & 7))
    t.equal(v4.check(b, 0, 16), false)
  }
})

t.test('ICMPv6: whole, cut, with octets behind it, at an offset', async (t) => {
  t.equal(naiveSum(concat(pseudoHeader(from, to, 58, 16), ECHO6)), 65535)
  t.equal(v6.check(ECHO6, 0, 16, PSEUDO), true)
  for (let n = 0; n < 16; n++) t.equal(v6.check(ECHO6.subarray(0, n), 0, n, PSEUDO), false)
  t.equal(v6.check(concat(ECHO6, hex('01')), 0, 17, PSEUDO), false)
  t.equal(v6.check(ECHO6, 0, 16, combine(PSEUDO, 1)), false, 'another pseudo-header')
  const inside = poisoned(40)
  inside.set(ECHO6, 9)
  t.equal(v6.check(inside, 9, 16, PSEUDO), true)
  t.equal(v6.type(inside, 9), v6.V6_ECHO_REQUEST)
  t.equal(v6.code(inside, 9), 0)
  t.equal(v6.identifier(inside, 9), 0x1234)
  t.equal(v6.sequence(inside, 9), 1)
  t.equal(v6.mtu(hex('02000000fffffff0'), 0), 0xfffffff0)
})

t.test('emit into a dirty buffer', async (t) => {
  for (const n of [0, 1, 8, 33]) {
    const a = poisoned(60)
    const body = Uint8Array.from({ length: n }, (_, i) => i + 1)
    a.set(body, 11)
    v4.emit(a, 3, 8 + n, v4.UNREACHABLE, v4.FRAGMENTATION_NEEDED, 0, 1400)
    t.equal(naiveSum(a.subarray(3, 11 + n)), 65535)
    t.equal(toHex(a.subarray(3, 5)) + toHex(a.subarray(7, 11)), '030400000578')
    t.equal(toHex(a.subarray(11, 11 + n)), toHex(body))
    t.equal(toHex(a.subarray(11 + n)), 'a5'.repeat(49 - n))
    const b = poisoned(60)
    b.set(body, 11)
    const pseudo = sum(pseudoHeader(from, to, 58, 8 + n), 0, 40)
    v6.emit(b, 3, 8 + n, v6.V6_PACKET_TOO_BIG, 0, 0x1234, 0x5678, pseudo)
    t.equal(naiveSum(concat(pseudoHeader(from, to, 58, 8 + n), b.subarray(3, 11 + n))), 65535)
    t.equal(v6.mtu(b, 3), 0x12345678)
    t.equal(toHex(b.subarray(11 + n)), 'a5'.repeat(49 - n))
  }
  const echo = poisoned(24)
  echo.set(hex('6162636465666768'), 12)
  v4.emit(echo, 4, 16, v4.ECHO_REQUEST, 0, 0x1234, 1)
  t.equal(toHex(echo.subarray(4, 20)), toHex(ECHO4))
  v6.emit(echo, 4, 16, v6.V6_ECHO_REQUEST, 0, 0x1234, 1, PSEUDO)
  t.equal(toHex(echo.subarray(4, 20)), toHex(ECHO6))
})
