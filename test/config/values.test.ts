import { createHash } from 'node:crypto'
import t from 'tap'
import {
  formatEndpoint,
  formatPlace,
  isLoopback,
  parseAddress,
  parseAllowed,
  parseAuth,
  parseDuration,
  parseHostHeader,
  parseListen,
  parsePin,
  parsePlace,
  parseProxyUser,
  parseServerName,
  toHostName,
} from '../../src/config/values.js'

t.test('addresses to listen on', async (t) => {
  const good: [string, string, number][] = [
    ['1080', '127.0.0.1', 1080],
    ['0', '127.0.0.1', 0],
    ['0.0.0.0:65535', '0.0.0.0', 65535],
    ['localhost:80', 'localhost', 80],
    ['[::]:1080', '::', 1080],
    ['[::1]:0', '::1', 0],
  ]
  for (const [text, address, port] of good) t.same(parseListen(text, '127.0.0.1'), { address, port }, text)
  const bad = ['', ':', ':80', '65536', '-1', '1080x', '01080', '1.2.3.4', '1.2.3:80', 'host:80', '::1:80']
  for (const text of [...bad, '[::1]', '[x]:80', '[1.2.3.4]:80', '1.2.3.4:', '1:2:3', 'off ', ' 1080', '٣']) {
    t.throws(() => parseListen(text, '127.0.0.1'), { name: 'UsageError' }, JSON.stringify(text))
  }
  t.same(
    ['127.0.0.1', '127.9.9.9', '::1', 'localhost', '0.0.0.0', '::', '10.0.0.1', '128.0.0.1'].map(isLoopback),
    [true, true, true, true, false, false, false, false],
  )
  t.equal(formatEndpoint('::1', 80), '[::1]:80')
  t.equal(formatEndpoint('10.0.0.1', 80), '10.0.0.1:80')
})

t.test('pins', async (t) => {
  const digest = createHash('sha256').update('x').digest()
  const hex = digest.toString('hex')
  const base64 = digest.toString('base64')
  const colons = hex.toUpperCase().replace(/..(?=.)/g, '$&:')
  for (const text of [
    hex,
    hex.toUpperCase(),
    colons,
    `sha256:${hex}`,
    `SHA256:${colons}`,
    base64,
    base64.replace('=', ''),
    `sha256/${base64}`,
    `sha256//${base64}`,
    `pin-sha256:${base64}`,
  ]) {
    t.equal(parsePin(text), hex, text)
  }
  for (const text of [
    '',
    'x',
    hex.slice(2),
    `${hex}00`,
    base64.slice(1),
    `${base64}=`,
    `md5/${base64}`,
    ` ${hex}`,
  ]) {
    t.throws(() => parsePin(text), { name: 'UsageError', message: /64 hex digits/ }, JSON.stringify(text))
  }
})

t.test('authentication methods', async (t) => {
  t.same(parseAuth('pap'), ['pap'])
  t.same(parseAuth('MSCHAPv2, chap,mschapv2'), ['mschapv2', 'chap'])
  for (const text of ['', 'pap,', 'none', 'mschap', 'pap chap']) {
    t.throws(
      () => parseAuth(text),
      { name: 'UsageError', message: /is none of eap-tls, .*, mschapv2, chap, pap/ },
      text,
    )
  }
  t.same(parseAuth('eap-tls,PEAP,eap-mschapv2'), ['eap-tls', 'peap', 'eap-mschapv2'])
})

t.test('names, addresses, times', async (t) => {
  t.equal(parseServerName('VPN.example'), 'vpn.example')
  for (const text of ['', '10.0.0.1', '::1', 'a b', 'a/b', 'x:1']) {
    t.throws(() => parseServerName(text), { name: 'UsageError' }, text)
  }
  t.equal(toHostName('vpn.example.'), 'vpn.example.')
  for (const text of ['a%2eb', 'a\u0000', 'a\\b', 'a@b', '-', '1.2.3', '0x1']) {
    const expected = text === '-' ? '-' : undefined
    t.equal(toHostName(text), expected, JSON.stringify(text))
  }
  t.equal(parseAddress('fd00::53'), 'fd00::53')
  for (const text of ['', 'dns', '10.0.0', 'fe80::1%eth0', '10.0.0.1:53']) {
    t.throws(() => parseAddress(text), { name: 'UsageError' }, text)
  }
  const times: [string, 'ms' | 's', number][] = [
    ['5', 's', 5000],
    ['5', 'ms', 5],
    ['1.5s', 'ms', 1500],
    ['250ms', 's', 250],
    ['1m', 's', 60_000],
  ]
  for (const [text, unit, ms] of times) t.equal(parseDuration(text, unit, 1, 100_000), ms, text)
  for (const text of ['', 'x', '-1', '1h', '1e3', '0', '101s', '.5', '1 s', 'NaN', 'Infinity']) {
    t.throws(() => parseDuration(text, 's', 1, 100_000), { name: 'UsageError' }, text)
  }
})

t.test('the Host field, as it is to be sent', async (t) => {
  for (const text of [
    'vpn.example',
    'vpn.example:8443',
    '192.0.2.1',
    '192.0.2.1:1',
    '[::1]',
    '[2001:db8::1]:444',
  ]) {
    t.equal(parseHostHeader(text), text)
  }
  t.equal(parseHostHeader('b\u00fccher.example:1'), 'xn--bcher-kva.example:1')
  for (const text of [
    '',
    ':443',
    'a:',
    'a:0',
    'a:65536',
    'a:x',
    'a b',
    'a/b',
    '::1',
    '[x]',
    '300.1.1.1',
    'a\r\nX: y',
  ]) {
    t.throws(
      () => parseHostHeader(text),
      { name: 'UsageError', message: /is not a host name/ },
      JSON.stringify(text),
    )
  }
})

t.test('places: a unix socket, or an address and port', async (t) => {
  t.same(parsePlace('1080', '127.0.0.1'), { address: '127.0.0.1', port: 1080 })
  t.same(parsePlace('unix:/run/x:1', '127.0.0.1'), { path: '/run/x:1' })
  t.same(parsePlace('unix:x', ''), { path: `${process.cwd()}/x` }, 'as seen from here')
  t.equal(formatPlace({ path: '/x' }), 'unix:/x')
  t.equal(formatPlace({ address: '::1', port: 1 }), '[::1]:1')
  for (const text of ['unix:', 'unix:/run/']) {
    t.throws(() => parsePlace(text, ''), { name: 'UsageError', message: /is not unix:PATH/ })
  }
})

t.test('who may use the proxies', async (t) => {
  t.same(parseAllowed('10.0.0.0/8'), { address: '10.0.0.0', prefix: 8 })
  t.same(parseAllowed('::1'), { address: '::1', prefix: 128 })
  for (const text of ['', 'host', '10.0.0.0/33', '10/8']) {
    t.throws(() => parseAllowed(text), { name: 'UsageError', message: /is not an IP address, or a range/ })
  }
  t.equal(parseProxyUser('bö b@x'), 'bö b@x')
  t.equal(parseProxyUser('é'.repeat(127)), 'é'.repeat(127))
  for (const [text, message] of [
    ['é'.repeat(128), /255 octets/],
    ['a:b', /colon/],
    ['a\nb', /control character/],
  ] as const) {
    t.throws(() => parseProxyUser(text), { name: 'UsageError', message })
  }
})
