import { createContext, Script } from 'node:vm'
import fc from 'fast-check'
import t from 'tap'
import { normalizeAddress } from '../../src/dns/names.js'
import { type PacProxies, pacPages, pacScript, proxyList } from '../../src/proxy/pac.js'
import type { Rules } from '../../src/proxy/rules.js'
import { rulesOf, some4, some6, someName, somePort, someRules } from '../helpers/rules.js'

const PROXY = 'PROXY 127.0.0.1:8080; SOCKS5 127.0.0.1:1080'
/** What browsers give such scripts: all of it is a trap here, for what resolves names gives them away. */
const HELPERS = [
  'isPlainHostName',
  'dnsDomainIs',
  'localHostOrDomainIs',
  'isResolvable',
  'isInNet',
  'dnsResolve',
  'myIpAddress',
  'dnsDomainLevels',
  'shExpMatch',
  'weekdayRange',
  'dateRange',
  'timeRange',
  'convert_addr',
  'isInNetEx',
  'dnsResolveEx',
  'isResolvableEx',
  'myIpAddressEx',
  'sortIpAddressList',
  'getClientVersion',
  'alert',
]

type Find = (url: string, host: string) => string

function load(body: string): Find {
  const trap = (name: string) => () => {
    throw new Error(`${name} was called`)
  }
  const context = createContext(Object.fromEntries(HELPERS.map((name) => [name, trap(name)])))
  new Script(body).runInContext(context)
  return (url, host) =>
    new Script(`FindProxyForURL(${JSON.stringify(url)}, ${JSON.stringify(host)})`).runInContext(context)
}

function finder(rules: Rules): Find {
  return load(pacScript(rules, PROXY))
}

/** What the rules say of a host as browsers write it, where no address is needed. */
function expected(rules: Rules, host: string, port: number): string {
  const address = normalizeAddress(host)
  const local = address === undefined ? /(^|\.)localhost$/.test(host) : /^(127\.|::1$)/.test(address)
  const verdict =
    address === undefined ? rules.forName(host, port, 'tcp') : rules.forAddress(address, port, 'tcp')
  const named = verdict.rule !== undefined && verdict.rule.target.kind !== 'any'
  if (local && !named) return 'DIRECT'
  if ('byAddress' in verdict && verdict.byAddress) return PROXY
  return verdict.way === 'direct' ? 'DIRECT' : PROXY
}

t.test('the script says what the rules say', async (t) => {
  const said = new Set<string>()
  fc.assert(
    fc.property(
      someRules,
      fc.constantFrom('tunnel', 'direct'),
      fc.array(fc.oneof(someName, some4, some6), { minLength: 30, maxLength: 30 }),
      fc.array(somePort, { minLength: 2, maxLength: 2 }),
      (lines, fallback, hosts, ports) => {
        const rules = rulesOf(lines.join('\n'), fallback as 'tunnel')
        const find = finder(rules)
        for (const host of hosts) {
          // Browsers write addresses of IPv6 so, mapped ones too.
          const written = host.includes(':') ? new URL(`http://[${host}]`).hostname.slice(1, -1) : host
          for (const port of ports) {
            const at = written.includes(':') ? `[${written}]` : written
            const got = find(`http://${at}:${port}/x?y#z`, written)
            said.add(got)
            const want = expected(rules, host, port)
            if (got !== want) throw new Error(`${written}:${port} is ${got}, not ${want}`)
          }
        }
      },
    ),
    { numRuns: 200, seed: 7 },
  )
  t.same([...said].sort(), ['DIRECT', PROXY])
})

