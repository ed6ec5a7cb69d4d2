import t from 'tap'
import type { GatewayEvent } from '../../src/gateway/events.js'
import { Reporter, WARNING_INTERVAL } from '../../src/gateway/reporter.js'

t.test('a warning is told once in a while, with how many were not', (t) => {
  const events: GatewayEvent[] = []
  let now = 5
  const reporter = new Reporter(
    (e) => events.push(e),
    () => now,
  )
  for (let i = 0; i < 100; i++) reporter.warn(i, 'ACCEPT_FAILED', 'EMFILE')
  reporter.warn(7, 'OTHER', 'something else')
  t.same(events, [
    { type: 'warning', call: 0, code: 'ACCEPT_FAILED', message: 'EMFILE' },
    { type: 'warning', call: 7, code: 'OTHER', message: 'something else' },
  ])
  now += WARNING_INTERVAL
  reporter.warn(3, 'ACCEPT_FAILED', 'EMFILE')
  t.match(events[2], { call: 3, message: 'EMFILE (and 99 more like it)' })
  now += WARNING_INTERVAL
  reporter.warn(4, 'ACCEPT_FAILED', 'EMFILE')
  t.match(events[3], { call: 4, message: 'EMFILE' })
  t.equal(events.length, 4)
  t.end()
})

t.test('of a crowd of strangers some are told of, and one warning says that there are more', (t) => {
  const events: GatewayEvent[] = []
  let now = 0
  const reporter = new Reporter(
    (e) => events.push(e),
    () => now,
  )
  const told = (): number =>
    Array.from({ length: 1000 }, () => reporter.mayTell()).filter((told) => told).length
  t.equal(told(), 30)
  t.equal(told(), 0)
  t.match(events, [{ type: 'warning', code: 'STRANGERS_MANY' }])
  t.equal(events.length, 1)
  now += 2000
  t.equal(told(), 2, 'one a second')
  now += 3_600_000
  t.equal(told(), 30)
  t.end()
})
