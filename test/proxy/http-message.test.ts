import fc from 'fast-check'
import t from 'tap'
import { oneUser } from '../../src/proxy/credentials.js'
import { askerOf, emitError } from '../../src/proxy/error-page.js'
import { parseBasic, permissionOf, signsConnectionIn } from '../../src/proxy/http-auth.js'
import { BodyReader, type Framing, requestFraming, responseFraming } from '../../src/proxy/http-body.js'
import {
  emitFinalRecipient,
  emitLastChunk,
  emitRequestHead,
  emitResponseHead,
  parseConnectTarget,
  parseProxyTarget,
  persistenceOf,
  wantsKeepAlive,
  wantsUpgrade,
} from '../../src/proxy/http-head.js'
import {
  FIELD_LIMIT,
  HEAD_LIMIT,
  HeadReader,
  parseRequestHead,
  parseResponseHead,
  type RequestHead,
  type ResponseHead,
} from '../../src/proxy/http-message.js'
import { Slices } from '../../src/proxy/http-slices.js'
import { SeededRandom } from '../helpers/random.js'

function readHead(text: string, strict = true): HeadReader {
  const reader = new HeadReader(strict)
  const bytes = Buffer.from(text, 'latin1')
  reader.push(bytes, 0, bytes.length)
  return reader
}

function request(text: string): RequestHead {
  const head = parseRequestHead(readHead(text).text)
  if (head.type === 'error') throw new Error(head.message)
  return head
}

function response(text: string): ResponseHead {
  const head = parseResponseHead(readHead(text, false).text)
  if (head.type === 'error') throw new Error(head.message)
  return head
}

const GET = 'GET http://a.example/x HTTP/1.1\r\nHost: a.example\r\nX-Two:  b c \t\r\n\r\n'

t.test('a head, whole, by octets, with octets behind, at an offset', async (t) => {
  const bytes = Buffer.from(GET)
  const wanted = {
    type: 'request',
    method: 'GET',
    target: 'http://a.example/x',
    minor: 1,
    fields: [
      { name: 'Host', value: 'a.example' },
      { name: 'X-Two', value: 'b c' },
    ],
  }
  const whole = new HeadReader(true)
  t.equal(whole.push(bytes, 0, bytes.length), bytes.length)
  t.equal(whole.state, 'done')
  t.same(parseRequestHead(whole.text), wanted)

  const slow = new HeadReader(true)
  for (let i = 0; i < bytes.length; i++) {
    t.equal(slow.state, 'reading')
    t.equal(slow.push(bytes, i, i + 1), 1)
  }
  t.same(parseRequestHead(slow.text), wanted)

  const behind = Buffer.concat([Buffer.alloc(5, 0xa5), bytes, Buffer.from('body')])
  const offset = new HeadReader(true)
  t.equal(offset.push(behind, 5, behind.length), bytes.length)
  t.same(parseRequestHead(offset.text), wanted)
  t.equal(offset.push(behind, 0, 5), 0, 'nothing is taken behind the end')

  const blank = readHead(`\r\n\r\n${GET}`)
  t.same(parseRequestHead(blank.text), wanted, 'empty lines in front')
  t.notOk(readHead('\r\n').begun)
  t.ok(readHead('G').begun)
})

t.test('heads that no two readers would read alike are refused', async (t) => {
  const cases: [string, string, number][] = [
    ['bare LF', 'GET http://a/ HTTP/1.1\nHost: a\r\n\r\n', 400],
    ['bare LF in a field', 'GET http://a/ HTTP/1.1\r\nA: b\nC: d\r\n\r\n', 400],
    ['bare CR', 'GET http://a/ HTTP/1.1\r\nA: b\rC: d\r\n\r\n', 400],
    ['CR CR LF', 'GET http://a/ HTTP/1.1\r\r\n\r\n', 400],
    ['NUL', 'GET http://a/ HTTP/1.1\r\nA: \0\r\n\r\n', 400],
    ['a space before the colon', 'GET http://a/ HTTP/1.1\r\nHost : a\r\n\r\n', 400],
    ['a folded line', 'GET http://a/ HTTP/1.1\r\nA: b\r\n c\r\n\r\n', 400],
    ['a folded first field', 'GET http://a/ HTTP/1.1\r\n Host: a\r\n\r\n', 400],
    ['no colon', 'GET http://a/ HTTP/1.1\r\nHost\r\n\r\n', 400],
    ['no name', 'GET http://a/ HTTP/1.1\r\n: a\r\n\r\n', 400],
    ['a name that is no token', 'GET http://a/ HTTP/1.1\r\nHo(st: a\r\n\r\n', 400],
    ['a control octet', 'GET http://a/ HTTP/1.1\r\nA: \x01\r\n\r\n', 400],
    ['DEL', 'GET http://a/ HTTP/1.1\r\nA: \x7f\r\n\r\n', 400],
    ['two spaces', 'GET  http://a/ HTTP/1.1\r\n\r\n', 400],
    ['a tab', 'GET\thttp://a/ HTTP/1.1\r\n\r\n', 400],
    ['a space in the target', 'GET http://a/b c HTTP/1.1\r\n\r\n', 400],
    ['no version', 'GET http://a/\r\n\r\n', 400],
    ['a version of two digits', 'GET http://a/ HTTP/1.10\r\n\r\n', 400],
    ['lower-case http', 'GET http://a/ http/1.1\r\n\r\n', 400],
    ['HTTP/2', 'PRI * HTTP/2.0\r\n\r\n', 505],
    ['a bad method', 'G@T http://a/ HTTP/1.1\r\n\r\n', 400],
  ]
  for (const [what, text, status] of cases) {
    const reader = readHead(text)
    const result = reader.state === 'failed' ? reader.error : parseRequestHead(reader.text)
    t.match(result, { type: 'error', status }, what)
  }
})

