import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { makeCertificate } from '../../src/gateway/certificate.js'
import { CallError, type CallErrorKind } from '../../src/transport/errors.js'
import { World } from '../helpers/world.js'

t.test('tunnel, then listeners, then the ready line; a signal ends it in the other order', async (t) => {
  for (const name of ['SIGINT', 'SIGTERM'] as const) {
    const world = new World()
    world.onReady = () => world.signal(name)
    t.equal(await world.run('connect', 'vpn.example:444', '--json'), 0)
    t.same(world.log.slice(0, 3), ['open', 'proxy 127.0.0.1:1080', 'proxy 127.0.0.1:8080'])
    t.same(
      new Set(world.log.slice(3, 5)),
      new Set(['closed proxy 127.0.0.1:1080', 'closed proxy 127.0.0.1:8080']),
    )
    t.same(world.log.slice(5), ['closing tunnel', 'closed tunnel'])
    t.same(world.events, [
      {
        event: 'ready',
        socks: { address: '127.0.0.1', port: 1080 },
        http: { address: '127.0.0.1', port: 8080 },
        proxies: [
          { protocols: ['socks'], address: '127.0.0.1', port: 1080 },
          { protocols: ['http'], address: '127.0.0.1', port: 8080 },
        ],
        forwards: [],
        dnsListen: null,
        tunnel: {
          ipv4: '10.0.0.2',
          ipv6: null,
          peer: '10.0.0.1',
          dns: ['10.0.0.53'],
          mtu: 1400,
          auth: 'mschapv2',
          server: 'vpn.example:443',
        },
      },
      { event: 'stopped', status: 0, signal: name },
    ])
    t.equal(world.listening, 0, 'no signal handler is left')
    t.same(world.exits, [])
  }
})

t.test('is the default command', async (t) => {
  const world = new World()
  world.onReady = () => world.signal('SIGINT')
  t.equal(await world.run('vpn.example'), 0)
  t.match(world.calls, [{ host: 'vpn.example', port: 443 }])
})

t.test('lines for people, to copy', async (t) => {
  const world = new World()
  world.onReady = () => world.signal('SIGINT')
  await world.run('vpn', '--socks', '0.0.0.0:0', '--http', '[::1]:9', '--allow-open')
  t.match(world.out, 'Connected to vpn.example:443 (mschapv2) as 10.0.0.2, MTU 1400.')
  t.match(world.out, /curl --socks5-hostname 127\.0\.0\.1:4000\d http/)
  t.match(world.out, /export ALL_PROXY=socks5h:\/\/127\.0\.0\.1:4000\d\n/)
  t.match(world.out, 'curl -x http://[::1]:9 http')
  t.match(world.out, 'export http_proxy=http://[::1]:9 https_proxy=http://[::1]:9')
})

t.test('which listener serves what', async (t) => {
  const both = { socks: true, http: true }
  const cases: [string[], object[]][] = [
    [['--socks', '1', '--http', '1'], [{ address: '127.0.0.1', port: 1, protocols: both }]],
    [['--socks', '0', '--http', '0'], [{ address: '127.0.0.1', port: 0, protocols: both }]],
    [
      ['--socks', '1', '--http', '127.0.0.2:1'],
      [
        { address: '127.0.0.1', port: 1, protocols: { socks: true, http: false } },
        { address: '127.0.0.2', port: 1, protocols: { socks: false, http: true } },
      ],
    ],
    [['--socks', 'off'], [{ port: 8080, protocols: { socks: false, http: true } }]],
    [['--http', 'off'], [{ port: 1080, protocols: { socks: true, http: false } }]],
  ]
  for (const [argv, proxies] of cases) {
    const world = new World()
    world.onReady = () => world.signal('SIGINT')
    t.equal(await world.run('vpn', '--json', ...argv), 0, argv.join(' '))
    t.match(world.proxies, proxies)
    t.equal(world.proxies.length, proxies.length)
    t.equal(world.log.filter((line) => line.startsWith('closed proxy')).length, proxies.length)
    const [ready] = world.events
    t.equal(ready?.socks === null, argv.join() === '--socks,off')
    t.equal(ready?.http === null, argv.join() === '--http,off')
  }
})

