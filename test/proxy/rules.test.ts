import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import t from 'tap'
import { orderRules, parseRuleOption, parseRules, parseTarget, readRules } from '../../src/config/rules.js'
import { connectSchema, parseSettings } from '../../src/config/schema.js'
import { normalizeAddress } from '../../src/dns/names.js'
import { type Rule, Rules } from '../../src/proxy/rules.js'
import { matchesWildcard } from '../../src/proxy/rules-index.js'
import { binary, naive, rulesOf, some4, some6, someName, somePort, someRules } from '../helpers/rules.js'

t.test('what a rule can be about', async (t) => {
  const network = (family: 4 | 6, octets: number[], length: number) => ({
    target: { kind: 'network', family, octets, length },
  })
  const six = (...start: number[]) => [...start, ...new Array(16 - start.length).fill(0)]
  const cases: [string, unknown][] = [
    ['*', { target: { kind: 'any' } }],
    ['*:25', { target: { kind: 'any' }, ports: { first: 25, last: 25 } }],
    ['corp.example', { target: { kind: 'domain', name: 'corp.example' } }],
    ['.Corp.Example.', { target: { kind: 'domain', name: 'corp.example' } }],
    ['=corp.example', { target: { kind: 'host', name: 'corp.example' } }],
    ['*.corp.example', { target: { kind: 'wildcard', pattern: '*.corp.example' } }],
    ['*.CORP.**', { target: { kind: 'wildcard', pattern: '*.corp.*' } }],
    ['bücher.example', { target: { kind: 'domain', name: 'xn--bcher-kva.example' } }],
    [
      '_sip.corp:5060-5061/udp',
      {
        target: { kind: 'domain', name: '_sip.corp' },
        ports: { first: 5060, last: 5061 },
        protocol: 'udp',
      },
    ],
    ['corp/TCP', { target: { kind: 'domain', name: 'corp' }, protocol: 'tcp' }],
    ['10.0.0.0/8', network(4, [10, 0, 0, 0], 8)],
    ['0.0.0.0/0', network(4, [0, 0, 0, 0], 0)],
    ['10.1.2.3', network(4, [10, 1, 2, 3], 32)],
    [
      '10.0.0.0/8:53/udp',
      { ...network(4, [10, 0, 0, 0], 8), ports: { first: 53, last: 53 }, protocol: 'udp' },
    ],
    ['fd00::/8', network(6, six(0xfd), 8)],
    ['fd00::1', network(6, [...six(0xfd).slice(0, 15), 1], 128)],
    ['[fd00::/8]:443', { ...network(6, six(0xfd), 8), ports: { first: 443, last: 443 } }],
    ['[fd00::]', network(6, six(0xfd), 128)],
    ['::ffff:10.0.0.0/104', network(4, [10, 0, 0, 0], 8)],
  ]
  for (const [text, want] of cases) t.same(parseTarget(text), want, text)
})

t.test('what it cannot be about', async (t) => {
  const cases: [string, RegExp][] = [
    ['', /missing/],
    [':443', /missing/],
    ['10.1.2.3/8', /has bits behind its prefix: 10\.0\.0\.0\/8 is the network/],
    ['fd00::1/8', /fd00::\/8 is the network/],
    ['10.0.0.0/33', /from 0 to 32/],
    ['10.0.0.0/', /from 0 to 32/],
    ['fd00::/129', /from 0 to 128/],
    ['::ffff:10.0.0.0/8', /two networks/],
    ['10.0.0/8', /not a network/],
    ['corp/8', /not a network/],
    ['10.*', /like 10\.0\.0\.0\/8/],
    ['10.1', /like 10\.0\.0\.0\/8/],
    ['0x7f.1', /not a name/],
    ['host.0x7f', /not a name/],
    ['256.1.1.1', /not an address/],
    ['fd00::1:443:x', /not an IPv6 address/],
    ['[corp]:443', /brackets are for IPv6/],
    ['corp:0', /not a port/],
    ['corp:65536', /not a port/],
    ['corp:90-80', /not a port/],
    ['corp:1-2-3', /not a port/],
    ['corp:http', /not a port/],
    ['https://corp.example/', /is a URL/],
    ['a b', /not a name/],
    ['a..b', /not a name/],
    ['*..b', /empty part/],
    ['*.b!', /a pattern has/],
    ['=*.b', /a pattern has/],
    ['\u001b[2J', /not a name/],
    [`${'a'.repeat(600)}`, /too long/],
  ]
  for (const [text, message] of cases)
    t.throws(() => parseTarget(text), { name: 'UsageError', message }, text)
})

