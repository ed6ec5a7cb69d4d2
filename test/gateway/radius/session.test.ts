import t from 'tap'
import type { RadiusServer } from '../../../src/gateway/radius/port.js'
import { type RadiusOptions, RadiusService } from '../../../src/gateway/radius/service.js'
import { type RadiusSession, TerminateCause } from '../../../src/gateway/radius/session.js'
import type { AuthRequest, AuthVerdict } from '../../../src/ppp/auth/authenticator.js'
import {
  accountingIsRight,
  answer,
  eap,
  int,
  MemoryNetwork,
  messageAuthenticatorIsRight,
  microsoft,
  mppeKey,
  readPassword,
  SECRET,
  type Seen,
  str,
} from '../../helpers/radius-server.js'
import { SeededRandom } from '../../helpers/random.js'
import { VirtualClock } from '../../helpers/virtual-clock.js'

const server = (host: string, port = 1812): RadiusServer => ({ host, port, secret: SECRET })
const [a, b, acct] = [server('a'), server('b'), server('a', 1813)]
const random = new SeededRandom(11)

function setUp(options: Partial<RadiusOptions> = {}) {
  const clock = new VirtualClock()
  const network = new MemoryNetwork()
  const warnings: string[] = []
  const usage = { octetsIn: 0, octetsOut: 0, packetsIn: 0, packetsOut: 0 }
  const world = { allowed: true, tried: [] as string[], withdrawn: [] as string[], expired: [] as string[] }
  const service = new RadiusService(
    {
      servers: [a, b],
      accounting: [acct],
      timeout: 7000,
      nasIdentifier: 'gate',
      clock,
      openPort: network.openPort,
      random: random.fill,
      wallClock: () => 1_700_000_000 + Math.floor(clock.now() / 1000),
      ...options,
    },
    (code, message) => warnings.push(`${code} ${message}`),
  )
  const session = service.session({
    call: 7,
    station: '192.0.2.9',
    mtu: 1400,
    usage: () => usage,
    framed: () => ({ ipv4: Uint8Array.of(10, 7, 0, 5), interfaceId: undefined }),
    mayTry(user) {
      world.tried.push(user)
      return world.allowed
    },
    untried: (user, counts) => counts || world.withdrawn.push(user),
    expired: (user) => world.expired.push(user),
    warn: (code, message) => warnings.push(`${code} ${message}`),
  })
  const ask = (request: AuthRequest) => clock.run(verdictOf(session, request))
  const last = (): Seen => {
    const request = network.requests.at(-1)
    if (request === undefined) throw new Error('no request')
    return request.seen
  }
  return { clock, network, warnings, usage, service, session, ask, last, world }
}

function verdictOf(session: RadiusSession, request: AuthRequest): Promise<AuthVerdict> {
  return new Promise((resolve) => {
    const pending = session.ask(request, () => {
      if (pending.verdict !== undefined) resolve(pending.verdict)
    })
    if (pending.verdict !== undefined) resolve(pending.verdict)
  })
}

const pap = (password = 'password1'): AuthRequest => ({
  kind: 'pap',
  user: 'alice',
  password: Buffer.from(password),
})
const number = (b: Buffer | undefined) => b?.readUInt32BE(0)

t.test('PAP: what the server is told, and an accept', async (t) => {
  const { network, ask, last, session } = setUp()
  network.script = (seen) => answer(seen, 2, [str(18, 'Welcome back'), str(1, 'alice@lab')])
  t.same(await ask(pap('pässwörd')), {
    kind: 'accept',
    hlak: new Uint8Array(32),
    user: 'alice@lab',
    message: 'Welcome back',
  })
  const seen = last()
  t.equal(seen.code, 1)
  t.ok(messageAuthenticatorIsRight(seen))
  t.equal(seen.all(1)[0]?.toString(), 'alice')
  t.equal(readPassword(seen.all(2)[0] ?? Buffer.alloc(0), seen.authenticator), 'pässwörd')
  t.equal(seen.all(32)[0]?.toString(), 'gate')
  t.equal(number(seen.all(5)[0]), 7)
  t.equal(number(seen.all(61)[0]), 5, 'Virtual')
  t.equal(number(seen.all(6)[0]), 2, 'Framed')
  t.equal(number(seen.all(7)[0]), 1, 'PPP')
  t.equal(number(seen.all(12)[0]), 1400)
  t.equal(seen.all(31)[0]?.toString(), '192.0.2.9')
  t.equal(number(seen.all(64)[0]), 0x013701, 'SSTP')
  t.equal(session.framedIp, undefined)
})