t.test('unix sockets, and several places for one protocol', async (t) => {
  const world = new World()
  world.onReady = () => world.signal('SIGINT')
  const argv = [
    '--socks',
    'unix:/run/x/s',
    '--socks',
    '1',
    '--http',
    'unix:/run/x/s',
    '--http',
    '0',
    '--http',
    '0',
  ]
  t.equal(await world.run('vpn', '--json', ...argv), 0)
  t.same(
    world.proxies.map(({ path, address, port, protocols }) => [path ?? `${address}:${port}`, protocols]),
    [
      ['/run/x/s', { socks: true, http: true }],
      ['127.0.0.1:1', { socks: true, http: false }],
      ['127.0.0.1:0', { socks: false, http: true }],
      ['127.0.0.1:0', { socks: false, http: true }],
    ],
    'two free ports are two',
  )
  t.match(world.events[0], {
    socks: { path: '/run/x/s' },
    http: { path: '/run/x/s' },
    proxies: [
      { protocols: ['socks', 'http'], path: '/run/x/s' },
      { protocols: ['socks'], address: '127.0.0.1', port: 1 },
      { protocols: ['http'], port: 40004 },
      { protocols: ['http'], port: 40005 },
    ],
  })
  const people = new World()
  people.onReady = () => people.signal('SIGINT')
  await people.run('vpn', '--socks', 'unix:/run/my x', '--http', 'off')
  t.match(
    people.out,
    /^SOCKS5 proxy on unix:\/run\/my x\n {2}curl -x socks5h:\/\/localhost\/run\/my%20x http/m,
  )
})

t.test('listening on a unix socket fails: one line that names the option', async (t) => {
  for (const [code, message] of [
    ['EADDRINUSE', /another program .* listens on unix:\/x\/y: choose another path with --socks$/m],
    ['ENOTSOCK', /\/x\/y exists and is no socket: choose another path with --socks$/m],
    ['ENAMETOOLONG', /\/x\/y is too long for a unix socket: choose a shorter path with --socks$/m],
    ['ENOENT', /there is no directory for \/x\/y: make it, or choose another path with --socks$/m],
    ['EACCES', /\/x\/y may not be made here \(EACCES\): choose another path with --socks$/m],
  ] as const) {
    const world = new World()
    world.listenProxy = async () => {
      throw Object.assign(new Error(code), { code })
    }
    t.equal(await world.run('vpn', '--socks', 'unix:/x/y', '--http', 'off'), 2, code)
    t.match(world.err, message)
    t.same(world.log, ['open', 'closing tunnel', 'closed tunnel'])
  }
})

