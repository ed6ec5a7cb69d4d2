import { join } from 'node:path'
import t from 'tap'
import { UsageError } from '../../src/config/errors.js'
import { parseRadiusServer, radiusOptions } from '../../src/config/radius.js'
import { parseSettings, serveSchema } from '../../src/config/schema.js'

const sources = { readStdin: async () => Buffer.from('from standard input\nmore') }
const serve = (more: Record<string, unknown>) => parseSettings(serveSchema, more)

t.test('servers', (t) => {
  t.same(parseRadiusServer('radius.example', 1812), { host: 'radius.example', port: 1812 })
  t.same(parseRadiusServer('192.0.2.1:1645', 1812), { host: '192.0.2.1', port: 1645 })
  t.same(parseRadiusServer('[2001:db8::1]', 1812), { host: '2001:db8::1', port: 1812 })
  t.same(parseRadiusServer('[2001:db8::1]:99', 1812), { host: '2001:db8::1', port: 99 })
  for (const [text, message] of [
    ['', /not a host name/],
    ['a b', /not a host name/],
    ['host:0', /not a port/],
    ['host:65536', /not a port/],
    ['host:', /not a port/],
    ['2001:db8::1', /in brackets: \[2001:db8::1\]/],
    ['[fe80::x]', /not an IPv6 address/],
    ['300.1.1.1', /not a host name/],
  ] as const) {
    t.throws(() => parseRadiusServer(text, 1812), { name: 'UsageError', message }, text)
  }
  t.end()
})

t.test('settings that fit together', (t) => {
  const some = { radius: ['a', 'b:1645'], radiusSecretFile: 'f' }
  t.match(serve(some), {
    accounts: undefined,
    radius: [
      { host: 'a', port: 1812 },
      { host: 'b', port: 1645 },
    ],
    radiusOldServer: false,
  })
  t.match(serve({ ...some, radiusAccounting: ['off'] }), { radiusAccounting: [null] })
  t.match(serve({ ...some, radiusAccounting: ['c'] }), { radiusAccounting: [{ host: 'c', port: 1813 }] })
  t.match(serve({ ...some, radiusTimeout: '30' }), { radiusTimeout: 30_000 })
  const refused: [Record<string, unknown>, RegExp][] = [
    [{}, /^--accounts: is required.*--radius/],
    [{ radius: ['a'] }, /^--radius: needs --radius-secret-file/],
    [{ ...some, accounts: 'f' }, /^--radius: contradicts --accounts/],
    [{ accounts: 'f', radiusSecretFile: 'f' }, /^--radius-secret-file: needs --radius too/],
    [{ accounts: 'f', radiusAccounting: ['a'] }, /^--radius-accounting: needs --radius too/],
    [{ ...some, radiusAccounting: ['a', 'off'] }, /^--radius-accounting: is off and on at once/],
    [{ ...some, radiusTimeout: '0.1' }, /^--radius-timeout: .*out of range/],
    [{ ...some, radius: ['a:b:c'] }, /^--radius: "a:b:c" is not HOST/],
  ]
  for (const [settings, message] of refused) t.throws(() => serve(settings), { message }, String(message))
  t.end()
})

t.test('what the gateway gets', async (t) => {
  const dir = t.testdir({ secret: 'testing123\r\nnot this\n', empty: '\n' })
  const common = { radius: ['a', 'b:1645'], radiusSecretFile: join(dir, 'secret') }
  const secret = Buffer.from('testing123')
  t.same(await radiusOptions(serve(common), sources), {
    servers: [
      { host: 'a', port: 1812, secret },
      { host: 'b', port: 1645, secret },
    ],
    accounting: [
      { host: 'a', port: 1813, secret },
      { host: 'b', port: 1646, secret },
    ],
    oldServer: false,
  })
  const more = { radiusAccounting: ['off'], radiusTimeout: '20s', radiusNas: 'gate', radiusOldServer: true }
  t.match(await radiusOptions(serve({ ...common, ...more }), sources), {
    accounting: [],
    timeout: 20_000,
    nasIdentifier: 'gate',
    oldServer: true,
  })
  t.match(await radiusOptions(serve({ ...common, radiusAccounting: ['c:99'] }), sources), {
    accounting: [{ host: 'c', port: 99, secret }],
  })
  t.match(await radiusOptions(serve({ ...common, radiusSecretFile: '-' }), sources), {
    servers: [{ secret: Buffer.from('from standard input') }, {}],
  })
  t.equal(await radiusOptions(serve({ accounts: 'f' }), sources), undefined)
  for (const file of ['empty', 'absent']) {
    const settings = serve({ ...common, radiusSecretFile: join(dir, file) })
    await t.rejects(radiusOptions(settings, sources), UsageError, file)
  }
})
