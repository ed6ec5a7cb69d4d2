/** Hostile clients against the gateway's part of a call, behind TLS and HTTP, in virtual time. */
import type { Socket } from 'node:net'
import t, { type Test } from 'tap'
import { LoginGuard } from '../../src/gateway/login-guard.js'
import { controlPacket } from '../../src/sstp/packet.js'
import { IpAddress, type TcpConnection, TcpState } from '../../stack/index.js'
import {
  assertOneLine,
  CHAP,
  Door,
  EAP,
  frame,
  IPCP,
  IPV4,
  LCP,
  Loop,
  messageOf,
  PAP,
  ppp,
  read,
} from '../helpers/hostile.js'
import { tcpServer } from '../helpers/servers.js'

const REQUEST = controlPacket('CALL_CONNECT_REQUEST', [{ kind: 'ENCAPSULATED_PROTOCOL_ID', protocol: 1 }])

/** It is over by then, told so once in one line, and nothing is left of it. */
function ended(t: Test, door: Door, within: number, reason: RegExp): void {
  const from = door.loop.now
  while (door.over === 0 && door.loop.now < from + within) door.pass(100)
  t.equal(door.over, 1, `over after ${door.loop.now - from} ms, in time`)
  t.equal(door.events.filter((e) => e.type === 'closed').length, 1, 'told once')
  t.match(door.reason, reason)
  assertOneLine(door.reason ?? '')
  t.equal(door.pool.used, 0, 'no address is kept')
  door.pass(10_000)
  t.equal(door.loop.pending, 0, 'no timer is left')
}

t.test('a client that says nothing, or nothing more, has 30 s until LCP is agreed on', (t) => {
  ended(t, new Door().start(), 34_000, /did not set its call up in time/)
  const half = new Door().start().say(REQUEST)
  ended(t, half, 42_000, /in time|no answer to LCP/)
  t.end()
})

t.test('nor has one that never stops to talk', (t) => {
  const talks: [string, (door: Door, n: number) => Uint8Array, RegExp][] = [
    ['LCP requests with new numbers', (_d, n) => ppp(LCP, 1, n, `0506${hex32(n)}`), /in time|no answer/],
    ['LCP requests to be refused', (_d, n) => ppp(LCP, 1, n, '0d0306'), /cannot be agreed on/],
    ['echo requests', (_d, n) => ppp(LCP, 9, n, '00000000'), /in time|no answer/],
    ['code rejects', (_d, n) => ppp(LCP, 7, n, `0f${hex32(n)}`), /in time|no answer/],
    ['unknown codes', (_d, n) => ppp(LCP, 200, n), /in time|no answer/],
    ['IP packets', () => frame(IPV4, new Uint8Array(100)), /in time|no answer/],
  ]
  for (const [what, packet, reason] of talks) {
    const door = new Door().start().say(REQUEST)
    for (let n = 0; door.over === 0 && n < 2000; n++) door.say(packet(door, n)).pass(50)
    t.ok(door.loop.now < 1000 + 45_000, `${what}: ${door.loop.now - 1000} ms`)
    ended(t, door, 10_000, reason)
  }
  t.end()
})

t.test('a client that has IPv6 and never answers to IPCP is up after 3 s, and told of once', (t) => {
  const door = new Door({ ipv6Prefix: 'fd12:3456:789a:1::/64' }).start()
  const client = door.client({ client: { ipv4: false, ipv6: true } })
  client.wire.rule = (packet) => {
    const { protocol, code } = read(packet)
    return protocol === LCP && code === 8 ? undefined : packet
  }
  const ups = () => door.events.filter(({ type }) => type === 'up')
  door.pass(2_900)
  t.ok(client.call.ppp.ipv6Open)
  t.same(ups(), [], 'it may still have IPv4')
  door.pass(200)
  t.match(ups(), [{ user: 'alice', address: /^fe80::/ }])
  door.pass(300_000)
  t.equal(ups().length, 1)
  t.equal(door.over, 0, 'it goes on')
  client.call.close(door.loop.now)
  client.driver.wake()
  door.pass(15_000)
  t.equal(door.over, 1)
  t.equal(door.reason, '', 'that it had no IPv4 is not why')
  t.equal(door.pool.used, 0)
  t.equal(door.loop.pending, 0, 'no timer is left')
  t.end()
})

