import { Duplex } from 'node:stream'
import type { TLSSocket } from 'node:tls'
import t from 'tap'
import { AddressPool } from '../../src/gateway/address-pool.js'
import { ClientCall } from '../../src/gateway/client-call.js'
import { LoginGuard } from '../../src/gateway/login-guard.js'
import { ownAddress } from '../../src/gateway/policy.js'
import type { OpenPort } from '../../src/gateway/radius/port.js'
import { RadiusService } from '../../src/gateway/radius/service.js'
import { Reporter } from '../../src/gateway/reporter.js'
import { ipv6Plan } from '../../src/gateway/router.js'
import { IpAddress } from '../../stack/index.js'
import { ClientEnd, IPV6, Line, Loop } from '../helpers/hostile.js'
import { type Attr, answer, int, SECRET, type Seen, seen } from '../helpers/radius-server.js'

/** A connection whose peer takes nothing: no write ever ends. */
class Stuck extends Duplex {
  override _read(): void {}
  override _write(): void {}
  destroySoon(): void {
    if (this.writable) this.end()
    if (this.writableFinished) this.destroy()
    else this.once('finish', () => this.destroy())
  }
}

t.test('a peer that takes nothing more cannot keep its connection', async (t) => {
  const timers: { ms: number; expire: () => void }[] = []
  const real = globalThis.setTimeout
  const cleared: unknown[] = []
  const realClear = globalThis.clearTimeout
  t.teardown(() => Object.assign(globalThis, { setTimeout: real, clearTimeout: realClear }))
  Object.assign(globalThis, {
    setTimeout: (expire: () => void, ms: number) => timers[timers.push({ ms, expire }) - 1],
    clearTimeout: (timer: unknown) => cleared.push(timer),
  })
  const pool = new AddressPool('192.168.30.0/24')
  const socket = new Stuck()
  const over = new Promise<ClientCall>((resolve) => {
    const call = new ClientCall(
      { id: 1, from: 'x', source: 'x', deadline: Number.POSITIVE_INFINITY, quiet: false },
      socket as unknown as TLSSocket,
      {
        options: { address: '', port: 0, cert: '', key: '', accounts: { password: () => undefined } },
        pool,
        own: ownAddress(pool.gateway),
        dns: [],
        certificate: new Uint8Array(1),
        guard: new LoginGuard(),
        reporter: new Reporter(undefined, () => 0),
      },
      { known: () => true, over: resolve },
    )
    socket.write('what waits')
    call.start(new Uint8Array(0))
    socket.push(null)
  })
  await over
  t.notOk(socket.destroyed, 'it may still take what waits')
  const timer = timers.find(({ ms }) => ms === 3000)
  t.ok(timer)
  const closed = new Promise((resolve) => socket.once('close', resolve))
  timer?.expire()
  await closed
  t.ok(socket.destroyed)
  t.ok(cleared.includes(timer))
})

/** A call with a RADIUS server that lets everybody in, in virtual time. */
function withRadius(attributes: readonly Attr[], ipv6Prefix?: string) {
  const loop = new Loop()
  loop.now = 1000
  const clock = (): number => loop.now
  const line = new Line(loop)
  const records: Seen[] = []
  const openPort: OpenPort = (_server, owner) => ({
    send(packet) {
      const request = seen(Buffer.from(packet))
      if (request.code === 4) records.push(request)
      loop.soon(() => owner.received(answer(request, request.code === 4 ? 5 : 2, attributes)))
    },
    close() {},
  })
  const server = { host: 'a', port: 1812, secret: SECRET }
  const setTimer = (callback: () => void, ms: number): (() => void) => {
    const due = loop.at(loop.now + ms, callback)
    return () => loop.cancel(due)
  }
  const radius = new RadiusService(
    {
      servers: [server],
      accounting: [server],
      nasIdentifier: 'gate',
      clock: { now: clock, setTimer },
      openPort,
    },
    (code) => t.fail(code),
  )
  const pool = new AddressPool('10.9.0.0/24')
  const state = { over: 0 }
  const call = new ClientCall(
    { id: 1, from: 'x', source: 'x', deadline: 121_000, quiet: false },
    line as unknown as TLSSocket,
    {
      options: {
        address: '',
        port: 0,
        cert: '',
        key: '',
        accounts: { password: () => undefined },
        auth: ['pap'],
      },
      pool,
      own: ownAddress(pool.gateway),
      ...(ipv6Prefix === undefined ? {} : { ipv6: ipv6Plan(ipv6Prefix) }),
      dns: [],
      certificate: new TextEncoder().encode('a certificate'),
      guard: new LoginGuard(),
      radius,
      reporter: new Reporter(undefined, clock),
      clock,
      turns: loop,
    },
    { known: () => true, over: () => void state.over++ },
  )
  const client = new ClientEnd(loop, {
    auth: ['pap'],
    client: { ipv4: ipv6Prefix === undefined, ipv6: ipv6Prefix !== undefined, mru: 1300 },
  })
  client.wire.deliver = (b) => void line.emit('data', Buffer.from(b))
  line.wire.deliver = (b) => client.hear(b)
  call.start(new Uint8Array(0))
  client.start()
  const pass = (ms: number): void => loop.until(loop.now + ms)
  const cause = (): number | undefined => records.at(-1)?.all(49)[0]?.readUInt32BE(0)
  return { call, client, line, pass, records, state, cause }
}

const PREFIX = 'fd12:3456:789a:1::/64'

t.test('Idle-Timeout is not put off by the advertisements that the gateway itself sends', (t) => {
  const { pass, records, state, cause } = withRadius([int(28, 900)], PREFIX)
  pass(5_000)
  t.equal(records.length, 1, 'the start')
  pass(890_000)
  t.equal(state.over, 0)
  pass(900_000 + 20_000)
  t.equal(state.over, 1)
  t.equal(cause(), 4, 'Idle Timeout')
  t.end()
})

t.test('a client that has vanished is a lost carrier to RADIUS, whichever echo finds it out', (t) => {
  const { line, client, pass, records, state, cause } = withRadius([])
  pass(5_000)
  t.ok(client.up)
  t.equal(records.length, 1)
  client.wire.rule = () => undefined
  line.wire.rule = () => undefined
  pass(150_000)
  t.equal(state.over, 1)
  t.equal(cause(), 2, 'Lost Carrier')
  t.end()
})

t.test("a client of IPv6 only gets packets of its own MRU's size", (t) => {
  const { client, line, pass } = withRadius([], PREFIX)
  pass(5_000)
  t.ok(client.call.ppp.ipv6Open)
  t.notOk(client.call.ppp.ipv4Open)
  const sizes: number[] = []
  line.wire.rule = (packet) => {
    if (packet.readUInt16BE(6) === IPV6) sizes.push(packet.length - 8)
    return packet
  }
  client.stack.addAddress(IpAddress.parse('fd12:3456:789a:1::5') as IpAddress)
  const ping = client.stack.openPing()
  t.equal(ping?.send(IpAddress.parse('fd12:3456:789a:1::1') as IpAddress, 1, new Uint8Array(1350)), undefined)
  client.driver.wake()
  pass(1_000)
  t.equal(sizes.length, 2, 'the answer comes in two fragments')
  t.ok(Math.max(...sizes) <= 1300, `of ${sizes.join(' and ')} octets`)
  line.destroy()
  t.end()
})