t.test('CHAP', async (t) => {
  const { network, ask, last } = setUp()
  network.script = (seen) => answer(seen, 3, [str(18, 'No')])
  const challenge = random.bytes(16)
  const response = random.bytes(16)
  t.same(await ask({ kind: 'chap', user: 'alice', id: 9, challenge, response }), {
    kind: 'reject',
    message: 'No',
  })
  t.same(last().all(3)[0], Buffer.from([9, ...response]))
  t.same(last().all(60)[0], Buffer.from(challenge))
})

t.test('MS-CHAPv2: the response is reordered, and the keys make the HLAK', async (t) => {
  const { network, ask, last } = setUp()
  const [send, recv] = [random.bytes(16), random.bytes(16)]
  network.script = (seen) =>
    answer(seen, 2, [
      microsoft(26, Buffer.from('\x05S=407A5589115FD0D6209F510FE9C04566932CDA56')),
      mppeKey(16, send, seen, 0x8001),
      mppeKey(17, recv, seen, 0x8002),
    ])
  const challenge = random.bytes(16)
  const response = random.bytes(49)
  const verdict = await ask({ kind: 'mschapv2', user: 'alice', id: 5, challenge, response })
  t.same(verdict, {
    kind: 'accept',
    hlak: Uint8Array.from([...recv, ...send]),
    success: 'S=407A5589115FD0D6209F510FE9C04566932CDA56',
  })
  t.same(last().microsoft(11)[0], Buffer.from(challenge))
  t.same(last().microsoft(25)[0], Buffer.from([5, response[48] ?? 0, ...response.subarray(0, 48)]))
})

t.test('MS-CHAPv2 refused, and a password changed', async (t) => {
  const { network, ask, last, world } = setUp()
  const failure = `E=648 R=0 C=${'00'.repeat(16)} V=3 M=expired`
  network.script = (seen) => answer(seen, 3, [microsoft(2, Buffer.from(`\x05${failure}`))])
  const challenge = random.bytes(16)
  const request: AuthRequest = {
    kind: 'mschapv2',
    user: 'alice',
    id: 5,
    challenge,
    response: random.bytes(49),
  }
  t.same(await ask(request), { kind: 'reject', failure })
  t.same(world.expired, ['alice'], 'that was no wrong password')
  const change = random.bytes(582)
  await ask({ kind: 'mschapv2-change', user: 'alice', id: 6, challenge, change })
  t.same(world.tried, ['alice', 'alice'])
  t.same(world.expired, ['alice'], 'and what comes behind it counts')
  const [cpw] = last().microsoft(27)
  t.same(cpw, Buffer.from([7, 6, ...change.subarray(516)]), 'RFC 2548 2.3.4')
  t.equal(cpw?.length, 68)
  const pieces = last().microsoft(6)
  t.same(
    pieces.map((p) => [...p.subarray(0, 4)]),
    [
      [6, 6, 0, 1],
      [6, 6, 0, 2],
      [6, 6, 0, 3],
    ],
  )
  t.same(Buffer.concat(pieces.map((p) => p.subarray(4))), Buffer.from(change.subarray(0, 516)))
})

t.test('MS-CHAPv2 accepted without what must be there', async (t) => {
  const { network, ask, warnings } = setUp()
  const request: AuthRequest = {
    kind: 'mschapv2',
    user: 'alice',
    id: 5,
    challenge: random.bytes(16),
    response: random.bytes(49),
  }
  network.script = (seen) => answer(seen, 2)
  t.match(await ask(request), { kind: 'error', message: /without MS-CHAP2-Success/ })
  network.script = (seen) => answer(seen, 2, [microsoft(26, Buffer.from('\x05S=0'))])
  t.match(await ask(request), { kind: 'accept', hlak: new Uint8Array(32) })
  t.match(warnings, [/^RADIUS_NO_KEYS RADIUS server a:1812: it sends no MS-MPPE keys/])
})