t.test('a file', async (t) => {
  const text = '\ufeff# ours\r\n\r\ntunnel corp.example # inside\r\n\tdirect  *.example.com:443\nrefuse *#x\n'
  t.throws(() => parseRules(text, 'split.rules'), { message: /^split\.rules, line 5: "\*#x": a pattern has/ })
  const rules = parseRules(text.replace('*#x', '*:25 #'), 'split.rules')
  t.same(
    rules.map(({ way, text, origin }) => [way, text, origin]),
    [
      ['tunnel', 'tunnel corp.example', 'split.rules, line 3'],
      ['direct', 'direct *.example.com:443', 'split.rules, line 4'],
      ['refuse', 'refuse *:25', 'split.rules, line 5'],
    ],
  )
  const bad: [string, RegExp][] = [
    ['\n\nallow corp', /^f, line 3: "allow" is not a way: tunnel, direct or refuse$/],
    ['direct', /^f, line 1: direct what\?/],
    ['direct a b', /^f, line 1: "b" is too much/],
    ['direct 10.1.2.3/8', /^f, line 1: .*10\.0\.0\.0\/8/],
    ['\u001b]0;x\u0007 corp', /^f, line 1: "\?]0;x\?" is not a way/],
  ]
  for (const [content, message] of bad)
    t.throws(() => parseRules(content, 'f'), { name: 'UsageError', message })
  t.throws(() => parseRules('direct a\n'.repeat(100_001), 'f'), {
    message: /^f, line 100001: more than 100000/,
  })

  const dir = t.testdir({ good: 'direct corp\n' })
  t.equal((await readRules(join(dir, 'good'))).length, 1)
  await t.rejects(readRules(join(dir, 'missing')), { name: 'UsageError', message: /^--rules: .*missing/ })
  await t.rejects(readRules(dir), { name: 'UsageError', message: /^--rules: .*not a file/ })
  writeFileSync(join(dir, 'latin'), Buffer.from('direct b\xfccher', 'latin1'))
  await t.rejects(readRules(join(dir, 'latin')), { message: /^--rules: .*latin is not UTF-8 text/ })
})

t.test('options, their order and the default', async (t) => {
  const settings = parseSettings(connectSchema, {
    server: 'vpn.example',
    route: ['10.0.0.0/8,corp.example', '*.lab:22'],
    bypass: '10.1.0.0/16',
    block: ['=ads.corp.example'],
  })
  const file = parseRules('refuse *', 'f')
  const rules = orderRules({ ...settings, file })
  t.same(
    rules.list.map(({ text }) => text),
    [
      '--block =ads.corp.example',
      '--bypass 10.1.0.0/16',
      '--route 10.0.0.0/8',
      '--route corp.example',
      '--route *.lab:22',
      'refuse *',
    ],
  )
  t.equal(rules.fallback, 'direct', 'only these through the tunnel')
  t.equal(orderRules({ route: [], bypass: [], block: [], file }).fallback, 'tunnel')
  t.ok(orderRules({ route: [], bypass: [], block: [], file: [] }).isTrivial)
  t.throws(() => parseSettings(connectSchema, { server: 'vpn.example', bypass: '10.1.2.3/8' }), {
    name: 'UsageError',
    message: /^--bypass: "10\.1\.2\.3\/8" has bits/,
  })
  t.equal(parseRuleOption('block', 'x').way, 'refuse')
})