t.test('limits', async (t) => {
  const fields = (n: number) => `GET http://a/ HTTP/1.1\r\n${'A: b\r\n'.repeat(n)}\r\n`
  t.match(parseRequestHead(readHead(fields(FIELD_LIMIT)).text), { type: 'request' })
  t.match(parseRequestHead(readHead(fields(FIELD_LIMIT + 1)).text), { type: 'error', status: 431 })
  const head = (size: number) => `GET http://a/ HTTP/1.1\r\nA: ${'b'.repeat(size - 31)}\r\n\r\n`
  t.equal(readHead(head(HEAD_LIMIT)).state, 'done')
  t.match(readHead(head(HEAD_LIMIT + 1)).error, { status: 431 })
  t.match(readHead('\r\n'.repeat(HEAD_LIMIT)).error, { status: 431 }, 'empty lines count')
  const spaces = `GET http://a/ HTTP/1.1\r\nA: b${' '.repeat(60_000)}c\r\nB:${' '.repeat(5000)}\r\n\r\n`
  t.match(parseRequestHead(readHead(spaces).text), { fields: [{ name: 'A' }, { name: 'B', value: '' }] })
})

t.test('responses are read with some leniency', async (t) => {
  t.same(response('HTTP/1.0 200\r\n\r\n'), {
    type: 'response',
    minor: 0,
    status: 200,
    reason: '',
    fields: [],
  })
  t.same(response('HTTP/1.1 404 Not  Found\nA: b\n c\n\td\n\n').fields, [{ name: 'A', value: 'b c d' }])
  t.same(response('HTTP/1.1 200 OK\r\nA \t: b\r\n\r\n').fields, [{ name: 'A', value: 'b' }], 'RFC 9112 5.1')
  t.match(response('HTTP/1.1 299 sch\xf6n\r\n\r\n'), { reason: 'sch\xf6n' })
  for (const text of [
    'HTTP/2 200 OK',
    'HTTP/1.1 20 OK',
    'HTTP/1.1 600 X',
    'HTTP/1.1 2000',
    'ICY 200 OK',
    '<html>',
    'HTTP/1.1 200 OK\r\nA b: c',
    'HTTP/1.1 200 OK\r\n : c',
    'HTTP/1.1 200 OK\r\nA\xa0: c',
    'HTTP/1.1 200 \x1b[2J',
  ]) {
    t.match(parseResponseHead(readHead(`${text}\r\n\r\n`, false).text), { type: 'error', status: 502 }, text)
  }
  t.equal(readHead('HTTP/1.1 200 OK\r\nA: b\rc\r\n\r\n', false).state, 'failed', 'but no bare CR')
})

t.test('framing of requests', async (t) => {
  const framing = (fields: string, version = '1.1') =>
    requestFraming(request(`POST http://a/ HTTP/${version}\r\n${fields}\r\n`))
  t.same(framing(''), { kind: 'none' })
  t.same(framing('Content-Length: 0\r\n'), { kind: 'length', length: 0 })
  t.same(framing('Content-Length: 42\r\n'), { kind: 'length', length: 42 })
  t.same(framing('Content-Length: 42, 42\r\ncontent-length: 42\r\n'), { kind: 'length', length: 42 })
  t.same(framing('Transfer-Encoding: Chunked\r\n'), { kind: 'chunked', codings: [] })
  t.same(framing('Transfer-Encoding: gzip\r\ntransfer-encoding: chunked\r\n'), {
    kind: 'chunked',
    codings: ['gzip'],
  })
  const smuggled = [
    'Content-Length: 5\r\nTransfer-Encoding: chunked\r\n',
    'Transfer-Encoding: chunked\r\nContent-Length: 5\r\n',
    'Content-Length: 5\r\nContent-Length: 6\r\n',
    'Content-Length: 5, 6\r\n',
    'Content-Length: +5\r\n',
    'Content-Length: -5\r\n',
    'Content-Length: 0x5\r\n',
    'Content-Length: 5 5\r\n',
    'Content-Length: 5,\r\n',
    'Content-Length: \r\n',
    'Content-Length: 5\xa0\r\n',
    'Content-Length: 5,\xa05\r\n',
    'Content-Length: 5.0\r\n',
    'Content-Length: 99999999999999999999\r\n',
    'Transfer-Encoding: gzip\r\n',
    'Transfer-Encoding: identity\r\n',
    'Transfer-Encoding: chunked, gzip\r\n',
    'Transfer-Encoding: chunked, chunked\r\n',
    'Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n',
    'Transfer-Encoding: xchunked\r\n',
    'Transfer-Encoding: "chunked"\r\n',
    'Transfer-Encoding: chunked;a=b\r\n',
    'Transfer-Encoding: \r\n',
    'Transfer-Encoding: ,\r\n',
    'Transfer-Encoding: chun ked\r\n',
  ]
  for (const fields of smuggled)
    t.match(framing(fields), { type: 'error', status: 400 }, JSON.stringify(fields))
  t.match(framing('Transfer-Encoding: chunked\r\n', '1.0'), { type: 'error', status: 400 })
})