const identity = Buffer.from([2, 1, 0, 10, 1, ...Buffer.from('alice')])

t.test('EAP passes through, with State, at one server', async (t) => {
  const { network, ask, last, world } = setUp()
  const fragment = Buffer.concat([Buffer.from([1, 2, 3, 0xec, 13, 0x40]), Buffer.alloc(0x3ec - 6, 5)])
  network.script = (seen, { host }) =>
    host === 'b' ? answer(seen, 11, [str(24, 'state-1'), ...eap(fragment)]) : undefined
  t.same(await ask({ kind: 'eap', user: 'alice', packet: identity }), {
    kind: 'challenge',
    packet: new Uint8Array(fragment),
  })
  t.same(last().all(24), [], 'no State at first')
  const [recv, send] = [random.bytes(32), random.bytes(32)]
  const success = Buffer.from([3, 2, 0, 4])
  network.script = (seen) =>
    answer(seen, 2, [...eap(success), mppeKey(17, recv, seen, 0x8001), mppeKey(16, send, seen, 0x8002)])
  const response = Buffer.concat([Buffer.from([2, 2, 2, 0, 13, 0]), Buffer.alloc(506, 3)])
  t.same(await ask({ kind: 'eap', user: 'alice', packet: response }), {
    kind: 'accept',
    hlak: recv,
    otherHlak: new Uint8Array(Buffer.concat([recv.subarray(0, 16), send.subarray(0, 16)])),
    packet: new Uint8Array(success),
  })
  t.equal(network.requests.at(-1)?.server.host, 'b')
  t.equal(last().all(24)[0]?.toString(), 'state-1')
  t.same(Buffer.concat(last().all(79)), response)
  t.ok(messageAuthenticatorIsRight(last()))
  t.equal(last().all(1)[0]?.toString(), 'alice')
  t.same(world.tried, ['alice'], 'one try, however many packets')
})

t.test('EAP refused, and answers that do not fit', async (t) => {
  const { network, ask } = setUp()
  const request: AuthRequest = { kind: 'eap', user: 'alice', packet: identity }
  network.script = (seen) => answer(seen, 3, eap(Buffer.from([4, 1, 0, 4])))
  t.same(await ask(request), { kind: 'reject', packet: Uint8Array.of(4, 1, 0, 4) })
  network.script = (seen) => answer(seen, 3, eap(Buffer.from([3, 1, 0, 4])))
  t.same(await ask(request), { kind: 'reject' }, 'a Success in a reject is none')
  network.script = (seen) => answer(seen, 2, eap(Buffer.from([4, 1, 0, 4])))
  t.same(await ask(request), { kind: 'accept', hlak: new Uint8Array(32) })
  network.script = (seen) => answer(seen, 11, eap(Buffer.from([3, 1, 0, 4])))
  t.match(await ask(request), { kind: 'error', message: /without an EAP request/ })
  t.match(await ask({ kind: 'eap', user: 'alice', packet: Buffer.alloc(4080, 2) }), { kind: 'error' })
})

t.test('a client that has heard of its guess cannot have its try back by what no server takes', async (t) => {
  const { network, ask, world } = setUp()
  const refused = Buffer.from([1, 2, 0, 9, 26, 4, 2, 0, 4])
  network.script = (seen) => answer(seen, 11, [str(24, 's'), ...eap(refused)])
  t.match(await ask({ kind: 'eap', user: 'alice', packet: identity }), { kind: 'challenge' })
  t.match(await ask({ kind: 'eap', user: 'alice', packet: Buffer.alloc(4080, 2) }), { kind: 'error' })
  network.script = () => undefined
  t.match(await ask({ kind: 'eap', user: 'alice', packet: Buffer.from([2, 2, 0, 6, 26, 4]) }), {
    kind: 'error',
  })
  t.same(world, { ...world, tried: ['alice'], withdrawn: [] })
  t.match(await ask({ kind: 'eap', user: 'alice', packet: identity }), { kind: 'error' })
  t.same(world.withdrawn, ['alice'], 'nobody had been asked')
})