function hex32(n: number): string {
  return (n + 0x1000_0000).toString(16)
}

t.test('SSTP requests that are refused again and again', (t) => {
  const door = new Door().start()
  const bad = controlPacket('CALL_CONNECT_REQUEST', [{ kind: 'ENCAPSULATED_PROTOCOL_ID', protocol: 2 }])
  for (let n = 0; n < 1000; n++) door.say(bad)
  ended(t, door, 10_000, /refused 3 times/)
  t.ok(door.line.wire.octets < 1000, `${door.line.wire.octets} octets were said to it`)
  t.end()
})

t.test('whatever it says, before it has signed in it may say 256 KiB', (t) => {
  const noise: [string, Uint8Array][] = [
    ['echo requests', ppp(LCP, 9, 1, new Uint8Array(1000))],
    ['nothing SSTP knows', frame(0x1234, new Uint8Array(500))],
    ['small ones', frame(LCP, new Uint8Array(0))],
  ]
  for (const [what, packet] of noise) {
    const door = new Door().start().say(REQUEST)
    let said = 0
    while (!door.line.destroyed && said < 4 << 20) {
      door.say(packet)
      said += packet.length
      if (said % 65_536 < packet.length) door.pass(1)
    }
    t.ok(said <= 264_000, `${what}: ${said} octets`)
    ended(t, door, 5000, /256 KiB without signing in/)
  }
  t.end()
})

t.test('garbage instead of SSTP ends it without a word', (t) => {
  for (const bytes of [
    'GET / HTTP/1.1\r\n',
    '\x10\x00\x00\x03',
    '\x10\x01\x00\x07abc',
    '\x20\x01\x00\x08abcd',
  ]) {
    const door = new Door().start().say(Buffer.from(bytes, 'latin1'))
    ended(t, door, 5000, /cannot be cut into|not SSTP version|too short/)
  }
  t.end()
})

t.test('a log-in that never ends is ended, however lively the client is', (t) => {
  const protocols = { mschapv2: CHAP, chap: CHAP, pap: PAP, 'eap-mschapv2': EAP }
  for (const auth of ['mschapv2', 'chap', 'pap', 'eap-mschapv2'] as const) {
    const door = new Door({ auth: [auth] }).start()
    const client = door.client({ auth: [auth] })
    client.wire.rule = (packet) => (read(packet).protocol === protocols[auth] ? undefined : packet)
    for (let n = 0; door.over === 0 && n < 4000; n++) door.say(ppp(LCP, 9, n, '00000000')).pass(50)
    t.ok(door.loop.now < 1000 + 125_000, `${auth}: ${door.loop.now - 1000} ms`)
    ended(t, door, 10_000, /does not answer|did not authenticate|in time|NEGOTIATION_TIMEOUT/)
  }
  t.end()
})

t.test('the whole set-up has one limit, whatever the step', (t) => {
  const steps: [string, (packet: Buffer) => Uint8Array | undefined][] = [
    ['no CALL_CONNECTED', (packet) => (messageOf(packet) === 4 ? undefined : packet)],
    ['no IPCP', (packet) => (read(packet).protocol === IPCP ? undefined : packet)],
    [
      'IPCP without an end',
      (packet) => (read(packet).protocol === IPCP && read(packet).code === 2 ? undefined : packet),
    ],
  ]
  for (const [what, rule] of steps) {
    const door = new Door({ setupTimeout: 20_000 }).start()
    const client = door.client()
    client.wire.rule = rule
    ended(t, door, 24_000, /did not set its call up in time/)
    t.equal(door.known, 1, `${what}: it had signed in`)
  }
  const proper = new Door({ setupTimeout: 20_000 }).start()
  const client = proper.client()
  proper.pass(600_000)
  t.ok(client.up, 'one that is up is left alone')
  t.end()
})

