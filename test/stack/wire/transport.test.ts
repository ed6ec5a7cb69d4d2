import t from 'tap'
import { hasTransportHeader } from '../../../stack/wire/transport.js'

t.test('how much a header needs', async (t) => {
  const b = new Uint8Array(80)
  for (const [proto, words, least] of [
    [6, 5, 20],
    [6, 0, 20],
    [6, 8, 32],
    [6, 15, 60],
    [17, 0, 8],
    [1, 0, 8],
    [58, 0, 8],
    [132, 0, 1],
  ] as const) {
    b[3 + 12] = words << 4
    for (let n = -3; n < 70; n++) {
      if (hasTransportHeader(b, 3, n, proto) !== n >= least) t.fail(`protocol ${proto} in ${n} octets`)
    }
  }
  t.equal(hasTransportHeader(new Uint8Array(12), 0, 12, 6), false, 'at the end of the buffer')
})