t.test('URLs and hosts of browsers', async (t) => {
  const find = finder(
    rulesOf(`
      direct =only.example:443
      direct web.example:80
      direct ws.example:443
      direct files.example:21
      direct plain.example:8080
      refuse ads.example
      direct example
      direct 10.0.0.0/8
      direct [fd00::/8]:443
    `),
  )
  const direct: [string, string][] = [
    ['https://only.example/', 'only.example'],
    ['HTTPS://only.example', 'Only.Example.'],
    ['http://web.example/a:443', 'web.example'],
    ['ws://web.example/', 'web.example'],
    ['wss://ws.example?x', 'ws.example'],
    ['ftp://files.example/', 'files.example'],
    ['http://user:pw@plain.example:8080/', 'plain.example'],
    ['https://10.255.0.1/', '10.255.0.1'],
    ['https://[fd12::1]/', 'fd12::1'],
    ['https://[fd12::1]/', '[fd12::1]'],
    ['http://[::ffff:a00:1]/', '::ffff:a00:1'],
    ['http://localhost:3000/', 'localhost'],
    ['http://app.localhost/', 'app.localhost'],
    ['http://127.0.0.1/', '127.0.0.1'],
    ['http://[::1]/', '::1'],
  ]
  for (const [url, host] of direct) t.equal(find(url, host), 'DIRECT', `${url} ${host}`)
  const proxied: [string, string][] = [
    ['http://x.only.test/', 'x.only.test'],
    ['https://ads.example/', 'ads.example'],
    ['gopher://web.example/', 'web.example'],
    ['web.example', 'web.example'],
    ['http://example.com/', 'example.com'],
    ['http://11.0.0.1/', '11.0.0.1'],
    ['http://[fd12::1]:80/', 'fd12::1'],
    ['http://10.1/', '10.1'],
    ['http://010.0.0.1/', '010.0.0.1'],
    ['http://0x0a.1/', '0x0a.1'],
    ['http://1.2.3.256/', '1.2.3.256'],
    ['http://[fd12::1%25eth0]/', 'fd12::1%eth0'],
    ['http://[1::2::3]/', '1::2::3'],
    ['http://a..example/', 'a..example'],
    ['http://x.onion/', 'x.onion'],
    ['http:///', ''],
  ]
  for (const [url, host] of proxied) t.equal(find(url, host), PROXY, `${url} ${host}`)
  const all = finder(rulesOf('refuse localhost\nrefuse 127.0.0.0/8', 'direct'))
  t.equal(all('http://localhost/', 'localhost'), PROXY, 'a rule is about it')
  t.equal(all('http://x.onion/', 'x.onion'), PROXY, 'no such names in DNS')
  t.equal(all('http://x.example/', 'x.example'), PROXY, 'its address might be refused')
})

