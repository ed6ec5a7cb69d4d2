/** Client against server, in virtual time. */
import t from 'tap'
import type { AuthName } from '../../src/ppp/auth/method.js'
import { frameHeader } from '../../src/ppp/frame.js'
import {
  clientOptions,
  type Loss,
  Pair,
  seededNumbers,
  seededRandom,
  serverOptions,
  toHex,
} from '../helpers/ppp.js'

const METHODS: readonly AuthName[] = ['mschapv2', 'chap', 'pap']
const hex = (bytes: Uint8Array | undefined): string => toHex(bytes ?? new Uint8Array(0))

for (const method of METHODS) {
  t.test(`${method}: up, and down from either end`, async (t) => {
    for (const first of ['client', 'server'] as const) {
      const pair = new Pair(
        clientOptions({ ipv6: true }),
        serverOptions({ auth: [method], ipv6: true }),
      ).start()
      t.ok(pair.up())
      t.ok(pair.now <= 110, `nothing waits for a timer: ${pair.now} ms`)
      pair.run(100, () => false)
      const [client, server] = [pair.client.event('authenticated'), pair.server.event('authenticated')]
      t.match(client, { method, user: 'User' })
      t.match(server, { method, user: 'User' })
      t.equal(hex(client?.hlak), hex(server?.hlak))
      t.equal(hex(client?.hlak) === '00'.repeat(32), method !== 'mschapv2')
      t.equal(client?.hlak.length, 32)
      const up = pair.client.event('ipv4-up')
      t.equal(hex(up?.local), '0a000005')
      t.equal(hex(up?.peer), '0a000001')
      t.same(up?.dns.map(hex), ['0a000001'])
      t.equal(hex(pair.server.event('ipv4-up')?.peer), '0a000005')
      t.ok(pair.client.link.ipv6Open && pair.server.link.ipv6Open)
      t.equal(hex(pair.client.event('ipv6-up')?.peer), hex(pair.server.event('ipv6-up')?.local))
      t.equal(pair.client.link.mtu, 1400)
      pair[first].link.terminate(pair.now)
      t.notOk(pair[first].link.ipv4Open, 'at once')
      t.ok(pair.ended())
      t.equal(pair[first].end, 'none')
      t.equal(pair[first === 'client' ? 'server' : 'client'].end, 'TERMINATED')
      const types = pair.client.types
      t.same(
        types.filter((type) => type !== 'trace'),
        [
          'lcp-up',
          'authenticated',
          ...types.filter((type) => type.endsWith('-up') && type !== 'lcp-up'),
          'ipv4-down',
          'ipv6-down',
          'terminated',
        ],
      )
      t.equal(pair.client.link.nextTimeout(), Number.POSITIVE_INFINITY, 'no timer is left')
      t.equal(pair.server.link.nextTimeout(), Number.POSITIVE_INFINITY)
    }
  })

  t.test(`${method}: a wrong password is tried once`, async (t) => {
    let tries = 0
    const lookup = (): string => {
      tries += 1
      return 'another'
    }
    const pair = new Pair(clientOptions(), serverOptions({ auth: [method], lookup })).start()
    t.ok(pair.run(2000, () => pair.client.end !== undefined))
    t.ok(pair.ended(3000))
    t.equal(pair.client.end, 'AUTH_REFUSED')
    t.equal(tries, 1)
    t.notOk(pair.server.types.includes('authenticated'))
    t.notOk(pair.client.types.includes('ipv4-up'))
  })

  t.test(`${method}: names and passwords that are not ASCII`, async (t) => {
    const user = 'CORP\\jürgen.€'
    const password = 'pässwörd€ 😀'
    const lookup = (name: string): string | undefined => (name === user ? password : undefined)
    const pair = new Pair(
      clientOptions({ user, password }),
      serverOptions({ auth: [method], lookup }),
    ).start()
    t.ok(pair.up())
    t.equal(pair.server.event('authenticated')?.user, user)
  })
}

t.test('the ends meet at a method that both have', async (t) => {
  for (const mine of [
    ['mschapv2'],
    ['chap'],
    ['pap'],
    ['pap', 'chap'],
    ['pap', 'mschapv2'],
  ] as AuthName[][]) {
    for (const theirs of [['mschapv2'], ['chap', 'pap'], ['mschapv2', 'chap', 'pap']] as AuthName[][]) {
      // The server asks for its best; a client that does not have it names its own best, or gets what is next.
      const agreed = [theirs[0], mine[0], ...theirs].find(
        (name) => name && mine.includes(name) && theirs.includes(name),
      )
      const pair = new Pair(clientOptions({ auth: mine }), serverOptions({ auth: theirs })).start()
      if (agreed === undefined) {
        t.ok(pair.ended())
        t.equal(pair.client.end, 'AUTH_METHOD', `${mine} and ${theirs}`)
        t.equal(pair.server.end, 'AUTH_METHOD')
      } else {
        t.ok(pair.up(), `${mine} and ${theirs}`)
        t.equal(pair.client.event('authenticated')?.method, agreed)
      }
    }
  }
})

/** Nothing repeats a CHAP Success by itself (RFC 1994 4.2), and TLS does not lose it. */
const isSuccess = (frame: Uint8Array): boolean => toHex(frame.subarray(2, 5)) === 'c22303'