t.test('framing of responses', async (t) => {
  const framing = (status: number, fields: string, method = 'GET') =>
    responseFraming(response(`HTTP/1.1 ${status} X\r\n${fields}\r\n`), method)
  t.same(framing(200, ''), { kind: 'until-close', codings: [] })
  t.same(framing(200, 'Content-Length: 7\r\n'), { kind: 'length', length: 7 })
  t.same(framing(200, 'Content-Length: 7\r\n', 'HEAD'), { kind: 'none', declared: 7 })
  t.same(framing(304, 'Content-Length: 7\r\n'), { kind: 'none', declared: 7 })
  t.same(framing(204, 'Content-Length: 7\r\n'), { kind: 'none' })
  t.same(framing(100, 'Transfer-Encoding: chunked\r\n'), { kind: 'none' })
  t.same(framing(200, 'Transfer-Encoding: chunked\r\nContent-Length: 7\r\n'), {
    kind: 'chunked',
    codings: [],
  })
  t.same(framing(200, 'Transfer-Encoding: gzip\r\n'), { kind: 'until-close', codings: ['gzip'] })
  t.same(framing(200, 'Transfer-Encoding: Identity\r\n'), { kind: 'until-close', codings: [] })
  t.same(
    framing(200, 'Transfer-Encoding: identity\r\nContent-Length: 7\r\n'),
    { kind: 'length', length: 7 },
    'no end of the connection is waited for that does not come',
  )
  for (const fields of [
    'Content-Length: 7\r\nContent-Length: 8\r\n',
    'Content-Length: x\r\n',
    'Transfer-Encoding: chunked, gzip\r\n',
    'Transfer-Encoding: chunked, identity\r\n',
  ]) {
    t.match(framing(200, fields), { type: 'error', status: 502 }, fields)
  }
})

/** Content and rest of a body, in pieces of `step` octets. */
function readBody(framing: Framing, bytes: Buffer, step: number, strict = true) {
  const reader = new BodyReader(framing, strict)
  let content = ''
  let taken = 0
  const sink = {
    onSlice: (b: Uint8Array, s: number, e: number) =>
      void (content += Buffer.from(b.subarray(s, e)).toString('latin1')),
  }
  for (let o = 0; o < bytes.length && !reader.done; o += step) {
    const n = reader.push(bytes, o, Math.min(bytes.length, o + step), sink)
    if (n < 0) return { error: reader.error, content }
    taken += n
  }
  return { content, taken, done: reader.done, finish: reader.finish() }
}

t.test('bodies, in any pieces, with octets behind', async (t) => {
  const chunked: Framing = { kind: 'chunked', codings: [] }
  const cases: [string, Framing, string, string][] = [
    ['length', { kind: 'length', length: 5 }, 'hello', 'hello'],
    ['length 0', { kind: 'length', length: 0 }, '', ''],
    ['none', { kind: 'none' }, '', ''],
    ['chunks', chunked, '5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n', 'hello!'],
    ['hex digits', chunked, 'A\r\n0123456789\r\n00b\r\n0123456789a\r\n0\r\n\r\n', '01234567890123456789a'],
    ['extensions', chunked, '5;a=b;c="d"\r\nhello\r\n0;x\r\n\r\n', 'hello'],
    ['trailers', chunked, '5\r\nhello\r\n0\r\nA: b\r\nC: d\r\n\r\n', 'hello'],
    ['none at all', chunked, '0\r\n\r\n', ''],
  ]
  for (const [what, framing, text, content] of cases) {
    const bytes = Buffer.from(`${text}GET / behind`)
    for (const step of [1, 2, 3, 7, bytes.length]) {
      t.match(
        readBody(framing, bytes, step),
        { content, taken: text.length, done: true },
        `${what} by ${step}`,
      )
    }
    for (let n = 0; n < text.length; n++) {
      t.match(
        readBody(framing, bytes.subarray(0, n), n || 1),
        { done: false, finish: false },
        `${what} cut at ${n}`,
      )
    }
  }
  const all = Buffer.from('everything')
  t.same(readBody({ kind: 'until-close', codings: [] }, all, 3), {
    content: 'everything',
    taken: 10,
    done: false,
    finish: true,
  })
})