t.test('who may use the proxies', async (t) => {
  const file = join(t.testdir({ password: 'pw-7\n' }), 'password')
  const ways: [string[], Record<string, string>][] = [
    [['--proxy-user', 'bob', '--proxy-password-file', file], {}],
    [['--proxy-user', 'bob'], { SSTP_PROXY_PASSWORD: 'pw-7' }],
    [[], { SSTP_PROXY_USER: 'bob', SSTP_PROXY_PASSWORD: 'pw-7' }],
    [['--proxy-user', 'bob', '--proxy-password-file', file], { SSTP_PROXY_PASSWORD: 'other' }],
  ]
  for (const [argv, env] of ways) {
    const world = new World()
    world.env = { ...world.env, ...env }
    world.onReady = () => world.signal('SIGINT')
    // Whoever must say a password may come from anywhere.
    t.equal(await world.run('vpn', '--socks', '0.0.0.0:1', '--log-level', 'trace', ...argv), 0, world.err)
    t.equal(world.proxies.length, 2)
    for (const { credentials } of world.proxies) {
      t.equal(credentials?.verify(Buffer.from('bob'), Buffer.from('pw-7')), true)
      t.equal(credentials?.verify(Buffer.from('bob'), Buffer.from('other')), false)
      t.equal(credentials?.verify(Buffer.from('eve'), Buffer.from('pw-7')), false)
    }
    t.match(world.out, 'curl --socks5-hostname 127.0.0.1:1 --proxy-user bob http')
    t.match(world.out, 'export ALL_PROXY=socks5h://bob:PASSWORD@127.0.0.1:1\n')
    t.notMatch(world.out + world.err, /pw-7/)
  }
  const asked = new World()
  asked.ask = async (question, hidden) => {
    t.equal(question, 'Password of the proxies for bob: ')
    t.ok(hidden)
    return 'typed'
  }
  asked.onReady = () => asked.signal('SIGINT')
  t.equal(await asked.run('vpn', '--proxy-user', 'bob'), 0)
  t.equal(asked.proxies[0]?.credentials?.verify(Buffer.from('bob'), Buffer.from('typed')), true)

  const open = new World()
  open.onReady = () => open.signal('SIGINT')
  t.equal(await open.run('vpn', '--socks', '0.0.0.0:1', '--allow-open', '--allow', '10.1.0.0/16,::1'), 0)
  const [first, second] = open.proxies
  for (const proxy of [first, second]) {
    t.equal(proxy?.allow?.('10.1.2.3'), true)
    t.equal(proxy?.allow?.('::ffff:10.1.2.3'), true)
    t.equal(proxy?.allow?.('::1'), true)
    t.equal(proxy?.allow?.('127.0.0.1'), false, 'this machine is not allowed by itself')
    t.equal(proxy?.credentials, undefined)
  }
  const cases: [string[], Record<string, string>, RegExp][] = [
    [[], { SSTP_PROXY_PASSWORD: 'x' }, /SSTP_PROXY_PASSWORD: needs --proxy-user too/],
    [[], { SSTP_PROXY_USER: 'a:b' }, /SSTP_PROXY_USER: HTTP knows no user name with a colon/],
    [['--proxy-user', 'b'], { SSTP_PROXY_PASSWORD: 'x'.repeat(256) }, /SSTP_PROXY_PASSWORD: .*255 octets/],
    [['--proxy-user', 'b'], { SSTP_PROXY_PASSWORD: 'x\ty' }, /SSTP_PROXY_PASSWORD: .*control character/],
    [['--proxy-user', 'b', '--proxy-password-file', '/no/such'], {}, /--proxy-password-file: ENOENT/],
  ]
  for (const [argv, env, message] of cases) {
    const world = new World()
    world.env = { ...world.env, ...env }
    t.equal(await world.run('vpn', ...argv), 2)
    t.match(world.err, message)
    t.same(world.log, [], 'before anything is opened')
  }
})

t.test('strangers at the door are told of, but not more often than a person can read', async (t) => {
  const world = new World()
  world.onReady = () => {
    for (let client = 1; client <= 1000; client++) {
      const message = 'clients at 192.0.2.1 may not use this proxy (--allow)'
      world.proxies[0]?.onEvent?.({
        type: 'rejected',
        client,
        from: '192.0.2.1',
        reason: 'forbidden',
        message,
      })
    }
    world.signal('SIGINT')
  }
  await world.run('vpn')
  const lines = world.err.match(/WARN: clients at 192\.0\.2\.1 may not use this proxy/g)?.length ?? 0
  t.ok(lines > 0 && lines < 50, `${lines} lines`)
})

