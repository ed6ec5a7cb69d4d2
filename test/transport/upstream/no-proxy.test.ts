/** NO_PROXY and the proxy variables, as curl reads them. */
import t from 'tap'
import { bypasses, proxyFromEnvironment } from '../../../src/transport/upstream/no-proxy.js'

t.test('who is left out', async (t) => {
  const table: readonly (readonly [list: string, host: string, port: number, out: boolean])[] = [
    ['', 'vpn.example.com', 443, false],
    ['*', 'vpn.example.com', 443, true],
    ['*:443', 'vpn.example.com', 443, true],
    ['*:443', '192.0.2.7', 443, true],
    ['*:8443', 'vpn.example.com', 443, false],
    ['example.com', 'vpn.example.com', 443, true],
    ['example.com', 'example.com', 443, true],
    ['.example.com', 'vpn.example.com', 443, true],
    ['.example.com', 'example.com', 443, true],
    ['*.example.com', 'vpn.example.com', 443, true],
    ['example.com', 'badexample.com', 443, false],
    ['ample.com', 'example.com', 443, false],
    ['example.com.', 'vpn.example.com', 443, true],
    ['example.com', 'VPN.Example.COM.', 443, true],
    ['EXAMPLE.com', 'vpn.example.com', 443, true],
    ['example.com:443', 'vpn.example.com', 443, true],
    ['example.com:8443', 'vpn.example.com', 443, false],
    ['.B\u00fccher.example', 'vpn.xn--bcher-kva.example', 443, true],
    ['b\u00fccher.example:444', 'xn--bcher-kva.example', 443, false],
    ['a.example, b.example', 'x.b.example', 443, true],
    ['a.example b.example', 'x.b.example', 443, true],
    [',,', 'x.example', 443, false],
    ['.', 'x.example', 443, false],
    ['192.0.2.7', '192.0.2.7', 443, true],
    ['192.0.2.7', '192.0.2.70', 443, false],
    ['192.0.2.7:443', '192.0.2.7', 443, true],
    ['192.0.2.7:444', '192.0.2.7', 443, false],
    ['192.0.2.0/24', '192.0.2.200', 443, true],
    ['192.0.2.0/24', '192.0.3.1', 443, false],
    ['192.0.2.0/33', '192.0.2.1', 443, false],
    ['192.0.2.0/x', '192.0.2.1', 443, false],
    ['0.0.0.0/0', '192.0.2.1', 443, true],
    ['2.7', '192.0.2.7', 443, false],
    ['2001:db8::7', '2001:db8::7', 443, true],
    ['[2001:db8::7]', '2001:db8::7', 443, true],
    ['[2001:db8::7]:443', '2001:db8::7', 443, true],
    ['[2001:db8::7]:444', '2001:db8::7', 443, false],
    ['2001:DB8:0::/32', '2001:db8:1::1', 443, true],
    ['[2001:db8::]/32', '2001:db8:1::1', 443, true],
    ['2001:db8::/32', '2001:db9::1', 443, false],
    ['fe80::/10', 'fe80::1%eth0', 443, true],
    ['2001:db8::/32', '192.0.2.1', 443, false],
    ['192.0.2.0/24', 'vpn.192.0.2.0', 443, false],
  ]
  for (const [list, host, port, out] of table) {
    t.equal(bypasses(list, host, port), out, `${list || '(nothing)'} and ${host}:${port}`)
  }
})

t.test('which variable counts', async (t) => {
  const of = (env: Record<string, string>, host = 'vpn.example') => proxyFromEnvironment(env, host, 443)
  t.same(of({ HTTPS_PROXY: 'http://a' }), { variable: 'HTTPS_PROXY', url: 'http://a' })
  t.same(of({ HTTPS_PROXY: 'http://a', https_proxy: 'http://b' }), {
    variable: 'https_proxy',
    url: 'http://b',
  })
  t.same(of({ ALL_PROXY: 'socks5://c' }), { variable: 'ALL_PROXY', url: 'socks5://c' })
  t.same(of({ ALL_PROXY: 'c', HTTPS_PROXY: 'a' }), { variable: 'HTTPS_PROXY', url: 'a' })
  t.same(of({ https_proxy: ' ', ALL_PROXY: 'c' }), { variable: 'ALL_PROXY', url: 'c' }, 'empty is unset')
  t.equal(of({ HTTP_PROXY: 'http://a', http_proxy: 'http://a' }), undefined, 'not for TLS')
  t.equal(of({}), undefined)
  t.equal(of({ HTTPS_PROXY: 'a', NO_PROXY: 'example' }), undefined)
  t.equal(of({ HTTPS_PROXY: 'a', no_proxy: 'example' }), undefined)
  t.ok(of({ HTTPS_PROXY: 'a', no_proxy: '', NO_PROXY: 'example' }), 'the lower case counts')
  for (const host of ['localhost', 'x.localhost', '127.0.0.1', '127.9.9.9', '::1']) {
    t.equal(of({ HTTPS_PROXY: 'a' }, host), undefined, host)
  }
})