t.test('property: content in whatever pieces is the same, in few of them', async (t) => {
  const pieces = fc.array(fc.oneof(fc.integer({ min: 1, max: 8 }), fc.integer({ min: 1, max: 9000 })), {
    maxLength: 200,
  })
  fc.assert(
    fc.property(pieces, (lengths) => {
      const total = lengths.reduce((sum, length) => sum + length, 0)
      const batch = new SeededRandom(total).bytes(total)
      const slices = new Slices()
      let at = 0
      for (const length of lengths) {
        slices.onSlice(batch, at, at + length)
        at += length
      }
      if (slices.length !== total) return false
      const taken = slices.take()
      const large = lengths.filter((length) => length > 512).length
      // One for each large piece and for what stands small between two of them, and for each 3584 octets more.
      const most = 3 * large + 3 + Math.ceil(total / 3584)
      return taken.length <= most && Buffer.concat(taken).equals(batch) && slices.take().length === 0
    }),
    { seed: 7 },
  )
  const slices = new Slices()
  const octets = Buffer.alloc(65_536, 0x78)
  for (let i = 0; i < octets.length; i++) slices.onSlice(octets, i, i + 1)
  t.equal(slices.take().length, 17, 'single octets are gathered')
  slices.onSlice(octets, 0, 1)
  slices.onSlice(octets, 0, 60_000)
  t.same(
    slices.take().map((slice) => slice.buffer === octets.buffer),
    [true, true],
    'an ordinary batch is not copied',
  )
})

t.test('malformed chunks', async (t) => {
  const bad = [
    '\r\n',
    ' 5\r\nhello\r\n',
    '+5\r\nhello\r\n',
    '-1\r\n',
    '0x5\r\nhello\r\n',
    '5 \r\nhello\r\n',
    '5\nhello\r\n',
    '5\r\nhello\n',
    '5\r\nhelloX\r\n',
    '5\r\nhelloo\r\n',
    'g\r\n',
    ';a\r\n',
    '5;a\nb\r\nhello\r\n',
    '5;\0\r\n',
    '5\r5\r\n',
    'fffffffffffffffff\r\n',
    'ffffffffffffffff\r\n',
    '00000000000000001\r\n',
    `5;${'a'.repeat(2000)}\r\n`,
    '0\r\n folded\r\n\r\n',
    '0\r\nA: b\n\r\n',
    '0\r\nA: \0\r\n\r\n',
    '0\r\n\rX',
    `0\r\n${'A: b\r\n'.repeat(5000)}\r\n`,
  ]
  for (const text of bad) {
    for (const step of [1, text.length]) {
      const result = readBody({ kind: 'chunked', codings: [] }, Buffer.from(text), step)
      t.type(result.error, 'string', JSON.stringify(text.slice(0, 30)))
    }
  }
  t.match(
    readBody({ kind: 'chunked', codings: [] }, Buffer.from('5  \r\nhello\r\n0\r\n\r\n'), 99, false),
    { content: 'hello', done: true },
    'servers that pad the size',
  )
})

t.test('targets', async (t) => {
  const good: [string, string, object][] = [
    ['GET', 'http://a.example', { host: 'a.example', port: 80, authority: 'a.example', path: '/' }],
    [
      'GET',
      'HTTP://A.example:8080/x?y#'.slice(0, -1),
      { host: 'A.example', port: 8080, authority: 'A.example:8080', path: '/x?y' },
    ],
    ['GET', 'http://a?q', { host: 'a', port: 80, authority: 'a', path: '/?q' }],
    ['GET', 'http://a:/', { host: 'a', port: 80, authority: 'a:', path: '/' }],
    ['GET', 'http://u:p@a/', { host: 'a', port: 80, authority: 'a', path: '/' }],
    ['GET', 'http://u@b@a/', { host: 'a', port: 80, authority: 'a', path: '/' }],
    [
      'GET',
      'http://[2001:db8::1]:81/',
      { host: '2001:db8::1', port: 81, authority: '[2001:db8::1]:81', path: '/' },
    ],
    ['OPTIONS', 'http://a', { host: 'a', port: 80, authority: 'a', path: '*' }],
    ['OPTIONS', 'http://a/', { host: 'a', port: 80, authority: 'a', path: '/' }],
    ['GET', 'http://a/http://b/', { host: 'a', port: 80, authority: 'a', path: '/http://b/' }],
    ['GET', 'http://b\xc3\xbccher/', { host: 'bücher', port: 80, authority: 'b\xc3\xbccher', path: '/' }],
  ]
  for (const [method, text, wanted] of good) t.same(parseProxyTarget(method, text), wanted, text)
  const bad = [
    '/',
    '*',
    'a:80',
    'https://a/',
    'ftp://a/',
    'ws://a/',
    'http:/a',
    'http://',
    'http:///x',
    'http://:80/',
    'http://a:0/',
    'http://a:65536/',
    'http://a:b/',
    'http://a:80:80/',
    'http://[::1/',
    'http://::1/',
    'http://a\\b/',
    'http://a/#f',
    'http://[v1.x]/',
    'http://a[1]/',
  ]
  for (const text of bad) t.match(parseProxyTarget('GET', text), { type: 'error', status: 400 }, text)

  t.same(parseConnectTarget('a.example:443'), { host: 'a.example', port: 443 })
  t.same(parseConnectTarget('[2001:db8::1]:443'), { host: '2001:db8::1', port: 443 })
  for (const text of [
    'a',
    'a:',
    ':443',
    'a:0',
    'a:65536',
    'a:+1',
    'u@a:443',
    'http://a:443',
    'a:443/',
    '2001:db8::1:443',
    '[::1]',
    'a:44300000',
    '*',
    '/',
  ]) {
    t.match(parseConnectTarget(text), { type: 'error', status: 400 }, text)
  }
})

