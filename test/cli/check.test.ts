import t from 'tap'
import { CallError, STEPS } from '../../src/transport/errors.js'
import type { TunnelEvent } from '../../src/tunnel/events.js'
import { INFO, World } from '../helpers/world.js'

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
  t.same(world.log, ['open', 'sleep 1000', 'closing tunnel', 'closed tunnel'])
  t.equal(world.listening, 0)
})

t.test('both addresses: IPv6 comes behind IPv4, and is waited for', async (t) => {
  const six = 'fd79::1:2'
  /** `when`: IPv6 is there with the tunnel, comes behind it, or is all there is. */
  const checked = async (when: 'with' | 'behind' | 'alone' | 'lost', ...argv: string[]) => {
    const world = new World()
    world.steps = STEPS.length - 1
    const tunnelInfo = (ipv4: string | undefined, ipv6: string | undefined) => ({ ...INFO, ipv4, ipv6 })
    let info = tunnelInfo(when === 'alone' ? undefined : '10.0.0.2', when === 'behind' ? undefined : six)
    if (when === 'lost') info = tunnelInfo('10.0.0.2', undefined)
    let told: (event: TunnelEvent) => void = () => {}
    world.openTunnel = async (options) => {
      told = (event) => options.onEvent?.(event)
      const tunnel = world.fakeTunnel(options)
      told({ type: 'step', step: 'ip', ms: 12.3, detail: { address: info.ipv4 ?? six, mtu: 1400 } })
      return Object.defineProperty(tunnel, 'info', { get: () => info })
    }
    const { sleep } = world
    world.sleep = (ms, signal) => {
      if (ms !== 1000) return sleep.call(world, ms, signal)
      return new Promise((resolve) => {
        signal?.addEventListener('abort', () => resolve())
        if (when === 'lost') world.lose(new CallError('ip', 'lost', 'CALL_ENDED', 'it has gone'))
        // Other news do not end the wait.
        told({ type: 'changed', info })
        info = tunnelInfo('10.0.0.2', six)
        if (when === 'behind') told({ type: 'changed', info })
      })
    }
    return { status: await world.run('check', 'vpn', ...argv), world }
  }
  for (const when of ['with', 'behind'] as const) {
    const { status, world } = await checked(when)
    t.equal(status, 0)
    t.match(world.out, /^IP +ok +12 ms {2}address=10\.0\.0\.2 ipv6=fd79::1:2 mtu=1400\n$/m, when)
    const json = await checked(when, '--json')
    t.same(json.world.events.at(-1), {
      step: 'ip',
      status: 'ok',
      ms: 12.3,
      detail: { address: '10.0.0.2', ipv6: six, mtu: 1400 },
    })
  }
  const alone = await checked('alone')
  t.match(alone.world.out, /^IP +ok +12 ms {2}address=fd79::1:2 mtu=1400\n$/m, 'not twice')
  const lost = await checked('lost')
  t.equal(lost.status, 7)
  t.match(lost.world.out, /^IP +FAIL +it has gone \[CALL_ENDED\]\n$/m)

  const four = new World()
  t.equal(await four.run('check', 'vpn', '--no-ipv6'), 0)
  t.same(four.log, ['open', 'closing tunnel', 'closed tunnel'], 'what is not wanted is not waited for')
})

t.test('a signal while IPv6 is waited for: the result is there', async (t) => {
  const world = new World()
  const { sleep } = world
  world.sleep = (ms, signal) => {
    if (ms !== 1000) return sleep.call(world, ms, signal)
    return new Promise((resolve) => {
      signal?.addEventListener('abort', () => resolve())
      world.signal('SIGTERM')
    })
  }
  t.equal(await world.run('check', 'vpn'), 0)
  t.match(world.out, /^IP +ok/m)
  t.same(world.log, ['open', 'closing tunnel', 'closed tunnel'])
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