t.test('names', async (t) => {
  const rules = rulesOf(`
    refuse =ads.corp.example
    tunnel corp.example
    direct *.example.com:443
    refuse *.corp.*
    direct *tracker*
    refuse *:25
  `)
  const way = (name: string, port = 80) => rules.forName(name, port, 'tcp').way
  t.equal(way('ads.corp.example'), 'refuse')
  t.equal(way('x.ads.corp.example'), 'tunnel', '= is this name alone')
  t.equal(way('corp.example', 25), 'tunnel', 'the first decides')
  t.equal(way('notcorp.example', 25), 'refuse')
  t.equal(way('a.b.example.com', 443), 'direct')
  t.equal(way('example.com', 443), 'tunnel', '*. is below a name')
  t.equal(way('a.example.com', 80), 'tunnel')
  t.equal(way('a.corp.b'), 'refuse')
  t.equal(way('corp.b'), 'tunnel')
  t.equal(way('my-tracker.b'), 'direct')
  t.equal(rules.forName('x', 25).rule?.origin, 'rules, line 7')
  t.equal(rules.forName('x', 80).rule, undefined)
})

t.test('a name whose address may decide', async (t) => {
  const rules = rulesOf(`
    direct 192.168.0.0/16
    refuse 10.6.6.0/24:80
    tunnel corp.example
    refuse evil.example
    tunnel 10.0.0.0/8
    refuse *
  `)
  const corp = rules.forName('db.corp.example', 443, 'tcp')
  t.match(corp, { way: 'tunnel', ask: 'tunnel', byAddress: true })
  t.equal(rules.forResolved(corp, '192.168.1.1', 443, 'tcp').way, 'direct')
  t.equal(rules.forResolved(corp, '10.6.6.6', 443, 'tcp').way, 'tunnel')
  t.equal(rules.forResolved(rules.forName('db.corp.example', 80, 'tcp'), '10.6.6.6', 80, 'tcp').way, 'refuse')
  t.equal(rules.forResolved(corp, '203.0.113.1', 443, 'tcp').way, 'tunnel', 'by its name')
  t.match(rules.forName('evil.example', 443), { way: 'refuse', ask: undefined }, 'nobody is asked')
  const other = rules.forName('other.example', 443, 'tcp')
  t.match(other, { way: 'refuse', ask: 'tunnel', byAddress: true }, 'refuse * leaves room for rules above it')
  t.equal(rules.forResolved(other, '10.1.1.1', 443, 'tcp').way, 'tunnel')
  t.equal(rules.forResolved(other, '203.0.113.1', 443, 'tcp').way, 'refuse')
  t.equal(rules.wayOfName('other.example').way, 'tunnel')
  t.equal(rules.wayOfName('1.1.168.192.in-addr.arpa').way, 'direct')
  t.equal(rules.wayOfName('evil.example').way, 'refuse')
  t.equal(
    rules.wayOfName('evil.example').message,
    'evil.example is refused by the rule "refuse evil.example" (rules, line 5)',
  )
  t.match(rulesOf('refuse *').forName('x', 1), { way: 'refuse', ask: undefined })
  t.match(
    rulesOf('refuse *\ntunnel 10.0.0.0/8').forName('x', 1),
    { way: 'refuse', ask: undefined },
    'too late',
  )
  t.match(rulesOf('direct x\ntunnel 10.0.0.0/8').forName('x', 1), { ask: 'direct', byAddress: false })
  t.match(rulesOf('direct 10.0.0.0/8\nrefuse *').forName('x', 1), { ask: 'direct', byAddress: true })
  t.match(rulesOf('tunnel 10.0.0.0/8').forName('x', 1), { ask: 'tunnel', byAddress: false }, 'all the same')
  t.match(rulesOf('tunnel 10.0.0.0/8', 'direct').forName('x', 1), { ask: 'direct', byAddress: true })
})

