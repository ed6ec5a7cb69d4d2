import fc from 'fast-check'
import t from 'tap'
import { parseServerAddress } from '../../src/cli/server-address.js'
import { UsageError } from '../../src/config/errors.js'

t.test('what is understood', async (t) => {
  const none = { user: undefined, password: undefined }
  const cases: [string, object][] = [
    ['vpn.example.com', { host: 'vpn.example.com', port: 443, ...none }],
    ['vpn.example.com:992', { host: 'vpn.example.com', port: 992, ...none }],
    ['VPN.Example.com', { host: 'vpn.example.com', port: 443, ...none }],
    ['my_vpn', { host: 'my_vpn', port: 443, ...none }],
    ['bücher.example', { host: 'xn--bcher-kva.example', port: 443, ...none }],
    ['192.0.2.1:5555', { host: '192.0.2.1', port: 5555, ...none }],
    ['[2001:db8::1]', { host: '2001:db8::1', port: 443, ...none }],
    ['[2001:db8::1]:444', { host: '2001:db8::1', port: 444, ...none }],
    ['[fe80::1%25eth0]', { host: 'fe80::1%eth0', port: 443, ...none }],
    ['sstp://vpn', { host: 'vpn', port: 443, ...none }],
    ['SSTP://vpn/', { host: 'vpn', port: 443, ...none }],
    ['sstp://alice@vpn:1', { host: 'vpn', port: 1, user: 'alice', password: undefined }],
    ['sstp://alice:pass@vpn', { host: 'vpn', port: 443, user: 'alice', password: 'pass' }],
    ['sstp://CORP\\alice:p:q@vpn', { host: 'vpn', port: 443, user: 'CORP\\alice', password: 'p:q' }],
    [
      'sstp://alice@corp.example:x@vpn',
      { host: 'vpn', port: 443, user: 'alice@corp.example', password: 'x' },
    ],
    ['sstp://a%40b:%2F%3a%C3%A4@[::1]:4', { host: '::1', port: 4, user: 'a@b', password: '/:ä' }],
  ]
  for (const [text, expected] of cases) t.same(parseServerAddress(text), expected, text)
})

t.test('what is not, and why', async (t) => {
  const cases: [string, RegExp][] = [
    ['', /host is missing/],
    ['sstp://', /host is missing/],
    [':443', /host is missing/],
    ['sstp://alice@', /host is missing/],
    ['vpn:', /"" is not a port/],
    ['vpn:0', /"0" is not a port/],
    ['vpn:65536', /not a port/],
    ['vpn:0443', /not a port/],
    ['vpn:+1', /not a port/],
    ['vpn:https', /not a port/],
    ['2001:db8::1', /brackets: \[2001:db8::1\]/],
    ['a:b:c', /brackets/],
    ['[::1', /brackets/],
    ['[::1]x', /brackets/],
    ['[vpn]', /not an IPv6 address/],
    ['[192.0.2.1]', /not an IPv6 address/],
    ['300.1.1.1', /not a host name or address/],
    ['127.1', /not a host name or address/],
    ['0x7f000001', /not a host name or address/],
    ['a..b', /not a host name/],
    ['.', /not a host name/],
    ['vpn example', /not a host name/],
    [`${'a'.repeat(64)}.example`, /not a host name/],
    [`${'a.'.repeat(130)}b`, /not a host name/],
    ['https://vpn', /https:\/\/ is not for SSTP/],
    ['alice@vpn', /--user NAME or in sstp/],
    ['vpn/path', /nothing may follow/],
    ['sstp://vpn?x', /nothing may follow/],
    ['sstp://alice:s3c/ret@vpn', /%2F/],
    ['sstp://alice:%zz@vpn', /two hex digits/],
    ['sstp://alice:%ff@vpn', /two hex digits/],
    ['sstp://:s3cret@vpn', /user name before the @ is empty/],
    ['sstp://alice:@vpn', /password before the @ is empty/],
    ['sstp://alice:s3cret%00@vpn', /NUL/],
  ]
  for (const [text, message] of cases) {
    t.throws(() => parseServerAddress(text), { name: 'UsageError', message }, text)
  }
})

t.test('any text: an address or a usage error of one line that does not hold the password', async (t) => {
  const secret = 'Zq7#x/?Zq7'
  fc.assert(
    fc.property(fc.string({ unit: 'binary', maxLength: 40 }), fc.boolean(), (text, credentials) => {
      const whole = credentials ? `sstp://bob:${secret}@${text}` : text
      try {
        const { host, port } = parseServerAddress(whole)
        return host !== '' && port >= 1 && port <= 65535
      } catch (error) {
        return error instanceof UsageError && !error.message.includes('Zq7')
      }
    }),
    { seed: 7, numRuns: 2000 },
  )
  t.pass('2000 runs')
})
