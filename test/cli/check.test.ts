import t from 'tap'
import { CallError, STEPS } from '../../src/transport/errors.js'
import { World } from '../helpers/world.js'

t.test('seven lines, and a proper end', async (t) => {
  const world = new World()
  t.equal(await world.run('check', 'vpn'), 0)
  t.same(world.out.split('\n'), [
    'DNS       ok       12 ms  dns-field=agreed',
    'TCP       ok       12 ms  tcp-field=agreed',
    'TLS       ok       12 ms  tls-field=agreed',
    'HTTP      ok       12 ms  http-field=agreed',
    'SSTP      ok       12 ms  sstp-field=agreed',
    'PPP-auth  ok       12 ms  auth-field=agreed',
    'IP        ok       12 ms  ip-field=agreed',
    '',
  ])
  t.same(world.log, ['open', 'closing tunnel', 'closed tunnel'])
  t.equal(world.listening, 0)
})

t.test('where it stops: the reason, the hint, and what was not reached', async (t) => {
  for (const [index, step] of STEPS.entries()) {
    const world = new World()
    world.steps = index
    world.failure = new CallError(step, 'protocol', 'BAD_THING', 'it went wrong', 'do better')
    t.equal(await world.run('check', 'vpn'), 6, step)
    const lines = world.out.split('\n').slice(0, -1)
    t.equal(lines.length, 8)
    const [failed, hint] = lines.splice(index, 2)
    t.match(failed, /^\S+ +FAIL +it went wrong \[BAD_THING\]$/)
    t.match(hint, /^ +hint: do better$/)
    t.same(
      lines.map((line) => line.split(/ +/)[1]),
      [...Array(index).fill('ok'), ...Array(6 - index).fill('-')],
    )
    t.equal(world.err, '')
  }
})

t.test('one object for each step', async (t) => {
  const world = new World()
  world.steps = 2
  world.failure = new CallError('tls', 'untrusted', 'TLS_UNTRUSTED', 'self-signed')
  t.equal(await world.run('check', 'vpn', '--json'), 4)
  t.same(world.events, [
    { step: 'dns', status: 'ok', ms: 12.3, detail: { 'dns-field': 'agreed' } },
    { step: 'tcp', status: 'ok', ms: 12.3, detail: { 'tcp-field': 'agreed' } },
    {
      step: 'tls',
      status: 'fail',
      kind: 'untrusted',
      code: 'TLS_UNTRUSTED',
      message: 'self-signed',
      hint: null,
    },
    ...['http', 'sstp', 'auth', 'ip'].map((step) => ({ step, status: '-' })),
  ])
})

t.test('steps that nothing was told of', async (t) => {
  const up = new World()
  up.steps = 0
  t.equal(await up.run('check', 'vpn', '--json'), 0)
  t.same(
    up.events,
    STEPS.map((step) => ({ step, status: 'ok', ms: null, detail: {} })),
  )
  const failed = new World()
  failed.steps = 1
  failed.failure = new CallError('http', 'protocol', 'X', 'x')
  t.equal(await failed.run('check', 'vpn', '--json'), 6)
  t.same(
    failed.events.map(({ status }) => status),
    ['ok', 'ok', 'ok', 'fail', '-', '-', '-'],
  )
  const again = new World()
  again.failure = new CallError('auth', 'lost', 'X', 'x')
  t.equal(await again.run('check', 'vpn', '--json'), 7)
  t.same(
    again.events.map(({ status }) => status),
    [...Array(7).fill('ok'), 'fail'],
    'a step that failed later',
  )
})

t.test('every kind of failure has its status', async (t) => {
  for (const [kind, status] of [
    ['local', 2],
    ['unreachable', 3],
    ['untrusted', 4],
    ['refused', 5],
    ['protocol', 6],
    ['lost', 7],
  ] as const) {
    const world = new World()
    world.failure = new CallError('ip', kind, 'X', 'x')
    t.equal(await world.run('check', 'vpn'), status)
  }
  const bug = new World()
  bug.failure = new Error('oops')
  t.equal(await bug.run('check', 'vpn'), 1)
  t.equal(bug.err, 'sstp-socks: internal error: oops\n')
})

t.test('interrupted', async (t) => {
  const world = new World()
  world.openTunnel = (options) =>
    new Promise((_resolve, reject) => {
      options.signal?.addEventListener('abort', () => reject(new CallError('tcp', 'local', 'ABORTED', 'x')))
      setImmediate(() => world.signal('SIGINT'))
    })
  t.equal(await world.run('check', 'vpn'), 130)
  t.equal(world.err, 'sstp-socks: interrupted by SIGINT\n')
})
