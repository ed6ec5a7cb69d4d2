import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { Console } from '../../src/cli/console.js'
import { namesOf } from '../../src/cli/names.js'
import { connectSchema, parseSettings, resolveSchema } from '../../src/config/schema.js'
import { DnsLog } from '../../src/observe/dns-log.js'
import { createLogger } from '../../src/observe/logger.js'

const parse = (options: Record<string, unknown>) =>
  parseSettings(connectSchema, { server: 'vpn.example', ...options })

t.test('--dns: servers, servers of a domain, and domains outside', async (t) => {
  const settings = parse({
    dns: [
      '10.0.0.1,fd00::1',
      'Corp.Example.=10.1.1.1',
      '.corp.example=10.1.1.2:5353',
      'lab.example=fd00::2',
      'lab.example=[fd00::3]:54,home.example=direct',
      '10.in-addr.arpa=10.1.1.1',
    ],
    search: ['corp.example', '.'],
    ndots: '2',
    hosts: '/etc/hosts',
    dnsListen: '5353',
  })
  t.match(settings, {
    dns: ['10.0.0.1', 'fd00::1'],
    zones: [
      {
        domain: 'corp.example',
        servers: [
          { address: '10.1.1.1', port: 53 },
          { address: '10.1.1.2', port: 5353 },
        ],
      },
      {
        domain: 'lab.example',
        servers: [
          { address: 'fd00::2', port: 53 },
          { address: 'fd00::3', port: 54 },
        ],
      },
      { domain: '10.in-addr.arpa' },
    ],
    directNames: ['home.example'],
    search: ['corp.example', '.'],
    ndots: 2,
    hosts: '/etc/hosts',
    dnsListen: { address: '127.0.0.1', port: 5353 },
  })
  const plain = parse({})
  t.same(plain.dns, [])
  t.notOk('zones' in plain || 'directNames' in plain)
  t.match(parseSettings(resolveSchema, { server: 's', name: 'n', dns: 'a=10.0.0.1' }), {
    dns: [],
    zones: [{ domain: 'a' }],
  })
  for (const [options, message] of [
    [{ dns: 'a b=10.0.0.1' }, '--dns: "a b" is not a domain'],
    [{ dns: '=10.0.0.1' }, '--dns: "" is not a domain'],
    [{ dns: 'a=' }, '--dns: "" is neither ADDR, ADDR:PORT nor the word direct'],
    [{ dns: 'a=b' }, '--dns: "b" is neither ADDR, ADDR:PORT nor the word direct'],
    [{ dns: 'a=10.0.0.1:0' }, '--dns: "10.0.0.1:0" is neither ADDR, ADDR:PORT nor the word direct'],
    [{ dns: 'a=[10.0.0.1]' }, '--dns: "[10.0.0.1]" is neither ADDR, ADDR:PORT nor the word direct'],
    [{ dns: 'a=fe80::1%eth0' }, '--dns: "fe80::1%eth0" is neither ADDR, ADDR:PORT nor the word direct'],
    [{ search: 'a b' }, '--search: "a b" is not a domain'],
    [{ ndots: '16' }, '--ndots: wants a whole number from 0 to 15'],
    [{ dnsListen: 'x' }, '--dns-listen: "x" does not end in a port from 0 to 65535'],
  ] as const) {
    t.throws(() => parse(options), { message })
  }
})

t.test('what the dialer is told', async (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'names-'))
  t.teardown(() => rmSync(dir, { recursive: true }))
  const hosts = join(dir, 'hosts')
  writeFileSync(hosts, '10.0.0.7 nas.local\nnonsense\n10.0.0.8\n')
  let err = ''
  const console = new Console(
    { stdout: () => {}, stderr: (text) => (err += text), color: false },
    { json: false, logFormat: 'pretty' },
    'warn',
  )
  const names = namesOf(parse({ dns: '10.0.0.1', search: '.', hosts }), console)
  t.match(names, { servers: ['10.0.0.1'], search: ['.'] })
  t.same(names.hosts?.get('nas.local', 'A'), ['10.0.0.7'])
  t.equal(err, `sstp-socks: warning: --hosts: line 2 of ${hosts} is not an address and names, nor 1 more\n`)
  t.same(namesOf(parse({}), console), {})
  t.throws(() => namesOf(parse({ hosts: join(dir, 'none') }), console), {
    name: 'UsageError',
    message: /^--hosts: .*none: ENOENT/,
  })
  // A device such as /dev/zero is refused by the same line; reading that would not end.
  for (const path of [dir, '/dev/null']) {
    t.throws(() => namesOf(parse({ hosts: path }), console), {
      name: 'UsageError',
      message: `--hosts: ${path}: it is neither a file nor a pipe`,
    })
  }
})

t.test('lines about DNS queries: failures, not more than one can read', async (t) => {
  const lines: { level: number; msg: string; answer: string; reason?: string }[] = []
  const logger = createLogger({
    level: 'debug',
    format: 'json',
    write: (text) => lines.push(JSON.parse(text)),
  })
  let now = 0
  const { onEvent } = new DnsLog(logger, () => now)
  const query = {
    type: 'dns-query',
    client: '127.0.0.1:9',
    transport: 'udp',
    name: 'a',
    queryType: 1,
  } as const
  onEvent({ ...query, rcode: 0 })
  onEvent({ ...query, rcode: 3 })
  for (let i = 0; i < 3; i++) onEvent({ ...query, rcode: 2, reason: 'the tunnel is not up' })
  onEvent({ ...query, rcode: 5, reason: 'refused by a rule' })
  now = 10_000
  onEvent({ ...query, rcode: 2, reason: 'the tunnel is not up' })
  t.same(
    lines.map((x) => `${x.level} ${x.answer}`),
    ['20 NOERROR', '20 NXDOMAIN', '40 SERVFAIL', '20 SERVFAIL', '20 SERVFAIL', '40 REFUSED', '40 SERVFAIL'],
  )
  t.match(lines[2], { msg: 'DNS query not answered', reason: 'the tunnel is not up', client: '127.0.0.1:9' })
})