t.test('the request that goes on', async (t) => {
  const head = request(
    'POST http://user:pw@a.example:81/p?q HTTP/1.0\r\nHost: evil.example\r\nAccept: */*\r\nConnection: X-Drop, keep-alive\r\n' +
      'Proxy-Connection: keep-alive\r\nKeep-Alive: 5\r\nX-Drop: 1\r\nTE: trailers\r\nTrailer: X\r\nUpgrade: h2c\r\n' +
      'Proxy-Authorization: Basic c2VjcmV0\r\nContent-Length: 3, 3\r\nVia: 1.1 other\r\nX-Keep: \xe4\r\n\r\n',
  )
  const target = parseProxyTarget(head.method, head.target)
  if ('type' in target) throw new Error(target.message)
  const text = (via: string | undefined, upgrade?: string, persistent = false) =>
    emitRequestHead(head, target, {
      framing: { kind: 'length', length: 3 },
      upgrade,
      via,
      persistent,
    }).toString('latin1')
  t.equal(
    text('me'),
    'POST /p?q HTTP/1.1\r\nHost: a.example:81\r\nAccept: */*\r\nVia: 1.1 other\r\nX-Keep: \xe4\r\nContent-Length: 3\r\nVia: 1.0 me\r\nConnection: close\r\n\r\n',
  )
  t.notMatch(text(undefined), /1\.0 me/)
  t.notMatch(text('me', undefined, true), /Connection/)
  t.match(text(undefined, 'websocket'), /\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n$/)
  // Naming Content-Length or Host in Connection must not take the framing away.
  const trick = request(
    'POST http://a/ HTTP/1.1\r\nHost: a\r\nConnection: content-length, host\r\nContent-Length: 4\r\n\r\n',
  )
  const out = emitRequestHead(
    trick,
    { host: 'a', port: 80, authority: 'a', path: '/' },
    { framing: { kind: 'length', length: 4 }, upgrade: undefined, via: undefined, persistent: false },
  )
  t.equal(out.toString(), 'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nConnection: close\r\n\r\n')
  const options = request('OPTIONS http://a HTTP/1.1\r\nHost: a\r\nMax-Forwards: 7\r\n\r\n')
  t.match(
    emitRequestHead(
      options,
      { host: 'a', port: 80, authority: 'a', path: '*' },
      { framing: { kind: 'none' }, upgrade: undefined, via: undefined, persistent: true },
    ).toString(),
    /^OPTIONS \* HTTP\/1.1\r\n(.*\r\n)*Max-Forwards: 6\r\n/,
  )
})

t.test('the response that comes back', async (t) => {
  const head = response(
    'HTTP/1.0 200 Fine\r\nServer: x\r\nConnection: X-Hop\r\nX-Hop: 1\r\nKeep-Alive: 5\r\nProxy-Authenticate: Basic\r\nTransfer-Encoding: chunked\r\nContent-Length: 9\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n\r\n',
  )
  t.equal(
    emitResponseHead(head, { kind: 'chunked', codings: [] }, 'close', 'me').toString(),
    'HTTP/1.1 200 Fine\r\nServer: x\r\nSet-Cookie: a\r\nSet-Cookie: b\r\nTransfer-Encoding: chunked\r\nVia: 1.0 me\r\nConnection: close\r\n\r\n',
  )
})

t.test('what a client wants of its connection', async (t) => {
  const keep = (version: string, fields = '') =>
    wantsKeepAlive(request(`GET http://a/ HTTP/${version}\r\n${fields}\r\n`))
  t.ok(keep('1.1'))
  t.notOk(keep('1.0'))
  t.ok(keep('1.0', 'Connection: Keep-Alive\r\n'))
  t.ok(keep('1.0', 'Proxy-Connection: keep-alive\r\n'))
  t.notOk(keep('1.1', 'Connection: foo, Close\r\n'))
  t.notOk(keep('1.1', 'Proxy-Connection: close\r\n'))
  const upgrade = (fields: string, version = '1.1') =>
    wantsUpgrade(request(`GET http://a/ HTTP/${version}\r\n${fields}\r\n`))
  t.equal(upgrade('Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n'), 'websocket')
  t.equal(upgrade('Upgrade: websocket\r\n'), undefined)
  t.equal(upgrade('Connection: Upgrade\r\n'), undefined)
  t.equal(upgrade('Connection: Upgrade\r\nUpgrade: websocket\r\n', '1.0'), undefined)
})