t.test('a question where only yes or no can pass', async (t) => {
  const { network, ask, warnings } = setUp()
  network.script = (seen) => answer(seen, 11, [str(24, 's'), str(18, 'Your code?')])
  t.same(await ask(pap()), { kind: 'reject', message: 'Your code?' })
  t.match(warnings, [/^RADIUS_CHALLENGE .*which pap cannot pass on/])
})

t.test('nobody answers', async (t) => {
  const { ask, warnings, world } = setUp()
  t.same(await ask(pap()), { kind: 'error', message: 'no RADIUS server could be asked' })
  t.match(warnings, [/^RADIUS_NO_ANSWER RADIUS server a:1812: no answer.*; RADIUS server b:1812: no answer/])
  t.same(world.withdrawn, ['alice'], 'it does not count as a wrong password')
})

t.test('who may only log in at a console gets no VPN', async (t) => {
  const { network, ask, warnings } = setUp()
  network.script = (seen) => answer(seen, 2, [int(6, 6)])
  t.same(await ask(pap()), { kind: 'reject' })
  t.match(warnings, [/^RADIUS_SERVICE .*alice service type 6/])
})

t.test('what RADIUS cannot carry is not asked, and a locked address neither', async (t) => {
  const { network, ask, world } = setUp()
  t.match(await ask(pap('x'.repeat(129))), { kind: 'error', message: /128 octets/ })
  t.match(await ask({ kind: 'pap', user: 'ü'.repeat(127), password: Buffer.from('x') }), { kind: 'error' })
  const short = { user: 'alice', id: 1, challenge: random.bytes(16) }
  t.match(await ask({ kind: 'mschapv2', ...short, response: random.bytes(48) }), { kind: 'error' })
  t.match(await ask({ kind: 'mschapv2-change', ...short, change: random.bytes(581) }), { kind: 'error' })
  world.allowed = false
  t.same(await ask(pap()), { kind: 'reject' })
  t.equal(network.requests.length, 0)
})

t.test('a question taken back', async (t) => {
  const { clock, network, session } = setUp()
  let heard = 0
  const pending = session.ask(pap(), () => heard++)
  await clock.advance(0)
  pending.cancel()
  const [request] = network.requests
  if (request !== undefined) network.open.get(request.port)?.received(answer(request.seen, 2))
  await clock.advance(60_000)
  t.equal(heard, 0)
  t.equal(pending.verdict, undefined)
  t.equal(clock.pending, 0)
})

t.test('the address of the client', async (t) => {
  for (const [octets, wanted] of [
    [
      [10, 7, 0, 5],
      [10, 7, 0, 5],
    ],
    [[255, 255, 255, 254], undefined],
    [[255, 255, 255, 255], undefined],
  ] as const) {
    const { network, ask, session } = setUp()
    network.script = (seen) => answer(seen, 2, [[8, Uint8Array.from(octets)]])
    await ask(pap())
    t.same(session.framedIp, wanted === undefined ? undefined : Uint8Array.from(wanted))
  }
})

/** A session that is up, with what the server set. */
async function up(
  attributes: Parameters<typeof answer>[2],
  options: Partial<RadiusOptions> = {},
  accounting = true,
) {
  const made = setUp(options)
  const { network, clock, session, ask } = made
  const taken: Seen[] = []
  network.script = (seen) => {
    if (seen.code === 1) return answer(seen, 2, attributes)
    taken.push(seen)
    return accounting ? answer(seen, 5) : undefined
  }
  await ask(pap())
  session.start(clock.now())
  await clock.advance(0)
  return { ...made, taken }
}

