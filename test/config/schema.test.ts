import t from 'tap'
import {
  connectSchema,
  demoSchema,
  parseSettings,
  pingSchema,
  resolveSchema,
  serveSchema,
  tunnelSchema,
} from '../../src/config/schema.js'

const server = 'vpn.example'

t.test('defaults', async (t) => {
  t.same(parseSettings(connectSchema, { server }), {
    json: false,
    logFormat: 'pretty',
    server,
    insecure: false,
    dns: [],
    ipv6: true,
    socks: [{ address: '127.0.0.1', port: 1080 }],
    http: [{ address: '127.0.0.1', port: 8080 }],
    allowOpen: false,
    route: [],
    bypass: [],
    block: [],
    forward: [],
    remoteForward: [],
    reconnect: true,
    retryStart: false,
  })
  t.match(parseSettings(pingSchema, { server, host: 'x' }), { count: 4, interval: 1000, size: 56 })
  t.match(parseSettings(serveSchema, { accounts: 'f' }), {
    listen: { address: '0.0.0.0', port: 8443 },
    allowLoopback: false,
    dns: [],
  })
  t.same(parseSettings(demoSchema, {}), { json: false, logFormat: 'pretty', once: false })
  t.match(parseSettings(resolveSchema, { server, name: 'x' }), { name: 'x' })
})

t.test('options mean what their text says', async (t) => {
  const settings = parseSettings(connectSchema, {
    server,
    user: 'CORP\\alice',
    auth: 'chap,pap',
    dns: ['10.0.0.1', '10.0.0.2,fd00::1'],
    mtu: '1280',
    ipv6: false,
    timeout: '2',
    socks: 'off',
    http: '[::1]:0',
    logLevel: 'debug',
    logFormat: 'json',
    json: true,
  })
  t.match(settings, {
    user: 'CORP\\alice',
    auth: ['chap', 'pap'],
    dns: ['10.0.0.1', '10.0.0.2', 'fd00::1'],
    mtu: 1280,
    ipv6: false,
    timeout: 2000,
    http: [{ address: '::1', port: 0 }],
    logLevel: 'debug',
    logFormat: 'json',
    json: true,
  })
  t.same(settings.socks, [])
  t.equal(parseSettings(connectSchema, { server, mtu: 1280 }).mtu, 1280, 'numbers as a file has them')
  t.match(
    parseSettings(serveSchema, {
      accounts: 'f',
      listen: '443',
      pool: '10.1.0.0/16',
      dns: '10.0.0.1',
      maxCalls: '0',
      cert: 'c',
      key: 'k',
    }),
    { listen: { address: '0.0.0.0', port: 443 }, pool: '10.1.0.0/16', dns: ['10.0.0.1'], maxCalls: 0 },
  )
})

t.test('bad values: one line that names the option', async (t) => {
  const tunnel: [Record<string, unknown>, RegExp][] = [
    [{ server: undefined }, /^<server>: wants a value$/],
    [{ server: '' }, /^<server>: wants a value$/],
    [{ user: '' }, /^--user: wants a value$/],
    [{ user: ['a', 'b'] }, /^--user: is given twice$/],
    [{ password: ['s3cret', 's3cret'] }, /^--password: is given twice$/],
    [{ passwordFile: '' }, /^--password-file: wants a value$/],
    [{ auth: 'kerberos' }, /^--auth: "kerberos" is none of/],
    [{ pin: 'abc' }, /^--pin: a pin is a SHA-256/],
    [{ servername: '10.0.0.1' }, /^--servername: TLS sends names only/],
    [{ dns: 'dns.example' }, /^--dns: "dns.example" is not an IP address$/],
    [{ dns: ['10.0.0.1', ''] }, /^--dns: wants a value$/],
    [{ mtu: '575' }, /^--mtu: wants a whole number from 576 to 4087$/],
    [{ mtu: '4088' }, /^--mtu: wants/],
    [{ mtu: '1e3' }, /^--mtu: wants/],
    [{ mtu: '1400.5' }, /^--mtu: wants/],
    [{ mtu: ['1400', '1300'] }, /^--mtu: is given twice$/],
    [{ timeout: '0' }, /^--timeout: 0 is out of range/],
    [{ logLevel: 'loud' }, /^--log-level: is one of trace, debug/],
    [{ logLevel: ['info', 'warn'] }, /^--log-level: is given twice$/],
    [{ logFormat: 'xml' }, /^--log-format: is one of pretty, json$/],
    [{ json: [true, true] }, /^--json: is given twice$/],
    [{ insecure: true, pin: 'ab'.repeat(32) }, /^--insecure: contradicts --pin/],
    [{ insecure: true, ca: 'f' }, /^--insecure: contradicts --ca/],
    [{ reconnects: true }, /^unknown option reconnects$/],
  ]
  for (const [options, message] of tunnel) {
    for (const schema of [tunnelSchema, connectSchema] as const) {
      t.throws(
        () => parseSettings<unknown>(schema, { server, ...options }),
        { name: 'UsageError', message },
        JSON.stringify(options),
      )
    }
  }
  const others: [Parameters<typeof parseSettings<unknown>>[0], Record<string, unknown>, RegExp][] = [
    [connectSchema, { server, socks: '1080x' }, /^--socks: "1080x" does not end in a port/],
    [connectSchema, { server, http: '' }, /^--http: wants a value$/],
    [connectSchema, { server, socks: 'off', http: 'off' }, /^--http: is off as --socks is/],
    [pingSchema, { server, host: 'x', count: '0' }, /^--count: wants a whole number from 1/],
    [pingSchema, { server, host: 'x', size: '5000' }, /^--size: wants/],
    [pingSchema, { server, host: 'x', interval: '1' }, /^--interval: 1 is out of range/],
    [pingSchema, { server, host: '' }, /^<host>: wants a value$/],
    [resolveSchema, { server }, /^<name>: wants a value$/],
    [serveSchema, {}, /^--accounts: is required: a FILE/],
    [serveSchema, { accounts: 'f', listen: '70000' }, /^--listen: "70000" does not end in a port/],
    [serveSchema, { accounts: 'f', cert: 'c' }, /^--cert: needs --key too$/],
    [serveSchema, { accounts: 'f', key: 'c' }, /^--key: needs --cert too$/],
    [serveSchema, { accounts: 'f', pool: '10.0.0.1/24' }, /^--pool: .*did you mean 10\.0\.0\.0\/24/],
    [serveSchema, { accounts: 'f', dns: 'fd00::1' }, /^--dns: "fd00::1" is not an IPv4 address$/],
    [
      serveSchema,
      { accounts: 'f', maxCalls: '65536' },
      /^--max-calls: wants a whole number from 0 to 65535$/,
    ],
  ]
  for (const [schema, options, message] of others) {
    t.throws(() => parseSettings(schema, options), { name: 'UsageError', message }, JSON.stringify(options))
  }
})