t.test('who is asked for a name, of which no port is known', async (t) => {
  const rules = rulesOf('direct a.example:443\ntunnel corp.example:22\nrefuse b.example/udp', 'direct')
  t.equal(rules.wayOfName('corp.example').way, 'tunnel', 'it may be one that belongs inside')
  t.equal(rules.wayOfName('b.example').way, 'direct')
  t.equal(rulesOf('direct a.example:443').wayOfName('a.example').way, 'tunnel')
  const six = rulesOf('direct fd00::/8')
  const name = `${'1.0.0.0.'.padEnd(60, '0.')}d.f.ip6.arpa`
  t.equal(name.length, 72)
  t.equal(six.wayOfName(name).way, 'direct')
  t.equal(six.wayOfName(name.replace('d.f', 'e.f')).way, 'tunnel')
  t.equal(rulesOf('refuse in-addr.arpa\ndirect 10.0.0.0/8').wayOfName('1.0.0.10.in-addr.arpa').way, 'refuse')
})

t.test('this machine and its links are for rules that name them', async (t) => {
  const permits = (text: string, address: string, port = 80, name?: string) =>
    rulesOf(text, 'direct').permitsDirect(address, port, 'tcp', name)
  for (const address of [
    '127.0.0.1',
    '127.9.9.9',
    '::1',
    '169.254.169.254',
    'fe80::1',
    '0.0.0.0',
    '::',
    '224.0.0.1',
    '255.255.255.255',
  ]) {
    t.notOk(permits('', address), address)
    t.notOk(
      permits('direct *\ndirect 0.0.0.0/0\ndirect ::/0\ndirect 0.0.0.0/1\ndirect 128.0.0.0/1', address),
      address,
    )
  }
  t.ok(permits('', '10.0.0.1'))
  t.ok(permits('direct 127.0.0.0/8', '127.0.0.1'))
  t.ok(permits('direct 127.0.0.1:5432', '127.0.0.1', 5432))
  t.notOk(permits('direct 127.0.0.1:5432', '127.0.0.1', 5433))
  t.notOk(permits('direct *\ndirect 127.0.0.1', '127.0.0.1'), 'that rule is never reached')
  t.notOk(permits('direct 127.0.0.1', '127.0.0.1', 80, 'evil.example'), 'a name can be given any address')
  t.notOk(permits('direct 127.0.0.1\ndirect *', '127.0.0.1', 80, 'evil.example'))
  t.ok(permits('direct 127.0.0.1\ndirect app.test', '127.0.0.1', 80, 'app.test'))
  t.ok(permits('direct 127.0.0.1', '127.0.0.1', 80, 'localhost'))
})

t.test('the tables find what looking at every rule finds', async (t) => {
  const protocol = fc.constantFrom('tcp', 'udp', undefined)
  const fallback = fc.constantFrom('tunnel', 'direct')
  const port = fc.option(somePort, { nil: undefined })
  fc.assert(
    fc.property(
      someRules,
      fallback,
      fc.array(someName, { minLength: 5, maxLength: 5 }),
      fc.array(fc.oneof(some4, some6), { minLength: 5, maxLength: 5 }),
      port,
      protocol,
      (lines, fall, names, addresses, p, proto) => {
        const rules = rulesOf(lines.join('\n'), fall as 'tunnel')
        for (const name of names) {
          const got = rules.forName(name, p, proto as 'tcp')
          const want = naive(rules, { name }, p, proto as 'tcp')
          if (got.rule !== want.rule || got.way !== want.way) return false
          for (const text of addresses) {
            const address = normalizeAddress(text) ?? ''
            // A mapped address stands for an IPv4 one.
            if (text.includes(':') !== address.includes(':')) continue
            const both = naive(rules, { name, address: binary(text) }, p, proto as 'tcp')
            const resolved = rules.forResolved(got, address, p, proto as 'tcp')
            if (resolved.rule !== both.rule || resolved.way !== both.way) return false
            // If no address is to be waited for, none may decide otherwise.
            if (!got.byAddress && got.ask !== undefined && resolved.way !== got.way) return false
          }
        }
        for (const text of addresses) {
          const address = normalizeAddress(text) ?? ''
          if (text.includes(':') !== address.includes(':')) continue
          const got = rules.forAddress(address, p, proto as 'tcp')
          const want = naive(rules, { address: binary(text) }, p, proto as 'tcp')
          if (got.rule !== want.rule || got.way !== want.way) return false
        }
        return true
      },
    ),
    { numRuns: 1500, seed: 5 },
  )
  t.pass()
})