t.test('accounting: start, interim, stop', async (t) => {
  const { clock, session, usage, taken, service, network } = await up([
    str(25, 'class-1'),
    str(25, 'class-2'),
    int(85, 300),
    str(1, 'alice@lab'),
  ])
  const [start] = taken
  if (start === undefined) throw new Error('no start')
  t.ok(taken.every((seen) => accountingIsRight(seen)))
  t.equal(network.requests.at(-1)?.server.port, 1813)
  t.equal(number(start.all(40)[0]), 1)
  t.match(start.all(44)[0]?.toString(), /^[0-9a-f]{16}$/)
  t.equal(start.all(1)[0]?.toString(), 'alice@lab')
  t.same(start.all(8)[0], Buffer.from([10, 7, 0, 5]))
  t.same(start.all(25).map(String), ['class-1', 'class-2'])
  t.equal(number(start.all(45)[0]), 1)
  t.equal(number(start.all(41)[0]), 0)
  t.equal(number(start.all(55)[0]), 1_700_000_001)
  t.equal(start.all(31)[0]?.toString(), '192.0.2.9')
  t.equal(start.all(32)[0]?.toString(), 'gate')
  t.same(start.all(46), [], 'no time at the start')

  t.equal(session.nextTimeout(), clock.now() + 300_000)
  await clock.advance(300_000)
  Object.assign(usage, { octetsIn: 5 * 2 ** 32 + 17, octetsOut: 1234, packetsIn: 99, packetsOut: 98 })
  t.equal(session.handleTimeout(clock.now()), undefined)
  await clock.advance(0)
  const interim = taken[1]
  t.equal(number(interim?.all(40)[0]), 3)
  t.equal(number(interim?.all(46)[0]), 300)
  t.equal(number(interim?.all(42)[0]), 17)
  t.equal(number(interim?.all(52)[0]), 5)
  t.equal(number(interim?.all(43)[0]), 1234)
  t.equal(number(interim?.all(53)[0]), 0)
  t.equal(number(interim?.all(47)[0]), 99)
  t.equal(number(interim?.all(48)[0]), 98)
  t.equal(session.nextTimeout(), clock.now() + 300_000)

  await clock.advance(10_000)
  session.stop(TerminateCause.LOST_CARRIER, clock.now())
  session.stop(TerminateCause.USER_REQUEST, clock.now())
  await clock.advance(0)
  t.equal(taken.length, 3, 'one stop')
  t.equal(number(taken[2]?.all(40)[0]), 2)
  t.equal(number(taken[2]?.all(49)[0]), 2)
  t.equal(number(taken[2]?.all(46)[0]), 310)
  t.same(taken[2]?.all(44), start.all(44), 'the same session')
  t.equal(session.nextTimeout(), Number.POSITIVE_INFINITY)
  await service.close(100)
  t.equal(clock.pending, 0)
})

t.test('no stop without a start, and no accounting without servers', async (t) => {
  const { clock, network, session, service } = setUp()
  session.stop(TerminateCause.USER_REQUEST, clock.now())
  await clock.advance(0)
  t.equal(network.requests.length, 0)
  await service.close(0)
  const other = await up([int(85, 300)], { accounting: [] })
  t.equal(other.taken.length, 0)
  t.equal(other.session.nextTimeout(), Number.POSITIVE_INFINITY)
})

t.test('an interim interval below a minute would be a flood', async (t) => {
  const { clock, session } = await up([int(85, 1)])
  t.equal(session.nextTimeout(), clock.now() + 60_000)
})

t.test('Session-Timeout', async (t) => {
  const { clock, session } = await up([int(27, 3600)])
  t.equal(session.nextTimeout(), clock.now() + 3_600_000)
  t.equal(session.handleTimeout(clock.now()), undefined)
  await clock.advance(3_600_000)
  t.equal(session.handleTimeout(clock.now()), TerminateCause.SESSION_TIMEOUT)
  t.equal(session.handleTimeout(clock.now()), undefined, 'once')
})

t.test('Idle-Timeout', async (t) => {
  const { clock, session, usage } = await up([int(28, 60), int(27, 0)])
  await clock.advance(60_000)
  usage.packetsIn++
  t.equal(session.handleTimeout(clock.now()), undefined, 'something has passed')
  await clock.advance(60_000)
  usage.packetsOut += 2
  t.equal(session.handleTimeout(clock.now()), TerminateCause.IDLE_TIMEOUT)
  t.equal(session.handleTimeout(clock.now()), undefined, 'once')
})