t.test('forwards, names and rules: opened behind the proxies, closed before them', async (t) => {
  const world = new World()
  const folder = t.testdir({ rules: 'refuse *:25\n', hosts: '10.1.1.1 web.inside\n' })
  world.onReady = () => world.signal('SIGINT')
  const names = [
    '--dns',
    'corp.example=10.5.5.5',
    '--dns',
    'home=direct',
    '--search',
    'corp.example',
    '--ndots',
    '2',
  ]
  const rules = ['--bypass', '192.0.2.0/24', '--rules', `${folder}/rules`]
  const argv = [
    '-L',
    '0:web.inside:80',
    '--dns-listen',
    '5353',
    '--hosts',
    `${folder}/hosts`,
    ...names,
    ...rules,
  ]
  t.equal(await world.run('vpn', '--json', ...argv), 0, world.err)
  const closed = world.log.filter((line) => line.startsWith('closed'))
  t.equal(closed[0], 'closed dns 127.0.0.1:5353')
  t.equal(closed.at(-1), 'closed tunnel')
  t.match(world.events[0], {
    forwards: [{ option: '-L', locals: [{ address: '127.0.0.1', port: Number }] }],
    dnsListen: { address: '127.0.0.1', port: 5353 },
    tunnel: { dns: ['10.0.0.53'] },
  })
  t.match(world.dialers[0], {
    zones: [{ domain: 'corp.example', servers: [{ address: '10.5.5.5', port: 53 }] }],
    search: ['corp.example'],
    ndots: 2,
  })
  t.equal(world.dialers[0]?.servers, undefined)
  t.same(world.dialers[0]?.hosts?.get('web.inside', 'A'), ['10.1.1.1'])
  t.ok(world.dialers[0]?.elsewhere?.('x.home'), 'asked of this machine')
  t.notOk(world.dialers[0]?.elsewhere?.('x.corp.example'))
  const { dialer, pages } = world.proxies[0] ?? {}
  await t.rejects(async () => dialer?.dial({ host: '10.0.0.9', port: 25 }), {
    code: 'not-allowed',
    message: /refuse \*:25/,
  })
  t.match(
    String(pages?.page('/proxy.pac', '127.0.0.1:8080')?.body),
    /PROXY 127\.0\.0\.1:8080; SOCKS5 127\.0\.0\.1:1080/,
  )

  const people = new World()
  people.onReady = () => people.signal('SIGINT')
  t.equal(await people.run('vpn', ...argv), 0)
  t.match(people.out, 'DNS 10.0.0.53; corp.example by 10.5.5.5; home outside the tunnel.')
  t.match(people.out, 'Rules: 2; what none of them is about goes through the tunnel.')
  t.match(people.out, /^Forward \(-L, TCP\) 127\.0\.0\.1:\d+ to web\.inside:80 behind the tunnel$/m)
  t.match(people.out, /^DNS server on 127\.0\.0\.1:5353\n {2}dig @127\.0\.0\.1 -p 5353 host\.inside$/m)
})

t.test('only a forward, only a DNS server; and what stands in the way', async (t) => {
  for (const argv of [['-L', '0:web:80'], ['-L0:web:80'], ['--dns-listen', '5353']]) {
    const world = new World()
    world.onReady = () => world.signal('SIGINT')
    t.equal(await world.run('vpn', '--socks', 'off', '--http', 'off', '--json', ...argv), 0, argv.join(' '))
    t.same(world.proxies, [])
    t.match(world.events[0], { socks: null, http: null, proxies: [] })
  }
  const cases: [string[], RegExp][] = [
    [['--dns-listen', '0.0.0.0:53'], /--dns-listen: whoever reaches 0\.0\.0\.0:53 .* or give --allow-open$/m],
    [['--hosts', '/no/such'], /--hosts: \/no\/such: ENOENT/],
    [['--rules', '/no/such'], /--rules: ENOENT/],
    [['--route', 'http://x'], /--route: "http:\/\/x" is a URL/],
    [['-L', '80'], /--forward: "80" is not \[ADDR:\]PORT:HOST:PORT/],
    [['-L80'], /--forward: "80" is not \[ADDR:\]PORT:HOST:PORT/],
    [['-R80'], /--remote-forward: "80" is not PORT:HOST:PORT/],
    [['--', '-L0:web:80'], /an argument that nothing takes: -L0:web:80/],
    [['--dns', 'x=y'], /--dns: "y" is neither ADDR/],
  ]
  for (const [argv, message] of cases) {
    const world = new World()
    t.equal(await world.run('vpn', ...argv), 2, argv.join(' '))
    t.match(world.err, message)
    t.same(world.log, [])
  }
  const taken = new World()
  taken.taken.set(5353, 'EADDRINUSE')
  t.equal(await taken.run('vpn', '-L', '0:web:80', '--dns-listen', '5353'), 2)
  t.match(taken.err, /port 5353 on 127\.0\.0\.1 is in use .* with --dns-listen$/m)
  t.same(taken.log.slice(-2), ['closing tunnel', 'closed tunnel'])
  t.equal(taken.log.filter((line) => line.startsWith('closed proxy')).length, 2)

  const shared = new World()
  shared.onReady = () => shared.signal('SIGINT')
  t.equal(await shared.run('vpn', '--dns-listen', '0.0.0.0:53', '--allow-open'), 0)
  t.equal(shared.dnsServers[0]?.allow?.('192.0.2.1'), true)
  const local = new World()
  local.onReady = () => local.signal('SIGINT')
  t.equal(await local.run('vpn', '--dns-listen', '[::1]:53'), 0)
  t.equal(local.dnsServers[0]?.allow, undefined, 'the server knows whom to serve')
})

