import t from 'tap'
import { CallError, type CallErrorKind } from '../../src/transport/errors.js'
import type { DialError } from '../../src/tunnel/dialer.js'
import { IpAddress } from '../../stack/index.js'
import { type Attempt, lost, Supervised, unreachable } from '../helpers/supervised.js'

/** Addresses of a call; `ipv6` may be told later, or not at all. */
interface Given {
  readonly ipv4?: string | undefined
  readonly ipv6?: string | 'refused' | undefined
}

/** What a session does with its addresses, see families.ts and addressing.ts. */
function assign({ inner }: Attempt, { ipv4, ipv6 }: Given): void {
  inner.setIpv4(ipv4 === undefined ? undefined : IpAddress.parse(ipv4))
  if (ipv6 === undefined) return
  const address = IpAddress.parse(ipv6)
  const old = inner.ipv6
  inner.ipv6 = address === undefined ? [] : [address]
  for (const one of old) if (address?.equals(one) !== true) inner.forsake(one)
}

t.test(
  'a lost tunnel is brought up again at once, and what comes after waits longer and longer',
  async (t) => {
    const s = await new Supervised().start()
    t.ok(s.started)
    t.same(s.told(), ['connecting', 'ready'])
    await s.clock.advance(60_000)
    await s.lose()
    t.same(s.told(), ['disconnected', 'reconnecting 0'])
    await s.clock.advance(0)
    t.same(s.told(), ['connecting'])
    // The random number is 1: each wait is the bound itself.
    for (const wait of [2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000]) {
      const attempts = s.attempts.length
      await s.failLast(unreachable)
      t.same(s.told(), [`reconnecting ${wait}`])
      await s.clock.advance(wait - 1)
      t.equal(s.attempts.length, attempts, 'not earlier')
      await s.clock.advance(1)
      t.equal(s.attempts.length, attempts + 1)
      t.same(s.told(), ['connecting'])
    }
    s.last.up()
    await s.clock.settle()
    t.match(s.events, [{ type: 'ready', again: true, kept: true }])
    await s.supervisor.close()
    t.equal(s.clock.pending, 0, 'no timer is left')
  },
)

t.test('full jitter: any time up to the bound, and none in step with another', async (t) => {
  const s = await new Supervised().start()
  s.random = [0.5, 0, 0.25, 1]
  await s.lose()
  await s.clock.advance(0)
  for (const wait of [1000, 0, 2000, 16_000]) {
    s.told()
    await s.failLast(unreachable)
    t.same(s.told(), [`reconnecting ${wait}`])
    await s.clock.advance(wait)
  }
  await s.supervisor.close()
})

t.test('only a call that was stable makes the waits short again', async (t) => {
  for (const [life, wait] of [
    [29_999, 2000],
    [30_000, 0],
  ] as const) {
    const s = await new Supervised().start()
    await s.lose()
    await s.clock.advance(0)
    s.last.up()
    await s.clock.advance(life)
    s.told()
    await s.lose()
    t.same(s.told(), ['disconnected', `reconnecting ${wait}`])
    await s.supervisor.close()
  }
})

t.test('what another attempt would not mend is final, at the start and later', async (t) => {
  const kinds: [CallErrorKind, boolean][] = [
    ['refused', true],
    ['untrusted', true],
    ['local', true],
    ['unreachable', false],
    ['protocol', false],
    ['lost', false],
  ]
  for (const [kind, final] of kinds) {
    const error = new CallError('auth', kind, 'SOME_CODE', `it is ${kind}`)
    for (const retryStart of [false, true]) {
      const s = await new Supervised({ retryStart }).start(false)
      await s.failLast(error)
      const ends = final || !retryStart
      t.equal(s.supervisor.state, ends ? 'stopped' : 'waiting', `${kind} at the start`)
      t.equal(s.failure, ends ? error : undefined)
      if (ends) t.equal(await s.supervisor.stopped, error)
      await s.supervisor.close()
      t.equal(s.clock.pending, 0)
    }
    const s = await new Supervised().start()
    await s.lose()
    await s.clock.advance(0)
    s.told()
    await s.failLast(error)
    t.same(s.told(), final ? ['stopped'] : ['reconnecting 2000'], `${kind} on a reconnect`)
    if (final) t.equal(await s.supervisor.stopped, error)
    await s.supervisor.close()
    t.equal(s.clock.pending, 0)
  }
  const bug = await new Supervised({ retryStart: true }).start(false)
  await bug.failLast(new TypeError('a fault of ours'))
  t.match(bug.failure, { message: 'a fault of ours' })
})

