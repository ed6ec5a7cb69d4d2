import t from 'tap'
import { BACKOFF_TIMES, Backoff } from '../../src/tunnel/backoff.js'
import { SeededRandom } from '../helpers/random.js'

t.test('bounds double up to the most, and stay there', async (t) => {
  const backoff = new Backoff(BACKOFF_TIMES, () => 1)
  const waits = Array.from({ length: 8 }, () => backoff.attemptFailed())
  t.same(waits, [1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000])
  for (let i = 0; i < 5000; i++) backoff.attemptFailed()
  t.equal(backoff.attemptFailed(), 60_000, 'also after days')
  backoff.reset()
  t.equal(backoff.attemptFailed(), 1000)
})

t.test('the end of a call: at once if all was well before, else as an attempt that failed', async (t) => {
  const backoff = new Backoff(BACKOFF_TIMES, () => 1)
  t.equal(backoff.callEnded(10), 0)
  t.equal(backoff.callEnded(10), 2000)
  t.equal(backoff.callEnded(29_999), 4000)
  t.equal(backoff.callEnded(30_000), 0)
})

t.test('full jitter: waits are spread evenly below the bound', async (t) => {
  const random = new SeededRandom(5)
  const backoff = new Backoff({ first: 1000, most: 1000, stable: 1 }, () => random.next())
  const tenths = new Array(10).fill(0)
  for (let i = 0; i < 10_000; i++) tenths[Math.min(9, Math.floor(backoff.attemptFailed() / 100))]++
  for (const n of tenths) t.ok(n > 850 && n < 1150, `${n} of about 1000`)
})