t.test('all options arrive at the call', async (t) => {
  const { cert } = await makeCertificate()
  const ca = join(t.testdir(), 'ca.pem')
  await writeFile(ca, cert)
  const world = new World()
  world.onReady = () => world.signal('SIGINT')
  const pin = 'AB'.repeat(32)
  const trust = ['--ca', ca, '--pin', pin, '--servername', 'cert.example']
  const inner = ['--auth', 'chap,pap', '--mtu', '1300', '--no-ipv6', '--dns', '10.9.9.9', '--dns', '10.8.8.8']
  t.equal(await world.run('[::1]:444', '--user', 'bob', '--timeout', '5', '--json', ...trust, ...inner), 0)
  const [{ signal, onEvent, ...call } = {}] = world.calls
  t.same(call, {
    host: '::1',
    port: 444,
    user: 'bob',
    password: 's3cret',
    auth: ['chap', 'pap'],
    trust: { insecure: false, ca: `${cert.trim()}\n`, pin: [pin.toLowerCase()], servername: 'cert.example' },
    mtu: 1300,
    ipv6: false,
    timeout: 5000,
    trace: false,
  })
  t.same(world.dialers[0]?.servers, ['10.9.9.9', '10.8.8.8'])
  t.match(world.events[0], { tunnel: { dns: ['10.9.9.9', '10.8.8.8'] } })

  const plain = new World()
  plain.onReady = () => plain.signal('SIGINT')
  await plain.run('vpn', '--insecure')
  const [{ signal: _signal, onEvent: _onEvent, ...defaults } = {}] = plain.calls
  t.same(defaults, {
    host: 'vpn',
    port: 443,
    user: 'alice',
    password: 's3cret',
    trust: { insecure: true },
    ipv6: true,
    trace: false,
  })
  t.equal(plain.dialers[0]?.servers, undefined, 'the servers of the tunnel')
})

t.test('a port that is taken: one line, status 2, and the tunnel is closed properly', async (t) => {
  const cases: [number, RegExp][] = [
    [1080, /^sstp-socks: port 1080 on 127\.0\.0\.1 is in use .*--socks$/m],
    [8080, /^sstp-socks: port 8080 on 127\.0\.0\.1 is in use .*--http$/m],
  ]
  for (const [port, message] of cases) {
    const world = new World()
    world.taken.set(port, 'EADDRINUSE')
    t.equal(await world.run('vpn'), 2)
    t.match(world.err, message)
    t.equal(world.out, '')
    t.same(world.log.slice(-2), ['closing tunnel', 'closed tunnel'])
    const opened = world.log.filter((line) => line.startsWith('proxy'))
    const closed = world.log.filter((line) => line.startsWith('closed proxy'))
    t.same(
      closed,
      opened.map((line) => `closed ${line}`),
      'the other port is free again',
    )
  }
  const world = new World()
  world.taken.set(8080, 'EACCES')
  t.equal(await world.run('vpn', '--socks', '8080', '--http', '8080', '--json'), 2)
  t.match(world.err, /privileges.*--socks and --http\n$/)
  t.match(world.events, [{ event: 'stopped', status: 2, error: { message: /privileges/ } }])
})

