/** Node's TLS over memory: both ends here, and hostile others. */
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import t from 'tap'
import type { TlsEngine, TlsEngineOptions } from '../../src/ppp/auth/eap/tls-engine.js'
import { type MemoryTlsOptions, memoryTls } from '../../src/transport/memory-tls.js'
import { readIdentity } from '../../src/transport/tls-identity.js'
import { fixture } from '../helpers/eap-conversation.js'
import { seededNumbers } from '../helpers/ppp.js'

const server = readIdentity({ certificate: fixture('server.pem'), key: fixture('server.key') })
const client = readIdentity({ certificate: fixture('client.pem'), key: fixture('client.key') })
const ca = fixture('ca.pem').toString()

/** An engine, and whoever waits for it. */
class End {
  readonly engine: TlsEngine
  activities = 0
  #wake: (() => void) | undefined

  constructor(options: Partial<MemoryTlsOptions>, engine: Partial<TlsEngineOptions>) {
    const factory = memoryTls({ judge: () => undefined, ...options })
    this.engine = factory({
      role: 'client',
      clientCertificate: true,
      onActivity: () => {
        this.activities += 1
        this.#wake?.()
      },
      ...engine,
    })
  }

  async settled(): Promise<void> {
    while (this.engine.busy) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
    }
  }

  feed(octets: Uint8Array): Promise<void> {
    this.engine.receive(octets, 0, octets.length)
    return this.settled()
  }
}

/** Flights to and fro until neither has more. */
async function shake(a: End, b: End): Promise<number> {
  let flights = 0
  await a.settled()
  await b.settled()
  for (let from = a, to = b, quiet = 0; quiet < 2; [from, to] = [to, from]) {
    const octets = from.engine.take()
    quiet = octets === undefined ? quiet + 1 : 0
    if (octets === undefined) continue
    flights += 1
    await to.feed(octets)
  }
  return flights
}

function pair(over: { client?: Partial<MemoryTlsOptions>; server?: Partial<MemoryTlsOptions> } = {}) {
  const a = new End({ ca, identity: client, ...over.client }, {})
  const b = new End({ ca, identity: server, ...over.server }, { role: 'server' })
  return { a, b, engines: [a.engine, b.engine] }
}

for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
  t.test(`${version}: handshake, data, keys`, async (t) => {
    const { a, b, engines } = pair({ server: { maxVersion: version } })
    t.equal(a.engine.exportKeyingMaterial(8, 'label'), undefined, 'not before the end')
    a.engine.write(Uint8Array.of(1))
    await shake(a, b)
    t.same(
      engines.map((e) => [e.state, e.protocol, e.busy]),
      [
        ['open', version, false],
        ['open', version, false],
      ],
    )
    t.equal(a.engine.peer?.name, 'radius.example.test')
    t.same(b.engine.peer?.names, ['alice@example.test'])
    t.equal(b.engine.peer?.issuer, 'Test EAP CA')
    t.equal(b.engine.read(), undefined, 'what was written too early is not sent')
    const bare = engines.map((e) => e.exportKeyingMaterial(32, 'client EAP encryption'))
    t.same(bare[0], bare[1])
    const context = engines.map((e) => e.exportKeyingMaterial(32, 'client EAP encryption', new Uint8Array(0)))
    t.same(context[0], context[1])
    if (version === 'TLSv1.2') t.notSame(bare[0], context[0], 'an empty context is not none')
    a.engine.write(Uint8Array.of(1, 2, 3))
    b.engine.write(new Uint8Array(60_000).fill(7))
    await shake(a, b)
    t.same([...(b.engine.read() ?? [])], [1, 2, 3])
    t.equal(a.engine.read()?.length, 60_000)
    t.equal(a.engine.read(), undefined)
    for (const engine of engines) engine.destroy()
  })

  t.test(`${version}: refused by judgement`, async (t) => {
    const seen: unknown[] = []
    const judge: MemoryTlsOptions['judge'] = ({ chain, fault }) => {
      seen.push([chain.length, fault])
      return { code: 'NO', message: 'no' }
    }
    const { a, b } = pair({
      client: { judge, ca: fixture('other-ca.pem').toString() },
      server: { maxVersion: version },
    })
    await shake(a, b)
    t.equal(seen.length, 1)
    t.match(seen[0], [Number, /SELF_SIGNED|UNABLE/])
    t.equal(a.engine.state, 'failed')
    t.same(a.engine.error, { kind: 'untrusted', code: 'NO', message: 'no' })
    t.equal(a.engine.take(), undefined)
    t.equal(a.engine.exportKeyingMaterial(8, 'label'), undefined)
    a.engine.destroy()
    b.engine.destroy()
  })
}