t.test('nothing in the script resolves names, or is newer than browsers', async (t) => {
  const body = pacScript(rulesOf('direct a\nrefuse *b*\ntunnel 10.0.0.0/8'), PROXY)
  for (const name of HELPERS) t.notOk(body.includes(name), name)
  t.notMatch(body, /=>|`|\b(let|const|class|async)\b|JSON\./)
  t.match(body, 'function FindProxyForURL(url, host)')
})

t.test('what is inserted stays text', async (t) => {
  const nasty = 'PROXY "];alert(1);//\u2028'
  const find = load(pacScript(rulesOf('direct __proto__\ndirect constructor'), nasty))
  t.equal(find('http://x/', 'x'), nasty)
  t.equal(find('http://__proto__/', '__proto__'), 'DIRECT')
  t.equal(find('http://constructor/', 'constructor'), 'DIRECT')
  t.equal(find('http://tostring/', 'tostring'), nasty)
  t.equal(find('http://hasownproperty/', 'hasownproperty'), nasty)
})

t.test('10,000 rules fit, and more go to the proxy', async (t) => {
  const line = (i: number): string =>
    [
      `direct department-${i}.corp.example`,
      `direct *.service-${i}.*`,
      `refuse =host-${i}.example.net:443`,
      `tunnel 10.${(i >> 8) & 255}.${i & 255}.0/24`,
      `direct [fd00:${(i & 0xffff).toString(16)}::/32]:80`,
    ][i % 5] ?? ''
  const make = (n: number) => rulesOf(Array.from({ length: n }, (_, i) => line(i)).join('\n'))
  const body = pacScript(make(10_000), PROXY)
  t.comment(`${body.length} characters`)
  t.ok(body.length < 500_000, String(body.length))
  const find = load(body)
  t.equal(find('http://x.service-9996.b/', 'x.service-9996.b'), PROXY, 'addresses may decide')
  t.equal(find('http://[fd00:270f::1]/', 'fd00:270f::1'), 'DIRECT')
  t.equal(find('https://[fd00:270f::1]/', 'fd00:270f::1'), PROXY)
  const begun = process.hrtime.bigint()
  const times = 500
  for (let i = 0; i < times; i++) find(`http://a.b.c-${i}.example/`, `a.b.c-${i}.example`)
  const each = Number(process.hrtime.bigint() - begun) / times / 1000
  t.comment(`${each.toFixed(1)} µs a URL, compiling the call included`)

  t.ok(pacScript(make(25_000), PROXY).length > 500_000, 'the whole of them')
  const huge = pacScript(make(40_000), PROXY)
  t.ok(huge.length < 2000)
  t.equal(load(huge)('http://department-0.corp.example/', 'department-0.corp.example'), PROXY)
})

t.test('the page', async (t) => {
  const proxies: PacProxies = {
    http: [{ address: '127.0.0.1', port: 8080 }],
    socks: [{ address: '127.0.0.1', port: 1080 }],
  }
  const rules = rulesOf('direct example.com')
  const pages = pacPages(rules, () => proxies)
  const page = pages.page('/proxy.pac', 'localhost:8080')
  t.equal(page?.type, 'application/x-ns-proxy-autoconfig')
  t.same(page, pages.page('/wpad.dat', '127.0.0.1'))
  t.equal(page?.body, pacScript(rules, PROXY))
  t.equal(pages.page('/', 'localhost'), undefined)
  t.equal(pages.page('/proxy.pac', 'evil.example:8080'), undefined, 'a name that was led here')
  t.equal(pacPages(rules, () => ({ http: [], socks: [] })).page('/proxy.pac', 'localhost'), undefined)
})

t.test('the proxies as a client reaches them', async (t) => {
  const at = (address: string, port: number) => ({ address, port })
  const cases: [PacProxies, string, string | undefined][] = [
    [
      { http: [at('0.0.0.0', 8080)], socks: [at('127.0.0.1', 1080)] },
      '192.0.2.1:8080',
      'PROXY 192.0.2.1:8080',
    ],
    [
      { http: [at('::', 8080)], socks: [at('::', 8080)] },
      '[2001:DB8::1]:8080',
      'PROXY [2001:db8::1]:8080; SOCKS5 [2001:db8::1]:8080',
    ],
    [{ http: [at('0.0.0.0', 8080)], socks: [] }, 'wpad.corp.example', 'PROXY wpad.corp.example:8080'],
    [{ http: [at('0.0.0.0', 8080)], socks: [] }, 'localhost:8080', 'PROXY localhost:8080'],
    [{ http: [at('localhost', 1)], socks: [at('::1', 2)] }, 'localhost', 'PROXY 127.0.0.1:1; SOCKS5 [::1]:2'],
    [{ http: [at('192.0.2.7', 8080)], socks: [] }, 'anything.example', 'PROXY 192.0.2.7:8080'],
    [{ http: [], socks: [at('127.0.0.1', 1080)] }, '127.0.0.1:9', 'SOCKS5 127.0.0.1:1080'],
    [{ http: [at('127.0.0.1', 1)], socks: [] }, '192.0.2.1', undefined],
    [{ http: [at('0.0.0.0', 1)], socks: [] }, 'a b', undefined],
    [{ http: [at('0.0.0.0', 1)], socks: [] }, '";alert(1)', undefined],
    [{ http: [at('0.0.0.0', 1)], socks: [] }, '', undefined],
  ]
  for (const [proxies, host, want] of cases) t.equal(proxyList(proxies, host), want, host)
})