t.test('with retryStart the first wait is not for nothing', async (t) => {
  const s = await new Supervised({ retryStart: true }).start(false)
  await s.failLast(unreachable)
  t.same(s.told(), ['connecting', 'reconnecting 1000'])
  await s.clock.advance(1000)
  s.last.up()
  await s.clock.settle()
  t.match(s.events, [
    { type: 'connecting', attempt: 2 },
    { type: 'ready', again: false, kept: false },
  ])
  t.ok(s.started)
  await s.supervisor.close()
})

t.test('--no-reconnect: the end of the call is the end', async (t) => {
  const s = await new Supervised({ reconnect: false }).start()
  await s.lose()
  t.same(s.told(), ['connecting', 'ready', 'disconnected', 'stopped'])
  t.match(await s.supervisor.stopped, { kind: 'lost', code: 'CALL_LOST' })
  t.equal(s.attempts.length, 1)
  t.equal(s.clock.pending, 0)
})

t.test('two users of one account: refused after a few turns', async (t) => {
  const s = await new Supervised().start()
  await s.clock.advance(100_000)
  await s.lose('TERMINATED')
  // Each is thrown out again one second after it came up.
  for (const code of ['TERMINATED', 'CALL_ENDED', 'SSTP_PEER_ABORT']) {
    await s.clock.advance(4000)
    s.last.up()
    await s.clock.advance(1000)
    await s.lose(code)
    t.equal(s.supervisor.state, 'waiting', code)
  }
  await s.clock.advance(8000)
  s.last.up()
  await s.clock.advance(1000)
  s.told()
  await s.lose('TERMINATED')
  t.same(s.told(), ['disconnected', 'stopped'])
  t.match(await s.supervisor.stopped, {
    kind: 'lost',
    code: 'FLAPPING',
    message: /somebody else seems to use the same account/,
    hint: /an account of its own/,
  })
})

t.test('what is no flapping', async (t) => {
  const cases: [string, string, number, number][] = [
    ['a server that crashes', 'CALL_LOST', 1000, 0],
    ['a peer that falls silent', 'PEER_SILENT', 1000, 0],
    ['calls that lasted a while', 'TERMINATED', 30_001, 0],
    ['far between', 'TERMINATED', 1000, 100_000],
  ]
  for (const [what, code, life, rest] of cases) {
    const s = await new Supervised().start()
    for (let i = 0; i < 8; i++) {
      await s.clock.advance(life)
      await s.lose(code)
      t.equal(s.supervisor.state, 'waiting', what)
      await s.clock.advance(60_000 + rest)
      s.last.up()
      await s.clock.settle()
    }
    await s.supervisor.close()
  }
})

t.test('new connections wait for the tunnel, a bounded time', async (t) => {
  const s = await new Supervised({ reconnectWait: 5000 }).start()
  await s.supervisor.whenUp()
  await s.lose()
  const told: string[] = []
  const wait = (name: string, signal?: AbortSignal): void => {
    s.supervisor.whenUp(undefined, signal).then(
      () => told.push(`${name} up`),
      (error: DialError) => told.push(`${name} ${error.code}`),
    )
  }
  wait('early')
  await s.clock.advance(4999)
  wait('late')
  const abort = new AbortController()
  wait('impatient', abort.signal)
  abort.abort()
  wait('too late', abort.signal)
  await s.clock.settle()
  t.same(told.splice(0).sort(), ['impatient aborted', 'too late aborted'])
  await s.clock.advance(1)
  t.same(told.splice(0), ['early tunnel-reconnecting'])
  s.last.up()
  await s.clock.settle()
  t.same(told.splice(0), ['late up'])
  await s.lose()
  wait('last')
  await s.supervisor.close()
  wait('behind the end')
  await s.clock.settle()
  t.same(told, ['last tunnel-down', 'behind the end tunnel-down'])
  t.equal(s.clock.pending, 0)
})

