/** Whatever a proxy says: a way, another connection, or one `CallError`; never more, never for ever. */
import t, { type Test } from 'tap'
import { CallError } from '../../../src/transport/errors.js'
import { HttpConnect } from '../../../src/transport/upstream/http-connect.js'
import { SocksConnect } from '../../../src/transport/upstream/socks.js'
import type { Exchange, Upstream } from '../../../src/transport/upstream/upstream.js'
import { SeededRandom } from '../../helpers/random.js'

const SECRET = 'Xy7-secret'
const upstream: Upstream = { scheme: 'http', host: 'proxy', port: 1, user: 'u', password: SECRET }

const HTTP = [
  'HTTP/1.1 200 OK\r\n\r\n',
  'HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nVia: x\r\n\r\nrest',
  'HTTP/1.1 407 Auth\r\nProxy-Authenticate: Digest realm="r", nonce="n", qop="auth", stale=true\r\nContent-Length: 3\r\n\r\nabc',
  'HTTP/1.1 407 Auth\r\nProxy-Authenticate: NTLM, Negotiate abc==, Basic realm="r"\r\nContent-Length: 0\r\n\r\n',
  'HTTP/1.1 407 Auth\r\nProxy-Authenticate: Basic\r\nConnection: close\r\n\r\n',
  'HTTP/1.1 407 x\r\nProxy-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n'.repeat(2),
  'HTTP/1.1 503 No\r\nX-Squid-Error: ERR_DNS_FAIL 0\r\nContent-Length: 2\r\n\r\nno',
  'HTTP/1.0 403 Forbidden\r\n\r\n<html>',
].map((text) => Buffer.from(text, 'latin1'))

const SOCKS = [
  [5, 0, 5, 0, 0, 1, 1, 2, 3, 4, 0, 80, 99],
  [5, 2, 1, 0, 5, 0, 0, 3, 3, 97, 98, 99, 0, 80],
  [5, 2, 1, 1],
  [5, 0, 5, 0, 0, 4, ...new Array<number>(16).fill(1), 0, 80],
  [5, 0, 5, 4, 0, 1, 0, 0, 0, 0, 0, 0],
  [5, 255],
].map((octets) => Buffer.from(octets))

function mutate(random: SeededRandom, seeds: readonly Buffer[]): Buffer {
  let b = Buffer.from(seeds[random.below(seeds.length)] ?? Buffer.alloc(0))
  for (let n = random.below(6); n > 0; n--) {
    const at = random.below(b.length + 1)
    const other = seeds[random.below(seeds.length)] ?? Buffer.alloc(0)
    switch (random.below(5)) {
      case 0:
        if (at < b.length) b[at] = random.below(256)
        break
      case 1:
        b = Buffer.concat([b.subarray(0, at), random.bytes(random.below(8)), b.subarray(at)])
        break
      case 2:
        b = Buffer.concat([b.subarray(0, at), b.subarray(at + random.below(8))])
        break
      case 3:
        b = Buffer.concat([b, other])
        break
      default:
        b = Buffer.concat([
          b.subarray(0, at),
          Buffer.alloc(random.below(30_000), b[at] ?? 65),
          b.subarray(at),
        ])
    }
  }
  return b
}

/** What became of it, with each connection's octets cut as `cut` says. */
function outcome(t: Test, exchange: Exchange, data: Buffer, cut: () => number): string {
  exchange.start()
  let connections = 1
  let sent = 0
  try {
    for (let at = 0; at < data.length; ) {
      const n = Math.max(1, cut())
      // A buffer that is used again, as sockets have them.
      const chunk = Buffer.from(data.subarray(at, at + n))
      at += n
      const progress = exchange.push(chunk)
      if (progress.type === 'open') {
        const rest = Buffer.from(progress.rest)
        chunk.fill(0)
        if (!rest.equals(progress.rest)) t.fail('what came behind is a view of memory that is used again')
        return `open ${rest.length + Math.max(0, data.length - at)}`
      }
      if (progress.type === 'again') {
        if (++connections > 6) throw new Error('for ever')
        exchange.start()
      } else if (progress.send !== undefined && ++sent > 6) throw new Error('for ever')
    }
  } catch (error) {
    if (!(error instanceof CallError)) throw error
    if (`${error.message}${error.hint ?? ''}`.includes(SECRET)) t.fail('a secret')
    if (!/^[\x20-\x7e]+$/.test(error.message)) t.fail(`not a line: ${JSON.stringify(error.message)}`)
    return error.code
  }
  const end = exchange.ended()
  if (end !== 'again') t.type(end, CallError)
  return 'more'
}

t.test('HTTP answers, mutated and cut in any way', async (t) => {
  const random = new SeededRandom(407)
  const seen = new Map<string, number>()
  for (let round = 0; round < 4000; round++) {
    const data = mutate(random, HTTP)
    const made = (): Exchange => new HttpConnect(upstream, 'vpn.example:443', () => 'c')
    const whole = outcome(t, made(), data, () => data.length)
    const cut = outcome(t, made(), data, () => 1 + random.below(40))
    // What comes behind a 407 unasked may be taken for the next answer if it comes late, and the page that
    // says that a name is not known may not be there yet. Control characters end a head only while it comes.
    const odd = data.some((octet) => octet < 32 && octet !== 9 && octet !== 10 && octet !== 13)
    const depends = odd || data.includes('407') || whole === 'PROXY_CANNOT_RESOLVE'
    if (!depends && whole !== cut)
      t.fail(`${whole} is not ${cut}: ${JSON.stringify(data.toString('latin1', 0, 200))}`)
    for (const found of [whole, cut]) {
      const name = found.split(' ')[0] ?? ''
      seen.set(name, (seen.get(name) ?? 0) + 1)
    }
  }
  for (const code of ['open', 'more', 'PROXY_PROTOCOL', 'PROXY_FORBIDDEN', 'PROXY_CREDENTIALS_WRONG']) {
    t.ok((seen.get(code) ?? 0) > 10, `${code}: ${seen.get(code)}`)
  }
})

t.test('SOCKS answers, mutated and cut in any way', async (t) => {
  const random = new SeededRandom(1928)
  const seen = new Map<string, number>()
  for (let round = 0; round < 4000; round++) {
    const data = mutate(random, SOCKS)
    // The messages as they are asked for: a proxy that answers early is refused.
    let step = 0
    const lengths = data[1] === 2 ? [2, 2] : [2]
    const cut = (): number => lengths[step++] ?? 1 + random.below(20)
    const found = outcome(t, new SocksConnect(upstream, 'vpn.example', 443), data, cut)
    const name = found.split(' ')[0] ?? ''
    seen.set(name, (seen.get(name) ?? 0) + 1)
  }
  for (const code of ['open', 'more', 'PROXY_PROTOCOL', 'PROXY_CANNOT_REACH', 'PROXY_CREDENTIALS_WRONG']) {
    t.ok((seen.get(code) ?? 0) > 10, `${code}: ${seen.get(code)}`)
  }
})