t.test('our own answers', async (t) => {
  const text = emitError(503, 'the tunnel is not "up"\\', {
    asker: { method: 'GET', html: false },
    proxyStatus: 'destination_unavailable',
    to: { host: '2001:db8::1', port: 80 },
  }).toString()
  t.match(text, /^HTTP\/1\.1 503 Service Unavailable\r\nContent-Type: text\/plain; charset=utf-8\r\n/)
  t.match(
    text,
    /\r\nProxy-Status: sstp; error=destination_unavailable; details="the tunnel is not \\"up\\"\\\\"\r\n/,
  )
  t.match(text, /\r\nRetry-After: 5\r\n/)
  t.match(
    text,
    /\r\nConnection: close\r\n\r\n503 Service Unavailable: the tunnel is not "up"\\\nAsked for: \[2001:db8::1\]:80\n.*again.*\n$/,
  )
  t.match(emitError(502, 'x', { asker: { method: 'HEAD', html: false } }).toString(), /\r\n\r\n$/)
  const trace = request(
    'TRACE http://a/ HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\nCookie: secret\r\nAuthorization: secret\r\n\r\n',
  )
  const echo = emitFinalRecipient(trace).toString()
  t.match(echo, /Content-Type: message\/http/)
  t.match(echo, /\r\n\r\nTRACE http:\/\/a\/ HTTP\/1.1\r\nHost: a\r\n/)
  t.notMatch(echo, /secret/)
})

t.test('fuzz: any octets are read or refused', async (t) => {
  const random = new SeededRandom(99)
  const base = Buffer.from(
    'POST http://a.example:80/x HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n5;a\r\nhello\r\n0\r\nA: b\r\n\r\n',
  )
  const answer = Buffer.from('HTTP/1.1 200 OK\r\nContent-Length: 5\r\nA: b\r\n c\r\n\r\nhello')
  const outcomes = { request: 0, response: 0, error: 0, bodies: 0 }
  const sink = {
    onSlice: (_b: Uint8Array, s: number, e: number) => void (e >= s || t.fail('a slice backwards')),
  }
  for (let i = 0; i < 2_000_000; i++) {
    const asRequest = i % 2 === 0
    const bytes = Buffer.from(asRequest ? base : answer)
    for (let n = random.below(5); n > 0; n--) {
      const special = ' \t\r\n:;,0\0/@[]#'
      bytes[random.below(bytes.length)] =
        random.below(2) === 0 ? special.charCodeAt(random.below(special.length)) : random.below(256)
    }
    const reader = new HeadReader(asRequest)
    const taken = reader.push(bytes, 0, bytes.length)
    if (reader.state !== 'done') continue
    const head = asRequest ? parseRequestHead(reader.text) : parseResponseHead(reader.text)
    outcomes[head.type]++
    if (head.type === 'error') continue
    const framing = head.type === 'request' ? requestFraming(head) : responseFraming(head, 'GET')
    if (head.type === 'request') {
      parseConnectTarget(head.target)
      const target = parseProxyTarget(head.method, head.target)
      if ('type' in target || 'type' in framing) continue
      const out = emitRequestHead(head, target, {
        framing,
        upgrade: wantsUpgrade(head),
        via: 'me',
        persistent: i % 4 === 0,
      })
      // What we say must itself be read strictly, with the same framing.
      const again = new HeadReader(true)
      if (again.push(out, 0, out.length) !== out.length) t.fail(out.toString('latin1'))
      const reread = parseRequestHead(again.text)
      if (reread.type === 'error') t.fail(out.toString('latin1'))
      else if (JSON.stringify(requestFraming(reread)) !== JSON.stringify(framing))
        t.fail(out.toString('latin1'))
    }
    if ('type' in framing) continue
    const body = new BodyReader(framing, asRequest)
    if (body.push(bytes, taken, bytes.length, sink) >= 0 && body.done) outcomes.bodies++
  }
  for (const [what, count] of Object.entries(outcomes)) t.ok(count > 4000, `${what}: ${count}`)
})