t.test('the network is another one only if the server has changed its mind', async (t) => {
  const cases: [string, object, boolean, boolean][] = [
    ['the same', {}, true, true],
    ['another MTU', { mtu: 1300 }, true, true],
    ['IPv6, which comes when it comes', { ipv6: '2001:db8::1' }, true, true],
    ['another address', { ipv4: '10.0.0.3' }, false, false],
    ['another name server', { dns: ['10.0.0.9'] }, true, false],
    ['no name server', { dns: [] }, true, false],
    ['no IPv4', { ipv4: undefined, ipv6: '2001:db8::1' }, false, false],
  ]
  for (const [what, info, kept, same] of cases) {
    const s = new Supervised()
    t.equal(s.supervisor.network, undefined)
    await s.start()
    assign(s.last, s.last.info)
    const before = s.supervisor.network
    await s.lose()
    t.equal(s.supervisor.network, before, 'it is there while the tunnel is not')
    await s.clock.advance(0)
    assign(s.last, { ...s.last.info, ...info })
    s.last.up(info)
    await s.clock.settle()
    t.equal(s.supervisor.network === before, same, what)
    t.match(s.events.at(-1), { type: 'ready', again: true, kept })
    t.same(before?.dnsServers, s.last.dnsServers, 'the old one knows the new call')
    t.same(before?.families, { ipv4: true, ipv6: false })
    t.equal(s.attempts[0]?.inner, s.attempts[1]?.inner, 'one stack for all calls')
    await s.supervisor.close()
  }
})

t.test('what became of open connections is told of both families', async (t) => {
  const [four, other4] = ['10.0.0.2', '10.0.0.3']
  const [six, other6] = ['2001:db8::2', '2001:db8::3']
  const cases: [string, Given, Given, boolean][] = [
    ['IPv6 alone, the same', { ipv6: six }, { ipv6: six }, true],
    ['IPv6 alone, another', { ipv6: six }, { ipv6: other6 }, false],
    ['both the same', { ipv4: four, ipv6: six }, { ipv4: four, ipv6: six }, true],
    ['another IPv6', { ipv4: four, ipv6: six }, { ipv4: four, ipv6: other6 }, false],
    ['another IPv4', { ipv4: four, ipv6: six }, { ipv4: other4, ipv6: six }, false],
    ['IPv6 is not known yet, and stays so long', { ipv4: four, ipv6: six }, { ipv4: four }, true],
    ['IPv6 is refused', { ipv4: four, ipv6: six }, { ipv4: four, ipv6: 'refused' }, false],
    ['IPv4 comes in addition', { ipv6: six }, { ipv4: four, ipv6: six }, true],
    ['IPv4 is gone', { ipv4: four, ipv6: six }, { ipv6: six }, false],
  ]
  for (const [what, before, after, kept] of cases) {
    const s = await new Supervised().start(false)
    const up = async (given: Given): Promise<void> => {
      assign(s.last, given)
      const { ipv4, ipv6 } = given
      s.last.up({ ipv4, ipv6: ipv6 === 'refused' ? undefined : ipv6 })
      await s.clock.settle()
    }
    await up({ ipv4: before.ipv4 })
    // IPv6 comes behind the start, as it does.
    assign(s.last, before)
    t.match(s.events.at(-1), { type: 'ready', again: false, kept: false })
    await s.lose()
    await s.clock.advance(0)
    await up(after)
    t.match(s.events.at(-1), { type: 'ready', again: true, kept }, what)
    await s.supervisor.close()
  }
})