t.test('calls that do not come up: the status tells why', async (t) => {
  const kinds: [CallErrorKind, number][] = [
    ['local', 2],
    ['unreachable', 3],
    ['untrusted', 4],
    ['refused', 5],
    ['protocol', 6],
    ['lost', 7],
  ]
  for (const [kind, status] of kinds) {
    const world = new World()
    world.failure = new CallError('tls', kind, 'SOME_CODE', `it is ${kind}`, 'try this')
    t.equal(await world.run('vpn', '--json'), status)
    t.equal(world.err, `sstp-socks: it is ${kind} [SOME_CODE]\n  hint: try this\n`)
    const error = { step: 'tls', kind, code: 'SOME_CODE', message: `it is ${kind}`, hint: 'try this' }
    t.same(world.events, [{ event: 'stopped', status, error }], 'it was never ready, nor disconnected')
    t.same(world.log, ['open'])
  }
  const world = new World()
  world.failure = new RangeError('a bug')
  t.equal(await world.run('vpn'), 1)
  t.equal(world.err, 'sstp-socks: internal error: a bug\n')
})

t.test('without reconnecting a lost tunnel ends it with 7', async (t) => {
  for (const error of [new CallError('ip', 'lost', 'TCP_RESET', 'the connection broke'), undefined]) {
    const world = new World()
    world.onReady = () => world.lose(error)
    t.equal(await world.run('vpn', '--json', '--no-reconnect'), 7)
    const told = error === undefined ? /server has ended the call \[CALL_ENDED\]/ : /broke \[TCP_RESET\]/
    t.match(world.err, told)
    t.match(world.events, [
      { event: 'ready' },
      { event: 'disconnected', error: { kind: 'lost' } },
      { event: 'stopped', status: 7, error: { kind: 'lost' } },
    ])
    t.ok(world.log.includes('closed proxy 127.0.0.1:1080'))
  }
})

t.test('a lost tunnel is brought up again, and the proxies listen all the while', async (t) => {
  for (const json of [true, false]) {
    const world = new World()
    let readies = 0
    world.onReady = () => {
      if (readies++ === 0) world.lose(new CallError('ip', 'lost', 'TCP_RESET', 'the connection broke'))
      else world.signal('SIGTERM')
    }
    if (!json) {
      // People are told only once how to stop it.
      world.openTunnel = async (options) => {
        if (world.calls.length === 1) setTimeout(() => world.signal('SIGTERM'), 20)
        return world.fakeTunnel(options)
      }
    }
    t.equal(await world.run('vpn', ...(json ? ['--json'] : [])), 0)
    t.equal(world.calls.length, 2)
    t.equal(world.proxies.length, 2, 'the listeners are the first ones')
    t.match(world.err, /^sstp-socks: warning: the connection broke \[TCP_RESET\]: next attempt now$/m)
    if (json) {
      const error = { step: 'ip', kind: 'lost', code: 'TCP_RESET', message: 'the connection broke' }
      t.same(
        world.events.map((e) => e.event),
        ['ready', 'disconnected', 'reconnecting', 'ready', 'stopped'],
      )
      t.match(world.events[1], { error })
      t.match(world.events[2], { attempt: 1, wait: 0, error })
      t.same(world.events[3], world.events[0], 'the same object again')
      t.match(world.events[4], { status: 0, signal: 'SIGTERM' })
    } else t.match(world.out, /Connected again as 10\.0\.0\.2: open connections go on\.\n/)
  }
})

t.test('refused on a reconnect: the status tells it, and nothing is tried again', async (t) => {
  for (const [kind, status] of [
    ['refused', 5],
    ['untrusted', 4],
  ] as const) {
    const world = new World()
    world.onReady = () => {
      world.failure = new CallError('auth', kind, 'SOME_CODE', `it is ${kind}`)
      world.lose(undefined)
    }
    t.equal(await world.run('vpn', '--json'), status)
    t.equal(world.calls.length, 2)
    t.match(
      world.events.map((e) => e.event),
      ['ready', 'disconnected', 'reconnecting', 'stopped'],
    )
    t.match(world.events.at(-1), { status, error: { kind } })
    t.equal(world.log.filter((line) => line.startsWith('closed proxy')).length, 2)
  }
})

