import t from 'tap'
import * as fragment from '../../../stack/wire/ipv6-fragment.js'
import { poisoned, toHex } from '../../helpers/ip-packet.js'

t.test('emit into a dirty buffer, and read', async (t) => {
  for (const [next, at, more, id, text] of [
    [17, 0, true, 0x12345678, '1100000112345678'],
    [58, 1448, false, -1, '3a0005a8ffffffff'],
    [6, 65_528, true, 0, '0600fff900000000'],
    [60, 0, false, 7, '3c00000000000007'],
  ] as const) {
    const b = poisoned(20)
    fragment.emit(b, 5, next, at, more, id)
    t.equal(toHex(b), `${'a5'.repeat(5)}${text}${'a5'.repeat(7)}`)
    t.same(
      [fragment.next(b, 5), fragment.offset(b, 5), fragment.more(b, 5), fragment.identification(b, 5)],
      [next, at, more, id],
    )
    t.equal(fragment.isAtomic(b, 5), at === 0 && !more)
  }
})

t.test("reserved bits are nobody's offset", async (t) => {
  const b = new Uint8Array([17, 255, 0, 6, 0, 0, 0, 1])
  t.equal(fragment.offset(b, 0), 0)
  t.equal(fragment.more(b, 0), false)
  t.equal(fragment.isAtomic(b, 0), true)
})