t.test('the error page for browsers: escaped, one line, no script', async (t) => {
  const evil = '<script>alert("1")</script>&\'`\r\nSet-Cookie: x\u202e\0 bücher'
  const bytes = emitError(502, evil, {
    asker: { method: 'GET', html: true },
    proxyStatus: 'dns_error',
    to: { host: evil, port: 80 },
  })
  const end = bytes.indexOf('\r\n\r\n')
  const head = bytes.toString('latin1', 0, end)
  const body = bytes.toString('utf8', end + 4)
  t.match(head, /\r\nContent-Type: text\/html; charset=utf-8\r\n/)
  t.match(head, /\r\nContent-Security-Policy: default-src 'none'; /)
  t.notMatch(head, /\nSet-Cookie/)
  t.match(head, new RegExp(`\\r\\nContent-Length: ${bytes.length - end - 4}\\r\\n`))
  t.match(response(`${head}\r\n\r\n`), { status: 502 }, 'our own reader takes it')
  t.notMatch(body, /<script|&'|\u202e/)
  t.match(body, /&#60;script&#62;alert\(&#34;1&#34;\)/)
  t.match(body, /bücher/)
  t.match(body, /<p>Names are looked up by the name servers behind the VPN/)
  t.ok(emitError(502, 'x'.repeat(100_000)).length < 3000, 'however long the reason')

  const html = (accept: string) => askerOf(request(`GET http://a/ HTTP/1.1\r\n${accept}\r\n`)).html
  t.ok(html('Accept: text/html,application/xhtml+xml,*/*;q=0.8\r\n'))
  t.ok(html('Accept: image/png\r\nAccept: Text/HTML;q=0.5\r\n'))
  for (const accept of ['', 'Accept: */*\r\n', 'Accept: text/html;q=0\r\n', 'Accept: text/htmlx\r\n'])
    t.notOk(html(accept), accept)
})

t.test('any reason and any host make one well-formed answer', async () => {
  fc.assert(
    fc.property(
      fc.string({ unit: 'binary', maxLength: 60 }),
      fc.string({ unit: 'binary', maxLength: 40 }),
      fc.boolean(),
      (reason, host, html) => {
        const bytes = emitError(504, reason, {
          asker: { method: 'GET', html },
          proxyStatus: 'connection_timeout',
          to: { host, port: 1 },
        })
        const reader = new HeadReader(true)
        const taken = reader.push(bytes, 0, bytes.length)
        const head = parseResponseHead(reader.text)
        if (head.type === 'error') return false
        const framing = responseFraming(head, 'GET')
        const body = bytes.toString('utf8', taken)
        const inside = html ? body.slice(body.indexOf('<h1>'), body.indexOf('<hr>')) : ''
        return (
          'kind' in framing &&
          framing.kind === 'length' &&
          framing.length === bytes.length - taken &&
          head.fields.length === (html ? 7 : 6) &&
          !/<(?!\/?(h1|p|b)>)/.test(inside)
        )
      },
    ),
    { seed: 7, numRuns: 2000 },
  )
})

t.test('Basic credentials', async (t) => {
  const fields = (...values: string[]) => values.map((value) => ({ name: 'Proxy-Authorization', value }))
  const say = (text: string) => `Basic ${Buffer.from(text).toString('base64')}`
  const users = oneUser('jürgen', 'pass:wörd')
  t.equal(permissionOf(fields(), undefined), 'granted', 'nothing is asked for')
  t.equal(permissionOf(fields(), users), 'none')
  t.equal(
    permissionOf(fields(say('jürgen:pass:wörd')), users),
    'granted',
    'UTF-8; a password may have a colon',
  )
  t.equal(permissionOf(fields(say('jürgen:pass:wörd').replace('Basic ', 'bASIC   ')), users), 'granted')
  const wrong = [
    say('jürgen:pass'),
    say('jürgen'),
    say(''),
    say('x:pass:wörd'),
    'Basic',
    'Basic !!!!',
    'Basic anVlcmdlbg== x',
    'Bearer abc',
    'NTLM TlRMTVNTUAAB',
    say('jürgen:pass:wörd').slice(6),
  ]
  for (const value of wrong) t.equal(permissionOf(fields(value), users), 'wrong', value)
  const right = say('jürgen:pass:wörd')
  t.equal(permissionOf(fields(right, right), users), 'wrong', 'said twice, two readers may differ')
  t.same(parseBasic(`Basic ${Buffer.from([0x3a]).toString('base64')}`), {
    user: Buffer.alloc(0),
    password: Buffer.alloc(0),
  })
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 80 }), fc.uint8Array({ maxLength: 80 }), (user, password) => {
      const name = Buffer.from(user.filter((octet) => octet !== 0x3a))
      const value = `Basic ${Buffer.concat([name, Buffer.from(':'), password]).toString('base64')}`
      const read = parseBasic(value)
      return read?.user.equals(name) === true && read.password.equals(password)
    }),
    { seed: 8 },
  )
})

t.test('what signs a whole connection in', async (t) => {
  const asks = (value: string) =>
    signsConnectionIn(request(`GET http://a/ HTTP/1.1\r\nAuthorization: ${value}\r\n\r\n`))
  for (const value of ['NTLM TlRM', 'Negotiate YII', 'Unheard-of x', '']) t.ok(asks(value), value)
  for (const value of ['Basic YTpi', 'bearer x', 'Digest username="a"']) t.notOk(asks(value), value)
  t.notOk(signsConnectionIn(request('GET http://a/ HTTP/1.1\r\n\r\n')))
  const told = (fields: string) => signsConnectionIn(response(`HTTP/1.1 401 X\r\n${fields}\r\n`))
  t.ok(told('WWW-Authenticate: NTLM\r\n'))
  t.ok(told('WWW-Authenticate: Basic realm="x", negotiate\r\n'))
  t.ok(told('WWW-Authenticate: Basic realm="x"\r\nWWW-Authenticate: Negotiate oYG2\r\n'))
  t.ok(told('Persistent-Auth: true\r\n'))
  t.notOk(told('WWW-Authenticate: Basic realm="ntlmish"\r\n'))
})