t.test('alerts become sentences', async (t) => {
  // TLS 1.3 alone against 1.2 alone.
  const a = new End({ maxVersion: 'TLSv1.2' }, {})
  const b = new End({ identity: server }, { role: 'server' })
  await a.settled()
  const hello = a.engine.take() ?? new Uint8Array(0)
  // A ClientHello that asks for nothing we have: its cipher suites all become one that does not exist.
  const at = 43 + 1 + (hello[43] ?? 0)
  const length = ((hello[at] ?? 0) << 8) | (hello[at + 1] ?? 0)
  hello.fill(0xfe, at + 2, at + 2 + length)
  await b.feed(hello)
  t.equal(b.engine.error?.kind, 'protocol')
  t.match(b.engine.error?.message, /no TLS version or cipher that both ends want/)
  const alert = b.engine.take()
  t.equal(alert?.[0], 21, 'an alert is left to be sent')
  await a.feed(alert ?? new Uint8Array(0))
  t.equal(a.engine.error?.kind, 'alert')
  t.match(a.engine.error?.message, /nothing that both ends can do/)
  a.engine.destroy()
  b.engine.destroy()
})

t.test('what is not TLS', async (t) => {
  const a = new End({}, {})
  await a.settled()
  await a.feed(Buffer.from('HTTP/1.1 400 Bad Request\r\n\r\n'))
  t.equal(a.engine.state, 'failed')
  t.equal(a.engine.error?.kind, 'protocol')
  t.match(a.engine.error?.message, /^what came is not TLS as it should be \(ERR_SSL_/)
  a.engine.destroy()
})

t.test('a flood costs its own engine', async (t) => {
  const a = new End({}, {})
  await a.settled()
  // A record that never ends, again and again: a handshake message of 16 MiB.
  const record = new Uint8Array(16_389)
  record.set([22, 3, 3, 0x40, 0, 2, 0xff, 0xff, 0xff])
  let fed = 0
  for (; fed < 200 && a.engine.state === 'handshake'; fed += 1) await a.feed(record)
  t.equal(a.engine.state, 'failed')
  t.ok(fed <= 65, `${fed} records`)
  a.engine.receive(record, 0, record.length)
  t.equal(a.engine.busy, false, 'what comes later is not looked at')
  a.engine.destroy()
})

t.test('application data that nobody reads', async (t) => {
  const { a, b } = pair()
  await shake(a, b)
  for (let i = 0; i < 10 && a.engine.state === 'open'; i += 1) {
    b.engine.write(new Uint8Array(30_000))
    await b.settled()
    await a.feed(b.engine.take() ?? new Uint8Array(0))
  }
  t.equal(a.engine.state, 'failed')
  t.equal(a.engine.error?.code, 'ERR_FLOOD')
  t.equal(a.engine.read(), undefined, 'and nothing of it is kept')
  a.engine.destroy()
  b.engine.destroy()
})

t.test('any octets in the middle of a handshake', async (t) => {
  const number = seededNumbers(3)
  for (let round = 0; round < 60; round += 1) {
    const { a, b } = pair({ server: { maxVersion: round % 2 === 0 ? 'TLSv1.2' : 'TLSv1.3' } })
    const victim = round % 4 < 2 ? a : b
    await a.settled()
    for (let flight = 0; flight < 6; flight += 1) {
      const octets = (flight % 2 === 0 ? a : b).engine.take()
      const to = flight % 2 === 0 ? b : a
      if (octets === undefined) break
      if (to === victim) {
        for (let i = 0; i < 1 + number(3); i += 1) octets[number(octets.length)] = number(256)
        if (number(4) === 0) await to.feed(octets.subarray(0, number(octets.length)))
        else await to.feed(octets)
      } else await to.feed(octets)
    }
    if (victim.engine.state === 'failed') t.match(victim.engine.error?.message, /^[^\n]{4,200}$/)
    a.engine.destroy()
    b.engine.destroy()
  }
})

t.test('nothing is heard of it after destroy, and nothing is left', async (t) => {
  const ends: End[] = []
  for (let i = 0; i < 6; i += 1) {
    const { a, b } = pair()
    await a.settled()
    if (i % 2 === 0) await shake(a, b)
    a.engine.write(Uint8Array.of(1))
    a.engine.receive(Uint8Array.of(22), 0, 1)
    ends.push(a, b)
  }
  const before = ends.map((end) => end.activities)
  for (const { engine } of ends) {
    engine.destroy()
    engine.destroy()
    t.equal(engine.busy, false)
    engine.receive(Uint8Array.of(22, 3, 1), 0, 3)
    engine.write(Uint8Array.of(1))
    t.equal(engine.take(), undefined)
  }
  for (let turn = 0; turn < 20; turn += 1) await new Promise((resolve) => setImmediate(resolve))
  t.same(
    ends.map((end) => end.activities),
    before,
  )
})

t.test('its memory can be had again', async (t) => {
  setFlagsFromString('--expose-gc')
  const gc = runInNewContext('gc') as () => void
  const make = async (): Promise<WeakRef<TlsEngine>[]> => {
    const { a, b, engines } = pair()
    await shake(a, b)
    const refs = engines.map((engine) => new WeakRef(engine))
    for (const engine of engines) engine.destroy()
    return refs
  }
  const refs = (await Promise.all(Array.from({ length: 20 }, make))).flat()
  // Node lets go of a destroyed socket some turns later.
  for (let turn = 0; turn < 50 && refs.some((ref) => ref.deref() !== undefined); turn += 1) {
    await new Promise((resolve) => setImmediate(resolve))
    gc()
  }
  t.ok(refs.filter((ref) => ref.deref() !== undefined).length <= 2, 'no more than the last ones are held')
})
