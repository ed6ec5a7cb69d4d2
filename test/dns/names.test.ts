import t from 'tap'
import { classifyHost, isOrdinaryAddress, normalizeAddress, normalizeName } from '../../src/dns/names.js'

t.test('addresses in text', async (t) => {
  const cases: [string, string][] = [
    ['192.0.2.1', '192.0.2.1'],
    ['0.0.0.0', '0.0.0.0'],
    ['2001:db8::1', '2001:db8::1'],
    ['2001:0DB8:0:0:0:0:0:1', '2001:db8::1'],
    ['[2001:db8::1]', '2001:db8::1'],
    ['[192.0.2.1]', '192.0.2.1'],
    ['::ffff:192.0.2.7', '192.0.2.7'],
    ['0:0:0:0:0:ffff:192.0.2.7', '192.0.2.7'],
    ['::ffff:c000:207', '192.0.2.7'],
    ['::1', '::1'],
  ]
  for (const [text, address] of cases) {
    const host = classifyHost(text)
    t.same(host, { kind: 'address', address, family: address.includes(':') ? 6 : 4 }, text)
  }
})

t.test('what only looks like an address is refused', async (t) => {
  const tricks = [
    '127.1',
    '127.0.0.1.',
    '0x7f.0.0.1',
    '0x7f000001',
    '2130706433',
    '017700000001',
    '127.0.0.01',
    '1.2.3',
    '1.2.3.4.5',
    '256.1.1.1',
    'host.1',
    'host.0x',
    '１２７.0.0.1',
    '１２７。１',
    '1::2::3',
    '[::1',
    '::1]',
    'fe80::1%eth0',
    '::1/64',
    '::1.2.3',
    '::127.0.0.1',
    '::01.2.3.4',
    ':',
    '[]',
    'a:b',
  ]
  for (const text of tricks) t.match(classifyHost(text), { kind: 'bad', code: 'name-invalid' }, text)
})

t.test('host names', async (t) => {
  const good: [string, string][] = [
    ['example.com', 'example.com'],
    ['EXAMPLE.Com.', 'example.com'],
    ['_srv._tcp.example', '_srv._tcp.example'],
    ['intranet', 'intranet'],
    ['bücher.example', 'xn--bcher-kva.example'],
    ['日本。jp', 'xn--wgv71a.jp'],
    ['ß.de', 'xn--zca.de'],
    ['1.2.3.4.in-addr.arpa', '1.2.3.4.in-addr.arpa'],
    ['localhost.example', 'localhost.example'],
    [`${'a'.repeat(63)}.${'b'.repeat(63)}.${'c'.repeat(63)}.${'d'.repeat(61)}`, ''],
  ]
  for (const [text, name] of good) t.same(classifyHost(text), { kind: 'name', name: name || text }, text)
  const bad = [
    '',
    '.',
    '..',
    'a..b',
    '.a',
    'a b',
    'a/b',
    'a\0b',
    'a\nb',
    'user@host',
    'ü/x.de',
    'ü%2e.com',
    'ü..de',
    'a\ufffdb',
    `${'a'.repeat(64)}.com`,
    `${'a.'.repeat(128)}`,
    'x'.repeat(100_000),
  ]
  for (const text of bad) {
    t.match(classifyHost(text), { kind: 'bad', code: 'name-invalid' }, JSON.stringify(text.slice(0, 40)))
  }
  t.equal(normalizeName(`${'a.'.repeat(126)}a`)?.length, 253)
})

t.test('special names never reach a server', async (t) => {
  const cases: [string, string][] = [
    ['localhost', 'not-allowed'],
    ['LOCALHOST.', 'not-allowed'],
    ['foo.localhost', 'not-allowed'],
    ['x.onion', 'name-not-found'],
    ['x.invalid', 'name-not-found'],
    ['x.alt', 'name-not-found'],
    ['printer.local', 'name-not-found'],
    ['local', 'name-not-found'],
  ]
  for (const [text, code] of cases) t.match(classifyHost(text), { kind: 'bad', code }, text)
  for (const text of [
    'x.test',
    'x.example',
    'home.arpa',
    'x.home.arpa',
    '1.0.0.10.in-addr.arpa',
    'ipv4only.arpa',
  ]) {
    t.match(classifyHost(text), { kind: 'name' }, text)
  }
  const rules = { claimed: ['Corp.Local.'] }
  t.match(classifyHost('dc1.corp.local', rules), { kind: 'name', name: 'dc1.corp.local' })
  t.match(classifyHost('corp.local', rules), { kind: 'name' })
  t.match(classifyHost('evilcorp.local', rules), { kind: 'bad' })
  t.match(classifyHost('localhost', { claimed: ['localhost'] }), { kind: 'bad', code: 'not-allowed' })
})

t.test('destinations', async (t) => {
  const refused =
    '0.0.0.0 0.1.2.3 127.0.0.1 127.255.255.255 169.254.1.1 224.0.0.1 239.1.1.1 255.255.255.255 :: ::1 fe80::1 ff02::1'
  for (const address of refused.split(' ')) t.notOk(isOrdinaryAddress(address), address)
  for (const address of ['10.0.0.1', '192.168.1.1', '100.64.0.1', '8.8.8.8', '2001:db8::1', 'fd00::1']) {
    t.ok(isOrdinaryAddress(address), address)
  }
  t.notOk(isOrdinaryAddress('nonsense'))
  t.equal(normalizeAddress('2001:DB8:0::1'), '2001:db8::1')
  t.equal(normalizeAddress('host'), undefined)
})