t.test('whether a connection to a server is good for another request', async (t) => {
  const persists = (version: string, fields: string, status = 200, method = 'GET') => {
    const head = response(`HTTP/${version} ${status} X\r\n${fields}\r\n`)
    const framing = responseFraming(head, method)
    if ('type' in framing) throw new Error(framing.message)
    return persistenceOf(head, framing)
  }
  t.same(persists('1.1', 'Content-Length: 1\r\n'), { timeout: undefined })
  t.same(persists('1.1', 'Transfer-Encoding: chunked\r\n'), { timeout: undefined })
  t.same(persists('1.1', 'Content-Length: 1\r\nKeep-Alive: max=5, timeout=5\r\n'), { timeout: 4000 })
  t.same(persists('1.0', 'Connection: keep-alive\r\nContent-Length: 1\r\n'), { timeout: undefined })
  t.same(persists('1.1', '', 304), { timeout: undefined })
  t.same(persists('1.1', '', 200, 'HEAD'), { timeout: undefined })
  const not: [string, string, number?][] = [
    ['1.1', ''],
    ['1.1', 'Content-Length: 1\r\nConnection: x, Close\r\n'],
    ['1.0', 'Content-Length: 1\r\n'],
    ['1.0', 'Connection: keep-alive\r\nTransfer-Encoding: chunked\r\n'],
    ['1.1', 'Content-Length: 1\r\nTransfer-Encoding: chunked\r\n'],
    ['1.1', 'Content-Length: 3\r\n', 204],
    ['1.1', 'Transfer-Encoding: chunked\r\n', 204],
  ]
  for (const [version, fields, status] of not) t.equal(persists(version, fields, status), undefined, fields)
})

t.test('trailers', async (t) => {
  const read = (text: string, strict = true) => {
    const reader = new BodyReader({ kind: 'chunked', codings: [] }, strict)
    const bytes = Buffer.from(`0\r\n${text}\r\n`, 'latin1')
    for (let i = 0; i < bytes.length; i++) reader.push(bytes, i, i + 1, { onSlice() {} })
    return reader
  }
  const good = read('A: b\r\nX-Sum:  \xe4 \r\n')
  t.same(good.trailers, [
    { name: 'A', value: 'b' },
    { name: 'X-Sum', value: '\xe4' },
  ])
  t.equal(emitLastChunk(good.trailers).toString('latin1'), '0\r\nA: b\r\nX-Sum: \xe4\r\n\r\n')
  t.same(read('').trailers, [])
  t.equal(emitLastChunk([]).toString(), '0\r\n\r\n')
  for (const text of ['A b: c\r\n', 'nothing\r\n', ': x\r\n', 'A : b\r\n']) {
    t.equal(read(text).error, 'a trailer is malformed', text)
  }
  t.match(read('nothing\r\n', false), { done: true, trailers: [] }, 'a response is not lost for them')
  const forbidden =
    'Content-Length: 5\r\nTransfer-Encoding: chunked\r\nHost: x\r\nAuthorization: x\r\nSet-Cookie: x\r\nProxy-Authorization: x\r\nConnection: x\r\nX-Ok: y\r\n'
  t.equal(emitLastChunk(read(forbidden).trailers).toString(), '0\r\nX-Ok: y\r\n\r\n')
  const head = request(
    'POST http://a/ HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\nTE: gzip, trailers\r\n\r\n',
  )
  const target = { host: 'a', port: 80, authority: 'a', path: '/' }
  const framing = requestFraming(head)
  if ('type' in framing) throw new Error(framing.message)
  t.equal(
    emitRequestHead(head, target, {
      framing,
      upgrade: undefined,
      via: undefined,
      persistent: false,
    }).toString(),
    'POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\nConnection: close, TE\r\nTE: trailers\r\n\r\n',
  )
  const old = request('PUT http://a/ HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n')
  t.notMatch(
    emitRequestHead(old, target, {
      framing: { kind: 'length', length: 1 },
      upgrade: undefined,
      via: undefined,
      persistent: false,
    }).toString(),
    /Expect/,
  )
})

t.test('property: whatever the chunks, extensions, trailers and pieces, the content is found', async () => {
  const word = fc.stringMatching(/^[a-z][a-z0-9-]{0,8}$/)
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.uint8Array({ minLength: 1, maxLength: 40 }), fc.option(word)), { maxLength: 8 }),
      fc.array(fc.tuple(word, fc.stringMatching(/^[!-~]{0,12}$/)), { maxLength: 4 }),
      fc.uint8Array({ maxLength: 10 }),
      fc.integer({ min: 1, max: 50 }),
      fc.boolean(),
      (chunks, trailers, behind, step, strict) => {
        const parts: Uint8Array[] = []
        for (const [content, extension] of chunks) {
          const line = `${content.length.toString(16)}${extension === null ? '' : `;${extension}=1`}\r\n`
          parts.push(Buffer.from(line), content, Buffer.from('\r\n'))
        }
        parts.push(Buffer.from(`0\r\n${trailers.map(([n, v]) => `${n}: ${v}\r\n`).join('')}\r\n`))
        const length = Buffer.concat(parts).length
        const bytes = Buffer.concat([...parts, behind])
        const reader = new BodyReader({ kind: 'chunked', codings: [] }, strict)
        const slices: Uint8Array[] = []
        let taken = 0
        for (let o = 0; o < bytes.length && !reader.done; o += step) {
          taken += reader.push(bytes, o, Math.min(bytes.length, o + step), {
            onSlice: (b, start, end) => void slices.push(b.slice(start, end)),
          })
        }
        const content = Buffer.concat(chunks.map(([octets]) => octets))
        return (
          reader.done &&
          taken === length &&
          Buffer.concat(slices).equals(content) &&
          JSON.stringify(reader.trailers) ===
            JSON.stringify(trailers.map(([name, value]) => ({ name, value })))
        )
      },
    ),
    { seed: 13, numRuns: 2000 },
  )
})
