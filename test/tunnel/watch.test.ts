import t from 'tap'
import { type Disturbance, describeNetworks, Watch } from '../../src/tunnel/watch.js'
import { SupervisedClock } from '../helpers/supervised.js'

t.test('what a machine that has slept looks like', async (t) => {
  const clock = new SupervisedClock()
  const told: Disturbance[] = []
  const watch = new Watch(
    clock,
    () => 'eth0 192.0.2.1',
    (what) => told.push(what),
  )
  watch.start()
  await clock.advance(60_000)
  t.same(told, [], 'nothing')
  // Linux, macOS: the steady clock stands still.
  clock.ahead += 5000
  await clock.advance(2000)
  t.same(told.splice(0), ['sleep'])
  await clock.advance(60_000)
  t.same(told, [], 'it is told once')
  // A clock that is put right.
  clock.ahead += 4999
  await clock.advance(2000)
  clock.ahead -= 86_400_000
  await clock.advance(2000)
  t.same(told, [])
  watch.stop()
  t.equal(clock.pending, 0)
})

t.test('a timer that comes late: the steady clock has gone on in the sleep', async (t) => {
  let now = 0
  let due: (() => void) | undefined
  const told: Disturbance[] = []
  const clock = {
    now: () => now,
    wall: () => now,
    later: (callback: () => void) => {
      due = callback
      return 1
    },
    cancel: () => {},
  }
  const watch = new Watch(
    clock,
    () => '',
    (what) => told.push(what),
  )
  watch.start()
  now += 2000 + 4999
  due?.()
  t.same(told, [], 'a busy machine')
  now += 2000 + 5000
  due?.()
  t.same(told, ['sleep'])
})

t.test('networks that come and go', async (t) => {
  const clock = new SupervisedClock()
  const told: Disturbance[] = []
  let networks = 'a'
  const watch = new Watch(
    clock,
    () => networks,
    (what) => told.push(what),
  )
  watch.start()
  for (const next of ['a', 'b', 'b', '', 'a']) {
    networks = next
    await clock.advance(2000)
  }
  t.same(told, ['network', 'network', 'network'])
  watch.stop()
})

t.test('a system that does not always say what its networks are', async (t) => {
  const clock = new SupervisedClock()
  const told: Disturbance[] = []
  let networks: string | undefined
  const ask = (): string => {
    // Node's own error when no descriptor is left.
    if (networks === undefined) throw new Error('uv_interface_addresses returned Unknown system error 24')
    return networks
  }
  const watch = new Watch(clock, ask, (what) => told.push(what))
  watch.start()
  networks = 'a'
  await clock.advance(2000)
  told.length = 0
  for (const next of [undefined, 'a', undefined, undefined]) {
    networks = next
    await clock.advance(2000)
  }
  t.same(told, [], 'that is no change')
  networks = 'b'
  await clock.advance(2000)
  t.same(told, ['network'], 'and what comes behind it is noticed')
  watch.stop()
})

t.test('the networks of this machine, as one line each', async (t) => {
  const text = describeNetworks()
  t.equal(text, describeNetworks())
  for (const line of text.split('\n').filter((l) => l !== '')) {
    t.match(line, /^\S.* [0-9a-f.:]+$/)
    t.notMatch(line, / (?:127\.|::1$|fe80|169\.254)/)
  }
})
