import t from 'tap'
import {
  acceptHead,
  HeadReader,
  judgeRequest,
  MAX_HEAD,
  refusal,
  refuseHead,
  requestHead,
  responseStatus,
} from '../../src/transport/http-handshake.js'
import { SeededRandom } from '../helpers/random.js'
import { ways } from '../helpers/reader.js'

const text = (s: string): Uint8Array => Buffer.from(s, 'latin1')

function read(chunks: readonly Uint8Array[]): { reader: HeadReader; state: string; left: Uint8Array } {
  const reader = new HeadReader()
  let state = 'more'
  let i = 0
  while (i < chunks.length && state === 'more') {
    const c = chunks[i++] as Uint8Array
    state = reader.push(c, 0, c.length)
  }
  return { reader, state, left: Buffer.concat([reader.rest, ...chunks.slice(i)]) }
}

t.test('the request head is what servers compare exactly', (t) => {
  const head = Buffer.from(requestHead('vpn.example.com', 443, new Uint8Array(16))).toString()
  t.match(head, /^SSTP_DUPLEX_POST \/sra_\{BA195980-CD49-458b-9E23-C84EE0ADCD75\}\/ HTTP\/1\.1\r\n/)
  t.match(head, /\r\nContent-Length: 18446744073709551615\r\n/)
  t.match(head, /\r\nHost: vpn\.example\.com\r\n/)
  t.match(head, /\r\nSSTPCORRELATIONID: \{00000000-0000-4000-8000-000000000000\}\r\n\r\n$/)
  t.notMatch(head, /Expect|Connection|Transfer-Encoding/i)
  t.match(Buffer.from(requestHead('h', 8443, new Uint8Array(16))).toString(), /\r\nHost: h:8443\r\n/)
  t.match(
    Buffer.from(requestHead('fd00::1', 443, new Uint8Array(16))).toString(),
    /\r\nHost: \[fd00::1\]\r\n/,
  )
  t.match(
    Buffer.from(requestHead('fe80::1%eth0', 443, new Uint8Array(16))).toString(),
    /\r\nHost: \[fe80::1\]\r\n/,
    'a zone is ours alone',
  )
  t.end()
})

t.test('response heads of real servers are understood in every cut, and what follows is kept', (t) => {
  const heads = [
    'HTTP/1.1 200\r\nContent-Length: 18446744073709551615\r\nServer: Microsoft-HTTPAPI/2.0\r\n\r\n',
    'HTTP/1.1 200 \r\nServer: MikroTik-SSTP\r\n\r\n',
    'HTTP/1.1 200 OK\r\nDate: x\r\nConnection: keep-alive\r\n\r\n',
    'HTTP/1.0 200 OK\r\n\r\n',
    Buffer.from(acceptHead('Thu, 01 Jan 2026 00:00:00 GMT')).toString(),
  ]
  const behind = Uint8Array.from([0x10, 1, 0, 8, 0, 8, 0, 0, 0x0d, 0x0a, 0x0d, 0x0a])
  for (const head of heads) {
    for (const way of ways(Buffer.concat([text(head), behind]))) {
      const { reader, state, left } = read(way.chunks)
      t.equal(state, 'done', way.name)
      t.equal(reader.head && responseStatus(reader.head)?.status, 200, way.name)
      t.same(Buffer.from(left), Buffer.from(behind), `${way.name}: SSTP behind the head is kept`)
    }
  }
  t.end()
})

t.test('what is not HTTP is known for it at once, and endless heads end', (t) => {
  t.equal(new HeadReader().push(Uint8Array.from([0, 1, 2, 3]), 0, 4), 'bad')
  t.equal(new HeadReader('HTTP/').push(text('220 mail'), 0, 8), 'bad')
  t.equal(new HeadReader('HTTP/').push(text('HTT'), 0, 3), 'more')
  t.equal(read([text('SSH-2.0-OpenSSH_9.2\r\n\r\n')]).reader.head?.first, 'SSH-2.0-OpenSSH_9.2')
  const ssh = read([text('SSH-2.0-OpenSSH_9.2\r\n\r\n')]).reader.head
  t.equal(ssh && responseStatus(ssh), undefined)
  const reader = new HeadReader()
  let state = 'more'
  let fed = 0
  while (state === 'more' && fed < 10 * MAX_HEAD) {
    state = reader.push(text('a'.repeat(1000)), 0, 1000)
    fed += 1000
  }
  t.equal(state, 'bad')
  t.ok(fed <= MAX_HEAD + 2000, 'the head is bounded')
  t.end()
})

t.test('a refusal says what kind of server it is, on one line', (t) => {
  for (const [status, kind] of [
    [200, 'protocol'],
    [301, 'protocol'],
    [400, 'protocol'],
    [401, 'protocol'],
    [403, 'protocol'],
    [404, 'protocol'],
    [405, 'protocol'],
    [407, 'protocol'],
    [501, 'protocol'],
    [503, 'unreachable'],
  ] as const) {
    const { reader } = read([text(`HTTP/1.1 ${status} Some\u0007 thing\r\nServer: nginx\u001b[31m\r\n\r\n`)])
    t.ok(reader.head)
    if (reader.head === undefined) continue
    const error = refusal(reader.head, '<html><title>It\nworks</title>')
    t.equal(error.kind, kind, String(status))
    t.notMatch(error.message + (error.hint ?? ''), /[^\x20-\x7e]/, 'no control characters of a stranger')
    t.match(error.message, String(status))
  }
  t.end()
})

t.test('a server judges request heads', (t) => {
  const judge = (line: string): number | undefined => {
    const { reader } = read([text(`${line}\r\nHost: x\r\n\r\n`)])
    return reader.head && judgeRequest(reader.head)
  }
  const path = '/sra_{BA195980-CD49-458b-9E23-C84EE0ADCD75}/'
  t.equal(judge(`SSTP_DUPLEX_POST ${path} HTTP/1.1`), 200)
  t.equal(judge(`SSTP_DUPLEX_POST ${path.toUpperCase()} HTTP/1.1`), 200)
  t.equal(judge(`SSTP_DUPLEX_POST / HTTP/1.1`), 404)
  t.equal(judge(`GET ${path} HTTP/1.1`), 405)
  t.equal(judge('GET / HTTP/1.1'), 404)
  t.equal(judge('nonsense'), 400)
  t.equal(judge(`SSTP_DUPLEX_POST ${path} HTTP/2.0`), 400)
  t.match(Buffer.from(refuseHead(405)).toString(), /^HTTP\/1\.1 405 .*\r\nAllow: SSTP_DUPLEX_POST\r\n/)
  t.end()
})

t.test('any octets in any cut are a head, more, or bad', (t) => {
  const random = new SeededRandom(7)
  const seed = text('HTTP/1.1 200 OK\r\nServer: x\r\nA: b\r\n\r\nrest')
  for (let i = 0; i < 20_000; i++) {
    const bytes = Uint8Array.from(seed)
    for (let n = random.below(6); n > 0; n--) bytes[random.below(bytes.length)] = random.below(256)
    const reader = new HeadReader()
    const at = random.below(bytes.length)
    reader.push(bytes, 0, at)
    reader.push(bytes, at, bytes.length - at)
    if (reader.head !== undefined) {
      responseStatus(reader.head)
      judgeRequest(reader.head)
      refusal(reader.head, reader.rest.toString('latin1'))
    }
  }
  t.pass('nothing was thrown')
  t.end()
})
