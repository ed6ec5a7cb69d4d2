import t from 'tap'
import { createLogger, logGatewayEvent, logProxyEvent, logTunnelEvent } from '../../src/observe/logger.js'
import { CallError } from '../../src/transport/errors.js'

function capture(level: string, format: 'pretty' | 'json', color = false) {
  let text = ''
  const logger = createLogger({
    level,
    format,
    color,
    write: (lines) => {
      text += lines
    },
  })
  return {
    logger,
    text: () => text,
    lines: () =>
      text
        .split('\n')
        .slice(0, -1)
        .map((line) => JSON.parse(line)),
  }
}

t.test('secrets are hidden at every depth that we use', async (t) => {
  for (const format of ['pretty', 'json'] as const) {
    const { logger, text } = capture('trace', format)
    const fields = ['password', 'passphrase', 'secret', 'key', 'token', 'authorization']
    for (const name of fields) {
      logger.info({ [name]: 'Zq7', a: { [name]: 'Zq7' }, b: { c: { [name]: 'Zq7' } }, user: 'alice' }, 'x')
    }
    t.notMatch(text(), /Zq7/)
    t.equal(text().match(/\[hidden\]/g)?.length, 3 * fields.length)
    t.match(text(), /alice/)
  }
})

t.test('levels and formats', async (t) => {
  const warn = capture('warn', 'json')
  warn.logger.info('no')
  warn.logger.warn('yes')
  t.match(warn.lines(), [{ level: 40, msg: 'yes', time: /^\d{4}-.*Z$/ }])
  const silent = capture('silent', 'json')
  silent.logger.fatal('no')
  t.equal(silent.text(), '')
  const pretty = capture('info', 'pretty')
  pretty.logger.info({ a: 1 }, 'hello')
  t.match(pretty.text(), /^\[\d\d:\d\d:\d\d\.\d{3}\] INFO: hello \{"a":1\}\n$/)
  const color = capture('info', 'pretty', true)
  color.logger.info('hello')
  t.ok(color.text().includes('\u001b['))
})

t.test('control characters do not get to a terminal, and lines cannot be forged', async (t) => {
  const { logger, text } = capture('info', 'pretty')
  logger.info(
    { name: 'a\u001b[31mb\u009bc\\u001b' },
    'x\u001b]0;y\u0007\n[12:00:00.000] INFO: forged\r\u007f',
  )
  t.equal(text().split('\n').length, 2)
  for (const char of text()) t.ok(char === '\n' || !/\p{Cc}/u.test(char))
  t.match(text(), 'x?]0;y? [12:00:00.000] INFO: forged ?')
  t.match(text(), 'c\\u001b', 'what only looks like an escape stays')
  const debug = capture('info', 'pretty')
  debug.logger.info({ err: new Error('with a stack') }, 'x')
  t.ok(debug.text().split('\n').length > 3)
})

t.test('events of a tunnel', async (t) => {
  const { logger, lines } = capture('trace', 'json')
  const info = {
    server: 's:443',
    ipv4: '10.0.0.2',
    ipv6: undefined,
    peer: '10.0.0.1',
    dns: [],
    mtu: 1400,
    auth: 'pap',
  }
  logTunnelEvent(logger, { type: 'step', step: 'tls', ms: 3, detail: { version: 'TLSv1.3' } })
  logTunnelEvent(logger, { type: 'trace', message: 'got LCP Configure-Request' })
  logTunnelEvent(logger, { type: 'up', info })
  logTunnelEvent(logger, { type: 'warning', code: 'UNVERIFIED_TLS', message: 'not verified' })
  logTunnelEvent(logger, { type: 'down', error: undefined })
  logTunnelEvent(logger, { type: 'down', error: new CallError('ip', 'lost', 'TCP_RESET', 'broke') })
  t.match(lines(), [
    { level: 20, msg: 'step tls done', step: 'tls', ms: 3, detail: { version: 'TLSv1.3' } },
    { level: 20, msg: 'got LCP Configure-Request' },
    { level: 30, msg: 'tunnel up', tunnel: { ipv4: '10.0.0.2', auth: 'pap' } },
    { level: 40, msg: 'not verified', code: 'UNVERIFIED_TLS' },
    { level: 30, msg: 'tunnel down' },
    { level: 30, msg: 'tunnel down: broke', step: 'ip', kind: 'lost', code: 'TCP_RESET' },
  ])
})

t.test('events of the gateway', async (t) => {
  const { logger, lines } = capture('trace', 'json')
  const from = '192.0.2.1:5'
  logGatewayEvent(logger, { type: 'listening', address: '::', port: 443 })
  logGatewayEvent(logger, { type: 'accepted', call: 1, from })
  logGatewayEvent(logger, { type: 'trace', call: 1, message: 'got LCP' })
  logGatewayEvent(logger, { type: 'up', call: 1, from, user: 'alice', auth: 'pap', address: '10.0.0.2' })
  logGatewayEvent(logger, { type: 'warning', call: 1, code: 'ODD', message: 'odd' })
  logGatewayEvent(logger, { type: 'closed', call: 1, from, user: 'alice', reason: '' })
  logGatewayEvent(logger, { type: 'closed', call: 2, from, user: undefined, reason: 'no SSTP' })
  t.match(lines(), [
    { level: 30, msg: 'listening', address: '::', port: 443 },
    { level: 20, msg: 'connection accepted', call: 1, from },
    { level: 20, msg: 'got LCP', call: 1 },
    { level: 30, msg: 'call up', call: 1, from, user: 'alice', auth: 'pap', address: '10.0.0.2' },
    { level: 40, msg: 'odd', call: 1, code: 'ODD' },
    { level: 30, msg: 'call ended', user: 'alice' },
    { level: 30, msg: 'call ended: no SSTP', call: 2 },
  ])
})

t.test('events of the proxies', async (t) => {
  const { logger, lines } = capture('trace', 'json')
  const to = { client: 1, protocol: 'socks5', host: 'h', port: 80 } as const
  logProxyEvent(logger, { type: 'accepted', client: 1, from: 'a' })
  logProxyEvent(logger, { type: 'open', ...to })
  logProxyEvent(logger, { type: 'done', ...to, up: 1, down: 2, error: undefined })
  logProxyEvent(logger, { type: 'failed', ...to, code: 'refused', message: 'refused by h' })
  logProxyEvent(logger, { type: 'rejected', client: 1, from: 'a', reason: 'malformed', message: 'what?' })
  logProxyEvent(logger, { type: 'closed', client: 1 })
  t.match(lines(), [
    { level: 10, msg: 'client accepted', client: 1, from: 'a' },
    { level: 20, msg: 'connection open', host: 'h', port: 80 },
    { level: 20, msg: 'connection done', up: 1, down: 2 },
    { level: 30, msg: 'refused by h', code: 'refused' },
    { level: 30, msg: 'what?', reason: 'malformed' },
    { level: 10, msg: 'client closed', client: 1 },
  ])
})
