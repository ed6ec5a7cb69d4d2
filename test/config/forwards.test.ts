import t from 'tap'
import {
  formatForward,
  parseDestination,
  parseLocalForward,
  parseRemoteForward,
} from '../../src/config/forwards.js'
import { connectSchema, parseSettings } from '../../src/config/schema.js'

t.test('-L', async (t) => {
  const local = { kind: 'local', protocol: 'tcp' }
  const good: [string, object][] = [
    ['8080:host:80', { listen: { address: '127.0.0.1', port: 8080 }, to: { host: 'host', port: 80 } }],
    ['0:10.0.0.1:80', { listen: { address: '127.0.0.1', port: 0 }, to: { host: '10.0.0.1', port: 80 } }],
    ['localhost:1:h:2/tcp', { listen: { address: 'localhost', port: 1 }, to: { host: 'h', port: 2 } }],
    ['[::1]:1:[fd00::1]:2', { listen: { address: '::1', port: 1 }, to: { host: 'fd00::1', port: 2 } }],
    [
      '0.0.0.0:53:ns.inside:53/udp',
      { protocol: 'udp', listen: { address: '0.0.0.0', port: 53 }, to: { host: 'ns.inside', port: 53 } },
    ],
    ['unix:/run/a:b:db:5432', { listen: { path: '/run/a:b' }, to: { host: 'db', port: 5432 } }],
    ['unix:/run/a:[::1]:5432', { listen: { path: '/run/a' }, to: { host: '::1', port: 5432 } }],
  ]
  for (const [text, wanted] of good) {
    const spec = parseLocalForward(text)
    t.same(spec, { ...local, ...wanted }, text)
    t.same(parseLocalForward(formatForward(spec)), spec, formatForward(spec))
  }
  const bad: [string, RegExp][] = [
    ['', /is not \[ADDR:\]PORT:HOST:PORT\[\/udp\]$/],
    ['host:80', /is not \[ADDR/],
    ['1::2', /is not \[ADDR/],
    [':1:h:2', /is not \[ADDR/],
    ['1:h:2:', /is not \[ADDR/],
    ['1:[h:2', /is not \[ADDR/],
    ['[::1]1:h:2', /is not \[ADDR/],
    ['1:fd00::1:2', /IPv6 addresses go in brackets/],
    ['*:1:h:2', /"\*" is not an address to listen on.*0\.0\.0\.0 is every/],
    ['host:1:h:2', /"host" is not an address to listen on/],
    ['65536:h:2', /"65536" is not a port from 0 to 65535/],
    ['-1:h:2', /"-1" is not a port/],
    ['1:h:0', /"0" is not a port from 1 to 65535/],
    ['1:a b:2', /"a b" is not a host name/],
    ['1:[1.2.3.4]:2', /"1\.2\.3\.4" is not an IPv6 address/],
    ['unix:/x:h:2/udp', /UDP cannot be forwarded from a unix socket/],
    ['unix:/x/:h:2', /not unix:PATH/],
  ]
  for (const [text, message] of bad) t.throws(() => parseLocalForward(text), { message }, text)
})

t.test('-R', async (t) => {
  const remote = { kind: 'remote', protocol: 'tcp' }
  const good: [string, object][] = [
    ['80:localhost:8080', { port: 80, to: { host: 'localhost', port: 8080 } }],
    ['0:[::1]:8080', { port: 0, to: { host: '::1', port: 8080 } }],
    ['514:127.0.0.1:514/udp', { protocol: 'udp', port: 514, to: { host: '127.0.0.1', port: 514 } }],
    ['80:unix:/run/web', { port: 80, to: { path: '/run/web' } }],
  ]
  for (const [text, wanted] of good) {
    const spec = parseRemoteForward(text)
    t.same(spec, { ...remote, ...wanted }, text)
    t.same(parseRemoteForward(formatForward(spec)), spec, formatForward(spec))
  }
  const bad: [string, RegExp][] = [
    ['80', /is not PORT:HOST:PORT\[\/udp\]$/],
    ['0.0.0.0:80:h:1', /opened on the tunnel's own address/],
    ['80:h:0', /is not a port from 1/],
    ['80:unix:/x/udp', /UDP cannot be forwarded to a unix socket/],
    ['x:unix:/x', /"x" is not a port/],
  ]
  for (const [text, message] of bad) t.throws(() => parseRemoteForward(text), { message }, text)
})

t.test('HOST:PORT', async (t) => {
  t.same(parseDestination('host:22'), { host: 'host', port: 22 })
  t.same(parseDestination('[fd00::1]:22'), { host: 'fd00::1', port: 22 })
  for (const text of ['host', 'host:', ':22', 'fd00::1:22', 'host:0', 'host:22:33', '[host]:22']) {
    t.throws(() => parseDestination(text), { name: 'UsageError' }, text)
  }
})

t.test('as options', async (t) => {
  const said = (options: object) => parseSettings(connectSchema, { server: 'vpn.example', ...options })
  const many = said({ forward: ['1:a:2', '3:b:4/udp'], remoteForward: '5:c:6', socks: 'off', http: 'off' })
  t.same([many.forward.length, many.remoteForward.length, many.socks.length], [2, 1, 0])
  t.same([said({}).forward, said({}).remoteForward, said({}).stdio], [[], [], undefined])
  t.throws(() => said({ forward: ['1:a:2', '3'] }), { message: /^--forward: "3" is not/ })
  const piped = said({ stdio: 'host:22' })
  t.same([piped.stdio, piped.socks, piped.http], [{ host: 'host', port: 22 }, [], []])
  t.equal(said({ stdio: 'host:22', socks: '1080' }).socks.length, 1, 'proxies too, if they are named')
  t.throws(() => said({ stdio: 'host' }), { message: /^--stdio: "host" is not HOST:PORT/ })
  t.throws(() => said({ stdio: 'host:22', json: true }), { message: /contradicts --json/ })
  t.throws(() => said({ stdio: 'host:22', passwordFile: '-' }), { message: /no password can come from it/ })
})
