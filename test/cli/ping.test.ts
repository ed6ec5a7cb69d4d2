import t from 'tap'
import { DialError } from '../../src/tunnel/dialer.js'
import { World } from '../helpers/world.js'

function world(pongs: (number | Error)[]): World {
  const world = new World()
  world.names = { host: ['10.1.1.1', '10.1.1.2'], '10.1.1.9': ['10.1.1.9'] }
  world.pongs = pongs
  return world
}

t.test('answers and a summary', async (t) => {
  const w = world([1, 2.26, new DialError('host-unreachable', 'host unreachable'), 3])
  t.equal(await w.run('ping', 'vpn', 'host'), 0)
  t.same(w.out.split('\n'), [
    'PING host (10.1.1.1): 56 octets of data',
    '56 octets from 10.1.1.1: seq=1 time=1.0 ms',
    '56 octets from 10.1.1.1: seq=2 time=2.3 ms',
    'no answer from 10.1.1.1: seq=3 host unreachable',
    '56 octets from 10.1.1.1: seq=4 time=3.0 ms',
    '',
    '--- host ---',
    '4 sent, 3 answered, 25 % lost',
    'round trip min/avg/max = 1.0/2.1/3.0 ms',
    '',
  ])
  t.same(
    w.log.filter((line) => line.startsWith('sleep')),
    ['sleep 1000', 'sleep 1000', 'sleep 1000'],
  )
  t.same(w.log.slice(-2), ['closing tunnel', 'closed tunnel'])
})

t.test('count, interval, size, and an address', async (t) => {
  const w = world([1, 1])
  t.equal(await w.run('ping', 'vpn', '10.1.1.9', '-c', '2', '-i', '200', '-s', '1000', '--json'), 0)
  t.same(w.log.slice(1, 4), ['ping 10.1.1.9 1000', 'sleep 200', 'ping 10.1.1.9 1000'])
  t.same(w.events, [
    { event: 'reply', seq: 1, address: '10.1.1.9', size: 1000, ms: 1 },
    { event: 'reply', seq: 2, address: '10.1.1.9', size: 1000, ms: 1 },
    { event: 'summary', sent: 2, answered: 2, min: 1, avg: 1, max: 1 },
  ])
})

t.test('nothing answers: status 1', async (t) => {
  const w = world([])
  t.equal(await w.run('ping', 'vpn', 'host', '-c', '2', '--json'), 1)
  t.match(w.events, [
    { event: 'no-reply', seq: 1, code: 'timed-out' },
    { event: 'no-reply', seq: 2, code: 'timed-out' },
    { event: 'summary', sent: 2, answered: 0, min: null },
  ])
})

t.test('what ends it early', async (t) => {
  const unknown = world([1])
  t.equal(await unknown.run('ping', 'vpn', 'nowhere'), 1)
  t.equal(unknown.err.split('\n').at(-2), 'sstp-socks: nowhere does not exist')
  t.equal(unknown.log.at(-1), 'closed tunnel')

  const lost = world([1, new DialError('tunnel-down', 'the tunnel went away')])
  t.equal(await lost.run('ping', 'vpn', 'host'), 7)
  t.match(lost.err, /tunnel went away/)

  const bug = world([new TypeError('oops')])
  t.equal(await bug.run('ping', 'vpn', 'host'), 1)
  t.match(bug.err, /internal error: oops/)
})

t.test('a signal ends it with the summary so far', async (t) => {
  for (const [pongs, status] of [
    [[1, 1], 0],
    [[], 1],
  ] as const) {
    const w = world([...pongs])
    const { sleep } = w
    w.sleep = (ms, signal) => {
      if (ms === 1000) w.signal('SIGINT')
      return sleep.call(w, ms, signal)
    }
    t.equal(await w.run('ping', 'vpn', 'host'), status)
    t.match(w.out, status === 0 ? '1 sent, 1 answered, 0 % lost' : '1 sent, 0 answered, 100 % lost')
    t.equal(w.log.at(-1), 'closed tunnel')
  }
})

t.test('resolve', async (t) => {
  const found = world([])
  t.equal(await found.run('resolve', 'vpn', 'host'), 0)
  t.equal(found.out, '10.1.1.1\n10.1.1.2\n')
  t.equal(found.log.at(-1), 'closed tunnel')

  const json = world([])
  t.equal(await json.run('resolve', 'vpn', 'host', '--json', '--dns', '10.9.9.9'), 0)
  t.same(json.events, [{ name: 'host', addresses: ['10.1.1.1', '10.1.1.2'] }])
  t.same(json.dialers[0]?.servers, ['10.9.9.9'])

  const missing = world([])
  t.equal(await missing.run('resolve', 'vpn', 'nowhere', '--json'), 1)
  t.match(missing.err, /sstp-socks: nowhere does not exist\n$/)
  const error = { code: 'name-not-found', message: 'nowhere does not exist' }
  t.same(missing.events, [{ name: 'nowhere', addresses: [], error }])
  t.equal(missing.log.at(-1), 'closed tunnel')

  const stopped = world([])
  const { createDialer } = stopped
  Object.assign(stopped, {
    createDialer: (options: Parameters<typeof createDialer>[0]) => ({
      ...createDialer(options),
      resolve: () => new Promise(() => setImmediate(() => stopped.signal('SIGTERM'))),
    }),
  })
  t.equal(await stopped.run('resolve', 'vpn', 'host'), 143)
  t.equal(stopped.log.at(-1), 'closed tunnel')
})

t.test('names as they are asked for elsewhere too', async (t) => {
  const hosts = `${t.testdir({ hosts: '10.7.7.7 web\n' })}/hosts`
  const argv = [
    '--dns',
    'corp.example=10.5.5.5',
    '--dns',
    'home=direct',
    '--hosts',
    hosts,
    '--search',
    'a.example',
  ]
  for (const command of [
    ['resolve', 'vpn', 'host'],
    ['ping', 'vpn', 'host', '-c', '1'],
  ]) {
    const asking = world([1])
    t.equal(await asking.run(...command, ...argv), 0, asking.err)
    const [options] = asking.dialers
    t.match(options, { zones: [{ domain: 'corp.example' }], search: ['a.example'] })
    t.same(options?.hosts?.get('web', 'A'), ['10.7.7.7'])
    t.ok(options?.elsewhere?.('x.home'))
    t.equal(options?.elsewhere?.('host'), undefined)
    const wrong = world([1])
    t.equal(await wrong.run(...command, '--hosts', '/no/such'), 2)
    t.same(wrong.log, [], 'before the tunnel is up')
  }
})