t.test('a client that does with IPv6 alone is no stranger who dawdles', (t) => {
  const door = new Door({ setupTimeout: 20_000, ipv6Prefix: 'fd00:5:6::/64' }).start()
  const client = door.client({ client: { ipv4: false, ipv6: true } })
  door.pass(60_000)
  t.ok(client.call.ppp.ipv6Open)
  t.equal(door.over, 0)
  t.end()
})

t.test('the end is within seconds, also of a client that takes nothing', (t) => {
  const door = new Door({ setupTimeout: 5000 }).start()
  door.line.wire.deaf = true
  door.say(REQUEST)
  ended(t, door, 9000, /in time/)
  t.ok(door.line.wire.waiting <= 2, `${door.line.wire.waiting} writes wait`)
  t.end()
})

t.test('a client that never reads costs what is under way, and no more', (t) => {
  const door = new Door().start()
  const client = door.client()
  door.pass(500)
  t.ok(client.up)
  client.stack.addAddress(IpAddress.parse('10.9.0.2') as IpAddress)
  const before = door.line.wire.octets
  door.line.wire.deaf = true
  const ping = client.stack.openPing()
  const own = IpAddress.parse('10.9.0.1') as IpAddress
  for (let n = 0; n < 20_000; n++) {
    ping?.send(own, n, new Uint8Array(1300))
    client.driver.wake()
    if (n % 20 === 0) door.pass(2)
    door.say(ppp(LCP, 9, n, new Uint8Array(1000)), controlPacket('ECHO_REQUEST'))
  }
  t.ok(door.line.wire.octets - before <= 2 * 65_536, `${door.line.wire.octets - before} octets are under way`)
  t.ok(door.call.held.bytes < 300_000, `${door.call.held.bytes} octets wait in the stack`)
  t.equal(door.over, 0, 'it is not ended for it')
  door.line.destroy()
  door.pass(1)
  t.equal(door.over, 1)
  t.same({ ...door.call.held, pooled: 0 }, { ...door.call.held, pooled: 0, connections: 0, udp: 0, bytes: 0 })
  t.end()
})

t.test('ten wrong passwords are looked at; what comes then, also the right one, is told the same', (t) => {
  const guard = new LoginGuard()
  const loop = new Loop()
  const answers: string[] = []
  let locked = 0
  for (let n = 0; n < 18; n++) {
    const door = new Door({ guard, auth: ['pap'] }, loop).start()
    const client = door.client({
      auth: ['pap'],
      client: { password: n < 10 ? `guess ${n}` : 'secret' },
    })
    door.pass(3000)
    answers.push(client.failure?.message ?? 'none')
    if (door.events.some((e) => e.type === 'warning' && e.code === 'ADDRESS_LOCKED')) locked++
    if (door.over === 0) door.line.destroy()
    door.pass(10)
  }
  t.same(
    new Set(answers),
    new Set(['wrong user name or password (server says: Wrong user name or password)']),
  )
  t.equal(locked, 8)
  t.end()
})

t.test('who hangs up before the refusal has had a try all the same', (t) => {
  const guard = new LoginGuard(3)
  const loop = new Loop()
  for (let n = 0; n < 3; n++) {
    const door = new Door({ guard }, loop).start()
    door.client({ client: { password: 'guess' } })
    door.pass(100)
    t.equal(door.over, 0, 'the refusal waits')
    door.line.destroy()
    door.pass(10)
    t.equal(door.over, 1)
  }
  t.notOk(guard.mayConnect('192.0.2.1', loop.now))
  const again = new Door({ guard }, loop).start()
  const client = again.client()
  again.pass(3000)
  t.equal(client.failure?.code, 'AUTH_REFUSED', 'the right password is not looked at')
  t.match(again.reason, /too many wrong passwords from 192\.0\.2\.1/)
  const elsewhere = new Door({ guard, source: '192.0.2.2' }, loop).start()
  const other = elsewhere.client()
  elsewhere.pass(3000)
  t.ok(other.up)
  t.end()
})