t.test('--retry-start: a server that is not there yet', async (t) => {
  const world = new World()
  const error = new CallError('tcp', 'unreachable', 'TCP_REFUSED', 'nobody listens')
  world.supervision = { random: () => 0 }
  world.openTunnel = async (options) => {
    if (world.log.filter((line) => line === 'open').length === 2) world.failure = undefined
    return world.fakeTunnel(options)
  }
  world.failure = error
  world.onReady = () => world.signal('SIGINT')
  t.equal(await world.run('vpn', '--json', '--retry-start'), 0)
  t.equal(world.calls.length, 3)
  t.same(
    world.events.map((e) => e.event),
    ['ready', 'stopped'],
    'the first line is that it is ready',
  )
  t.equal(world.err.match(/nobody listens \[TCP_REFUSED\]: next attempt now/g)?.length, 2)

  const waiting = new World()
  waiting.failure = error
  waiting.supervision = { random: () => 1, networks: () => '' }
  const over = waiting.run('vpn', '--retry-start')
  while (!waiting.err.includes('next attempt')) await new Promise((resolve) => setImmediate(resolve))
  t.match(waiting.err, /nobody listens \[TCP_REFUSED\]: next attempt in 1 s/)
  waiting.signal('SIGTERM')
  t.equal(await over, 0, 'a signal ends the wait')
})

t.test('how it is kept up', async (t) => {
  const world = new World()
  world.onReady = () => world.signal('SIGINT')
  await world.run('vpn', '--keepalive', '20', '--reconnect', '--reconnect-wait', '0')
  t.match(world.calls, [{ keepAlive: { idle: 20_000 } }])
  for (const argv of [['--keepalive', '0'], ['--reconnect-wait', 'soon'], ['--no-reconnect=1']]) {
    const wrong = new World()
    t.equal(await wrong.run('vpn', ...argv), 2, argv.join(' '))
    t.same(wrong.calls, [])
  }
})

t.test('a signal while the call is being set up', async (t) => {
  const world = new World()
  world.openTunnel = (options) =>
    new Promise((_resolve, reject) => {
      options.signal?.addEventListener('abort', () => {
        reject(new CallError('tcp', 'local', 'ABORTED', 'given up'))
      })
      setImmediate(() => world.signal('SIGTERM'))
    })
  t.equal(await world.run('vpn', '--json'), 0)
  t.same(world.events, [{ event: 'stopped', status: 0, signal: 'SIGTERM' }])
  t.equal(world.err, '')

  const late = new World()
  late.openTunnel = async (options) => {
    const tunnel = late.fakeTunnel(options)
    late.signal('SIGINT')
    return tunnel
  }
  t.equal(await late.run('vpn'), 0)
  t.same(late.log, ['open', 'closing tunnel', 'closed tunnel'], 'one that came up too late is closed')

  const asking = new World()
  asking.env = {}
  asking.ask = () => new Promise(() => setImmediate(() => asking.signal('SIGINT')))
  t.equal(await asking.run('vpn'), 0)
  t.same(asking.log, [])
})

t.test('a second signal ends the process at once', async (t) => {
  for (const [name, status] of [
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const) {
    const world = new World()
    let finish = () => {}
    world.closing = new Promise((done) => {
      finish = done
    })
    world.onReady = () => {
      world.signal('SIGTERM')
      world.signal(name)
      t.same(world.exits, [status])
      finish()
    }
    t.equal(await world.run('vpn'), 0)
  }
})

t.test('a server that does not answer does not hold up the end', async (t) => {
  const world = new World()
  world.closing = new Promise(() => {})
  world.onReady = () => {
    world.signal('SIGTERM')
    setImmediate(() => world.expire())
  }
  t.equal(await world.run('vpn'), 0)
  t.equal(world.log.at(-1), 'closing tunnel')
})

t.test('logs', async (t) => {
  const world = new World()
  world.onReady = () => world.signal('SIGINT')
  await world.run('vpn')
  t.match(world.err, /WARN: a warning/)
  t.notMatch(world.err, /step dns/, 'the default is warn')
  const debug = new World()
  debug.onReady = () => debug.signal('SIGINT')
  await debug.run('vpn', '--log-level', 'debug', '--log-format', 'json')
  t.equal(debug.calls[0]?.trace, true)
  t.match(debug.err, /"step":"dns"/)
  t.match(debug.err, /trace of sstp/)
  const silent = new World()
  silent.onReady = () => silent.signal('SIGINT')
  await silent.run('vpn', '--log-level', 'silent')
  t.equal(silent.err, '')
})