t.test('connections that were given up in a long gap are not told to go on', async (t) => {
  for (const [hold, kept] of [
    [300_000, true],
    [1000, false],
  ] as const) {
    const s = await new Supervised({ hold }).start()
    assign(s.last, s.last.info)
    await s.lose()
    await s.clock.advance(5000)
    assign(s.last, s.last.info)
    s.last.up()
    await s.clock.settle()
    t.match(s.events.at(-1), { type: 'ready', again: true, kept })
    await s.supervisor.close()
  }
})

t.test('connections are kept for five minutes without a call, and not for ever', async (t) => {
  const address = IpAddress.parse('10.0.0.2')
  for (const [ms, kept] of [
    [299_999, true],
    [300_000, false],
  ] as const) {
    const s = await new Supervised().start()
    const { inner } = s.last
    inner.setIpv4(address)
    await s.lose()
    await s.clock.advance(ms)
    t.equal(inner.ipv4 !== undefined, kept, `${ms} ms`)
    await s.supervisor.close()
  }
  const s = await new Supervised().start()
  s.last.inner.setIpv4(address)
  await s.lose()
  await s.clock.advance(1000)
  s.last.up()
  await s.clock.advance(600_000)
  t.equal(s.last.inner.ipv4, '10.0.0.2', 'once it is up again they stay')
  await s.supervisor.close()
})

t.test('the network passes on to the call that is up', async (t) => {
  const s = await new Supervised().start()
  const { network } = s.supervisor
  await t.rejects(async () => network?.connect({ address: '10.0.0.9', port: 1 }), {
    code: 'refused',
  })
  t.throws(() => network?.openUdp(), { code: 'no-resources' })
  await s.supervisor.close()
})

t.test('a sleep and a change of networks: asked, or tried anew', async (t) => {
  const sleep = (s: Supervised): void => {
    s.clock.ahead += 20_000
  }
  const move = (s: Supervised): void => {
    s.networks = 'eth0 198.51.100.1'
  }
  for (const [reason, disturb] of [
    ['sleep', sleep],
    ['network', move],
  ] as const) {
    const up = await new Supervised().start()
    disturb(up)
    await up.clock.advance(2000)
    t.equal(up.last.probes, 1, `${reason}: probed within one look`)
    t.match(up.events.at(-1), { type: 'probing', reason })
    await up.clock.advance(60_000)
    t.equal(up.last.probes, 1, 'and once')
    await up.supervisor.close()

    const waiting = await new Supervised().start()
    await waiting.lose()
    await waiting.clock.advance(0)
    for (const wait of [2000, 4000, 8000]) {
      await waiting.failLast(unreachable)
      await waiting.clock.advance(wait)
    }
    await waiting.failLast(unreachable)
    const attempts = waiting.attempts.length
    disturb(waiting)
    await waiting.clock.advance(2000)
    t.equal(waiting.attempts.length, attempts + 1, `${reason}: the wait is over`)
    waiting.told()
    await waiting.failLast(unreachable)
    t.same(waiting.told(), ['reconnecting 1000'], 'and short again')
    await waiting.supervisor.close()

    const stuck = await new Supervised({ retryStart: true }).start(false)
    const [first] = stuck.attempts
    disturb(stuck)
    await stuck.clock.advance(2000)
    t.equal(first?.options.signal?.aborted, true, `${reason}: an attempt that hangs is given up`)
    t.equal(stuck.attempts.length, 2)
    stuck.last.up()
    await stuck.clock.settle()
    t.equal(stuck.supervisor.state, 'ready')
    await stuck.supervisor.close()

    // Begun just before the change, it may be as stuck; that shows when it gets no further.
    const young = await new Supervised({ retryStart: true }).start(false)
    await young.clock.advance(400)
    young.supervisor.disturb(reason)
    await young.clock.advance(500)
    t.equal(young.attempts.length, 1, `${reason}: one that has just begun has a moment`)
    await young.clock.advance(100)
    t.equal(young.attempts.length, 2, 'and no more')
    await young.clock.advance(500)
    young.supervisor.disturb(reason)
    await young.clock.advance(100)
    await young.failLast(unreachable)
    young.told()
    await young.clock.advance(999)
    t.same(young.told(), [], 'the wait behind it is as long as ever')
    await young.clock.advance(500)
    young.supervisor.disturb(reason)
    young.last.up()
    await young.clock.advance(1000)
    t.equal(young.last.probes, 0)
    await young.supervisor.close()

    const busy = await new Supervised().start(false)
    busy.last.reached()
    disturb(busy)
    await busy.clock.advance(2000)
    t.equal(busy.attempts.length, 1, `${reason}: one that has reached the server is not`)
    await busy.supervisor.close()
  }
  // A clock that is put right by little, or back, says nothing.
  const s = await new Supervised().start()
  s.clock.ahead += 4000
  await s.clock.advance(2000)
  s.clock.ahead -= 3_600_000
  await s.clock.advance(2000)
  t.equal(s.last.probes, 0)
  await s.supervisor.close()
})