t.test('nobody elsewhere can lock a user out of where he has been before', (t) => {
  const guard = new LoginGuard(5)
  const loop = new Loop()
  const signIn = (source: string, password: string): boolean => {
    const door = new Door({ guard, source }, loop).start()
    const client = door.client({ client: { password } })
    door.pass(50)
    const { up } = client
    door.line.destroy()
    door.pass(10)
    return up
  }
  t.ok(signIn('198.51.100.7', 'secret'))
  for (let n = 0; n < 40; n++) signIn(`203.0.113.${n}`, 'guess')
  t.notOk(signIn('192.0.2.99', 'secret'), 'a new address must wait')
  t.ok(signIn('198.51.100.7', 'secret'), 'the old one need not')
  loop.until(loop.now + 60_000)
  t.ok(signIn('192.0.2.99', 'secret'), 'and the wait has an end')
  t.end()
})

t.test('as many calls as may be are up: one that signs in is told so, and ends', (t) => {
  const door = new Door({ maxCalls: 0 }).start()
  const client = door.client()
  ended(t, door, 8000, /as many calls are up as may be/)
  t.notOk(client.up)
  t.end()
})

t.test('a name that is to act on a terminal or to forge a line is only a name', (t) => {
  const door = new Door({ auth: ['pap'], trace: true }).start()
  const name = 'x\u001b[2J\r\n{"event":"up"}\u2028'
  door.client({ auth: ['pap'], client: { user: name } })
  ended(t, door, 10_000, /no right user name/)
  for (const event of door.events) if (event.type === 'trace') assertOneLine(event.message)
  t.end()
})

t.test('three hundred downloads that nobody reads hold what one call may hold', async (t) => {
  const pouring: Socket[] = []
  const far = await tcpServer((socket) => pouring.push(socket))
  const door = new Door({ allowLoopback: true }).start()
  const client = door.client()
  door.pass(500)
  client.stack.addAddress(IpAddress.parse('10.9.0.2') as IpAddress)
  const address = IpAddress.parse('10.9.0.1') as IpAddress
  // The gateway's sockets to the far side are real, so time passes in both worlds.
  const until = async (done: () => boolean): Promise<void> => {
    for (let turn = 0; !done(); turn++) {
      if (turn > 100_000) throw new Error('it does not come to that')
      door.pass(1)
      await new Promise((resolve) => setImmediate(resolve))
    }
  }
  const connections: TcpConnection[] = []
  for (let n = 0; n < 300; n++) {
    const c = client.stack.connect({ address, port: far.port }, door.loop.now)
    if (typeof c !== 'string') connections.push(c)
    client.driver.wake()
    if (n % 50 === 49) await until(() => connections.every((c) => c.state === TcpState.ESTABLISHED))
  }
  await until(() => pouring.length === 300)
  door.line.wire.deaf = true
  const chunk = Buffer.alloc(65_536)
  const poured = (): number => pouring.reduce((sum, s) => sum + s.bytesWritten, 0)
  for (const socket of pouring) {
    const pour = (): void => {
      while (!socket.destroyed && socket.bytesWritten < 1 << 20 && socket.write(chunk)) {}
    }
    socket.on('drain', pour)
    pour()
  }
  let most = 0
  let before = -1
  for (let quiet = 0; quiet < 50; quiet = before === poured() ? quiet + 1 : 0) {
    before = poured()
    for (let i = 0; i < 20; i++) await until(() => true)
    door.pass(1)
    await new Promise((resolve) => setImmediate(resolve))
    most = Math.max(most, door.call.held.bytes)
  }
  // The bound, and one chunk for each connection that Node had read already.
  t.ok(most > 30 << 20, `${most} octets: much came`)
  t.ok(most <= (64 << 20) + 300 * 65_536, `${most} octets at most`)
  door.line.destroy()
  door.pass(1)
  t.equal(door.over, 1)
  t.equal(door.call.held.bytes, 0)
  await far.close()
})