t.test('patterns', async (t) => {
  const text = fc.stringMatching(/^[ab.]{0,12}$/)
  const pattern = fc.stringMatching(/^[ab.*]{0,8}$/)
  fc.assert(
    fc.property(pattern, text, (p, s) => {
      const regex = new RegExp(`^${p.replaceAll('.', '\\.').replaceAll('*', '.*')}$`)
      return matchesWildcard(p, s) === regex.test(s)
    }),
    { numRuns: 3000, seed: 6 },
  )
  // What makes regular expressions go astray.
  t.notOk(matchesWildcard(`${'*a'.repeat(60)}b`, 'a'.repeat(253)))
})

t.test('10,000 rules cost no more than 10', async (t) => {
  const rule = (i: number): string =>
    [
      `tunnel d${i}.corp.example`,
      `direct *.w${i}.*`,
      `refuse =h${i}.example.net:443`,
      `tunnel 10.${(i >> 8) & 255}.${i & 255}.0/24`,
      `direct [fd00:${(i & 0xffff).toString(16)}::/32]:80`,
    ][i % 5] ?? ''
  const make = (n: number): Rules =>
    rulesOf(Array.from({ length: n }, (_, i) => rule(i)).join('\n'), 'direct')
  const few = make(10)
  const many = make(10_000)
  t.equal(many.list.length, 10_000)
  t.equal(many.forName('x.d9995.corp.example', 1).rule?.origin, 'rules, line 9996')
  t.equal(many.forName('a.w9996.b', 1).rule?.origin, 'rules, line 9997')
  t.equal(many.forName('h9997.example.net', 443).rule?.origin, 'rules, line 9998')
  t.equal(many.forAddress('10.39.14.1', 1).rule?.origin, 'rules, line 9999')
  t.equal(many.forAddress(`fd00:${(9999).toString(16)}::1`, 80).rule?.origin, 'rules, line 10000')

  // Processor time, since what else the machine does is not ours; of several measurements the least disturbed.
  const measure = (rules: Rules): number => {
    const rounds = 4000
    const begun = process.cpuUsage()
    for (let i = 0; i < rounds; i++) {
      rules.forName(`www.d${i}.corp.example`, 443, 'tcp')
      rules.forName('a.host.nobody.knows.of.test', 443, 'tcp')
      rules.forAddress('10.200.1.1', 443, 'tcp')
      rules.forAddress('fd00:ffff::1', 443, 'tcp')
    }
    const { user, system } = process.cpuUsage(begun)
    return (user + system) / rounds / 4
  }
  measure(few)
  measure(many)
  let [a, b] = [Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY]
  for (let i = 0; i < 5; i++) {
    a = Math.min(a, measure(few))
    b = Math.min(b, measure(many))
  }
  t.comment(`a decision: ${a.toFixed(2)} µs with 10 rules, ${b.toFixed(2)} µs with 10,000`)
  // Looking at all of them takes hundreds of times as long.
  t.ok(b < a * 4 + 10, `${a} ${b}`)
})

t.test('a rule that an earlier one hides costs nothing', async (t) => {
  const list: Rule[] = parseRules('direct corp\n'.repeat(5000), 'f') as Rule[]
  const rules = new Rules(list, 'tunnel')
  t.equal(rules.forName('a.corp', 1).rule, list[0])
})
