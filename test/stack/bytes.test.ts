import t from 'tap'
import { i32, setU8, setU16, setU32, u8, u16, u32 } from '../../stack/bytes.js'
import { poisoned, toHex } from '../helpers/ip-packet.js'
import { SeededRandom } from '../helpers/random.js'

t.test('against DataView, in views at odd places', async (t) => {
  const r = new SeededRandom(81)
  for (let i = 0; i < 500; i++) {
    const b = r.bytes(40).subarray(r.below(8))
    const d = new DataView(b.buffer, b.byteOffset, b.byteLength)
    const o = r.below(28)
    const good =
      u8(b, o) === d.getUint8(o) &&
      u16(b, o) === d.getUint16(o) &&
      u32(b, o) === d.getUint32(o) &&
      i32(b, o) === d.getInt32(o)
    if (!good) t.fail(toHex(b))
    const v = r.below(2 ** 32)
    setU8(b, o, v & 255)
    if (d.getUint8(o) !== (v & 255)) t.fail('setU8')
    setU16(b, o, v & 0xffff)
    if (d.getUint16(o) !== (v & 0xffff)) t.fail('setU16')
    setU32(b, o, v)
    if (d.getUint32(o) !== v) t.fail('setU32')
    setU32(b, o, v | 0)
    if (d.getUint32(o) !== v) t.fail('setU32, signed')
  }
  t.pass('500 times')
})

t.test('outside the array: zeros to read, nowhere to write, nothing thrown', async (t) => {
  const b = poisoned(4)
  t.equal(u16(b, 9), 0)
  t.equal(u32(b, 9), 0)
  t.equal(i32(b, -9), 0)
  t.equal(u32(b, 2), 0xa5a50000)
  setU32(b, 2, 0x01020304)
  setU32(b, 100, -1)
  t.equal(toHex(b), 'a5a50102')
})