t.test('the end on request, from each state', async (t) => {
  const states: [string, (s: Supervised) => Promise<unknown>][] = [
    ['new', async () => {}],
    ['connecting', (s) => s.start(false)],
    ['ready', (s) => s.start()],
    [
      'waiting',
      async (s) => {
        await s.start()
        await s.lose()
      },
    ],
    [
      'connecting',
      async (s) => {
        await s.start()
        await s.lose()
        await s.clock.advance(0)
      },
    ],
  ]
  for (const [state, bring] of states) {
    for (const polite of [true, false]) {
      const s = new Supervised()
      s.prompt = polite
      await bring(s)
      t.equal(s.supervisor.state, state)
      if (s.attempts.length > 0) s.last.polite = polite
      const began = s.clock.now()
      const closing = s.supervisor.close()
      t.equal(s.supervisor.close(), closing, 'a second call is the same')
      for (let i = 0; i < 30 && s.supervisor.state !== 'stopped'; i++) await s.clock.advance(100)
      await closing
      t.ok(s.clock.now() - began <= 2900, `${state} ${polite}: within 3 s`)
      t.equal(s.supervisor.state, 'stopped')
      t.equal(await s.supervisor.stopped, undefined)
      t.match(s.events.at(-1), { type: 'stopped', error: undefined })
      if (state === 'ready') t.equal(s.last.closes, 1)
      if (state === 'connecting') t.equal(s.last.options.signal?.aborted, true)
      t.equal(s.clock.pending, 0, `${state} ${polite}: no timer is left`)
      if (state === 'connecting' && !polite) {
        s.last.up()
        await s.clock.settle()
        t.equal(s.last.closes, 1, 'what comes up too late is closed')
      }
      const attempts = s.attempts.length
      await s.clock.advance(100_000)
      t.equal(s.attempts.length, attempts, 'and nothing follows')
    }
  }
})

t.test('the end while it starts is told to whoever waits', async (t) => {
  const s = await new Supervised().start(false)
  await s.supervisor.close()
  await s.clock.settle()
  t.match(s.failure, { code: 'aborted' })
  await t.rejects(s.supervisor.start(), { message: /starts once/ })
})

t.test('a call that ends without a reason has one all the same', async (t) => {
  const s = await new Supervised().start()
  s.last.end(undefined)
  await s.clock.settle()
  t.match(
    s.events.find((e) => e.type === 'disconnected'),
    { error: { code: 'CALL_ENDED', kind: 'lost' } },
  )
  await s.supervisor.close()
})

t.test('an old call has no say any more', async (t) => {
  const s = await new Supervised().start()
  const [first] = s.attempts
  await s.lose()
  await s.clock.advance(0)
  s.last.up()
  await s.clock.settle()
  first?.end(lost())
  await s.clock.settle()
  t.equal(s.supervisor.state, 'ready')
  await s.supervisor.close()
})