t.test('accounting servers that are away for a while', async (t) => {
  const { clock, session, network, warnings, service } = await up([])
  const during: Seen[] = []
  network.script = (seen) => {
    during.push(seen)
    return undefined
  }
  session.stop(TerminateCause.USER_REQUEST, clock.now())
  await clock.advance(37_000)
  t.equal(during.length, 4, 'three times, and again after half a minute')
  t.equal(number(during[0]?.all(41)[0]), 0)
  t.equal(number(during[3]?.all(41)[0]), 37, 'Acct-Delay-Time')
  t.match(warnings, [/^RADIUS_ACCOUNTING RADIUS accounting: RADIUS server a:1813: no answer/])
  network.script = (seen) => answer(seen, 5)
  await clock.advance(7_000)
  await service.close(0)
  t.equal(warnings.length, 1, 'nothing was lost')
  t.equal(clock.pending, 0)
})

t.test('a start that must be repeated still comes before its stop', async (t) => {
  const { clock, session, network, service, usage } = await up([int(85, 60)], {}, false)
  const status = (seen: Seen) => number(seen.all(40)[0])
  const told = () => network.requests.map(({ seen }) => seen).filter(({ code }) => code === 4)
  await clock.advance(10_000)
  t.same(told().map(status), [1, 1, 1])
  // Between two rounds: an interim record waits, another takes its place, and so does the end.
  for (let n = 0; n < 2; n += 1) {
    session.handleTimeout(clock.now() + 60_000)
    await clock.advance(0)
  }
  usage.octetsIn = 1234
  session.stop(TerminateCause.USER_REQUEST, clock.now())
  await clock.advance(0)
  t.same([...new Set(told().map(status))], [1], 'nothing overtakes it')
  t.equal(told().at(-1)?.all(41)[0]?.readUInt32BE(0), 10, 'and it is sent anew for their sake')
  const taken: Seen[] = []
  network.script = (seen) => {
    taken.push(seen)
    return answer(seen, 5)
  }
  await clock.advance(2000)
  t.same(taken.map(status), [1, 2])
  t.equal(number(taken[1]?.all(42)[0]), 1234)
  t.equal(number(taken[1]?.all(41)[0]), 1, 'the stop has waited')
  await service.close(0)
  t.equal(clock.pending, 0)
})

t.test('an interim record that is under way does not keep the stop waiting', async (t) => {
  const { clock, session, network, service } = await up([int(85, 60)])
  const kinds: (number | undefined)[] = []
  network.script = (seen) => {
    kinds.push(number(seen.all(40)[0]))
    return undefined
  }
  await clock.advance(60_000)
  session.handleTimeout(clock.now())
  await clock.advance(0)
  session.stop(TerminateCause.USER_REQUEST, clock.now())
  await clock.advance(7_000)
  t.same(kinds, [3, 2, 2, 2])
  network.script = (seen) => answer(seen, 5)
  await clock.run(service.close(60_000))
  t.equal(clock.pending, 0)
})

t.test('accounting servers that never come back', async (t) => {
  const { clock, session, network, warnings, service } = await up([int(85, 60)])
  network.script = () => undefined
  await clock.advance(60_000)
  session.handleTimeout(clock.now())
  await clock.advance(7_000)
  t.match(warnings, [/a record is lost/], 'an interim record is not repeated')
  session.stop(TerminateCause.USER_REQUEST, clock.now())
  await clock.advance(3_600_000)
  t.match(warnings.at(-1), /a record is lost/)
  t.equal(clock.pending, 0)
  await service.close(0)
})

t.test('what is left at the end is waited for, but not long', async (t) => {
  const { clock, session, network, warnings, service } = await up([])
  network.script = () => undefined
  session.stop(TerminateCause.USER_REQUEST, clock.now())
  const started = clock.now()
  await clock.run(service.close(500))
  t.equal(clock.now() - started, 500)
  t.match(warnings, [/records that no server took in time are lost: 1$/])
  t.equal(clock.pending, 0)
  t.equal(network.open.size, 0)
})