t.test('any one frame may be lost', async (t) => {
  for (const method of METHODS) {
    for (const from of ['client', 'server'] as const) {
      const failures: string[] = []
      for (let lost = 1; lost <= 8; lost += 1) {
        const loss: Loss = (end, n, frame) => end === from && n === lost && !isSuccess(frame)
        const pair = new Pair(clientOptions(), serverOptions({ auth: [method] }), loss).start()
        const up = pair.up()
        if (!up || pair.now > 10_000) {
          const why = `${pair.client.link.error?.message}, ${pair.server.link.error?.message}`
          failures.push(`${method}: frame ${lost} of the ${from}: ${pair.now} ms; ${why}`)
        }
      }
      t.same(failures, [])
    }
  }
})

t.test('many lost frames: either it comes up or it ends, and the ends agree on the key', async (t) => {
  let up = 0
  for (let seed = 1; seed <= 60; seed += 1) {
    const next = seededNumbers(seed)
    const method = METHODS[seed % 3] ?? 'pap'
    const pair = new Pair(
      clientOptions({ random: seededRandom(seed), ipv6: true }),
      serverOptions({ auth: [method], random: seededRandom(-seed), ipv6: true }),
      (_end, _n, frame) => next(100) < 15 && !isSuccess(frame),
      5 + next(50),
    ).start()
    const over = (): boolean => pair.client.end !== undefined || pair.server.end !== undefined
    const done = pair.run(200_000, () => over() || (pair.client.link.ipv4Open && pair.server.link.ipv4Open))
    t.ok(done, `seed ${seed}`)
    if (over()) continue
    up += 1
    t.equal(hex(pair.client.event('authenticated')?.hlak), hex(pair.server.event('authenticated')?.hlak))
    t.equal(hex(pair.client.event('ipv4-up')?.local), '0a000005')
  }
  t.ok(up >= 50, `${up} of 60 came up`)
})

t.test('a lost CHAP Success does not hang the call for ever', async (t) => {
  const pair = new Pair(clientOptions(), serverOptions(), (_end, _n, frame) => isSuccess(frame)).start()
  t.ok(pair.ended(61_000))
  t.notOk(pair.client.types.includes('authenticated'), 'IPCP packets are no proof')
})

t.test('a round trip longer than the restart timer', async (t) => {
  const pair = new Pair(clientOptions(), serverOptions(), () => false, 2000).start()
  t.ok(pair.up(120_000), `${pair.client.link.error?.message}, ${pair.server.link.error?.message}`)
})

t.test('nobody on the other side', async (t) => {
  const pair = new Pair(clientOptions(), serverOptions(), () => true).start()
  t.ok(pair.ended())
  t.equal(pair.now, 30_000)
  t.equal(pair.client.end, 'NO_ANSWER')
  t.equal(pair.server.end, 'NO_ANSWER')
})

t.test('an open link that falls silent ends at both ends', async (t) => {
  let cut = false
  const pair = new Pair(clientOptions(), serverOptions(), () => cut).start()
  t.ok(pair.up())
  pair.run(300_000, () => false)
  t.ok(pair.client.link.ipv4Open && pair.server.link.ipv4Open, 'echoes keep it')
  cut = true
  t.ok(pair.ended(200_000))
  t.equal(pair.client.end, 'LCP_NO_ECHO')
  t.equal(pair.server.end, 'LCP_NO_ECHO')
})

t.test('a server without methods lets in a client that permits it', async (t) => {
  const strict = new Pair(clientOptions(), serverOptions({ auth: [] })).start()
  t.ok(strict.ended())
  t.equal(strict.client.end, 'AUTH_NONE')
  const open = new Pair(clientOptions({ requireAuth: false }), serverOptions({ auth: [] })).start()
  t.ok(open.up())
  t.equal(open.server.event('authenticated')?.method, 'none')
})

t.test('IPv6 at one end only', async (t) => {
  const pair = new Pair(clientOptions({ ipv6: true }), serverOptions({ ipv6: false })).start()
  t.ok(pair.up())
  pair.run(100, () => false)
  t.match(pair.client.event('ipv6-down')?.error, { code: 'REJECTED' })
  t.ok(pair.client.link.ipv4Open)
})

t.test('output waits for room, and the queue is bounded', async (t) => {
  const pair = new Pair(clientOptions(), serverOptions())
  pair.client.start()
  const small = new Uint8Array(17)
  t.equal(pair.client.link.output(small, 0), 0)
  t.equal(pair.client.link.output(new Uint8Array(18), 1), 0)
  t.ok(pair.client.link.hasOutput)
  t.equal(pair.client.link.output(new Uint8Array(18), 0), 18)
  t.notOk(pair.client.link.hasOutput)
  const flood = new Pair(clientOptions(), serverOptions()).start()
  t.ok(flood.up())
  for (let n = 0; n < 5000; n += 1) flood.client.say(0xc021, 9, n & 255, '00000000')
  t.equal(flood.client.frames().length, 64)
})

t.test('traces tell the dialogue without its secrets', async (t) => {
  for (const method of METHODS) {
    const pair = new Pair(
      clientOptions({ trace: true }),
      serverOptions({ auth: [method], trace: true }),
    ).start()
    t.ok(pair.up())
    const lines = [...pair.client.events, ...pair.server.events].flatMap((event) =>
      event.type === 'trace' ? [event.message] : [],
    )
    t.ok(lines.length > 20)
    t.ok(lines.includes('> IPCP Configure-Request id 1: address 0.0.0.0, dns 0.0.0.0, second dns 0.0.0.0'))
    t.notMatch(lines.join('\n'), /clientPass|S=[0-9A-F]/)
  }
})

t.test('frames are FF 03 and two octets of protocol', async (t) => {
  const pair = new Pair(clientOptions(), serverOptions())
  pair.client.start()
  for (const frame of pair.client.frames()) t.equal(frameHeader(frame, 0, frame.length), 4)
})
