/**
 * Half an hour of a client and a gateway in virtual time, over an outer connection that stalls, dies and comes
 * back at random, with downloads, uploads and questions inside: nothing grows, and what is finished is whole.
 */
import assert from 'node:assert/strict'
import t from 'tap'
import { Call } from '../../src/link/call.js'
import { Driver } from '../../src/link/driver.js'
import { PppLink } from '../../src/ppp/link.js'
import { SstpClient } from '../../src/sstp/client.js'
import { SstpServer } from '../../src/sstp/server.js'
import {
  IpAddress,
  NetStack,
  type PingSocket,
  READY_CLOSED,
  type TcpConnection,
  TcpState,
  takeReady,
  type UdpSocket,
} from '../../stack/index.js'
import { CLIENT_ADDRESS, GATEWAY_ADDRESS, Owner } from '../helpers/call-pair.js'
import { Loop } from '../helpers/hostile.js'
import { octetsHeld } from '../helpers/memory.js'
import { OuterPipe, type OuterProfile } from '../helpers/outer.js'
import { SeededRandom } from '../helpers/random.js'

const SEED = Number(process.env.SOAK_SEED ?? 20261123)
const MINUTES = Number(process.env.SOAK_MINUTES ?? 30)
const CERTIFICATE = new TextEncoder().encode('a certificate')
const CLIENT = IpAddress.parse(CLIENT_ADDRESS) as IpAddress
const GATEWAY = IpAddress.parse(GATEWAY_ADDRESS) as IpAddress
const DOWNLOADS = 80
const UPLOADS = 81
const QUESTIONS = 53
/** Until another call is tried. */
const PAUSE = 1000
/** In one connection at most. */
const LONGEST = 200_000

const PATTERN = Buffer.from(new SeededRandom(0x50a).bytes(2 * LONGEST))

/** One transfer, by the client's port: what must come, and what has come. */
interface Transfer {
  readonly key: number
  readonly size: number
  readonly way: 'up' | 'down'
  got: number
  ended: boolean
  client: TcpConnection | undefined
  settled: boolean
}

const stats = { calls: 0, lost: 0, whole: 0, broken: 0, answers: 0, octets: 0, stalls: 0 }

/** One call from its first octet to its end. */
class Life {
  readonly client: Call
  readonly server: Call
  readonly clientStack: NetStack
  readonly serverStack: NetStack
  readonly clientDriver: Driver
  readonly serverDriver: Driver
  readonly up: OuterPipe
  readonly down: OuterPipe
  readonly transfers = new Map<number, Transfer>()
  readonly #loop: Loop
  readonly #random: SeededRandom
  readonly #asked: UdpSocket
  readonly #ping: PingSocket
  ready = false
  dead = false

  constructor(loop: Loop, random: SeededRandom) {
    this.#loop = loop
    this.#random = random
    const fill = random.fill
    this.clientStack = new NetStack({ mtu: 1400, random: fill })
    this.serverStack = new NetStack({ mtu: 1400, random: fill, anyAddress: true })
    this.serverStack.addAddress(GATEWAY)
    const owners = { client: new Owner(), server: new Owner() }
    owners.client.onReady = () => this.#dispatch(this.clientStack)
    owners.server.onReady = () => this.#dispatch(this.serverStack)
    const common = { random: fill, auth: ['mschapv2'] as const, ipv6: false }
    this.client = new Call(
      new SstpClient({ certificate: CERTIFICATE, helloInterval: 15_000 }),
      new PppLink({ role: 'client', ...common, user: 'alice', password: 'secret' }),
      this.clientStack,
      owners.client,
    )
    this.server = new Call(
      new SstpServer({ random: fill, certificate: CERTIFICATE }),
      new PppLink({
        role: 'server',
        ...common,
        lookup: () => 'secret',
        ownIpv4: GATEWAY.toBytes(),
        assign: () => CLIENT.toBytes(),
      }),
      this.serverStack,
      owners.server,
    )
    const profile: OuterProfile = { rate: 250, delay: 15, buffer: 131_072, stalls: [] }
    this.up = new OuterPipe(loop, { ...profile })
    this.down = new OuterPipe(loop, { ...profile })
    const clock = (): number => loop.now
    this.clientDriver = new Driver(this.up, this.client, clock, loop)
    this.serverDriver = new Driver(this.down, this.server, clock, loop)
    this.up.onData = (b) => this.dead || this.serverDriver.received(b, 0, b.length)
    this.down.onData = (b) => this.dead || this.clientDriver.received(b, 0, b.length)
    for (const port of [DOWNLOADS, UPLOADS]) assert.ok(this.serverStack.listen({ port }))
    const answers = this.serverStack.openUdp({ port: QUESTIONS })
    const asked = this.clientStack.openUdp({ remote: { address: GATEWAY, port: QUESTIONS } })
    const ping = this.clientStack.openPing()
    assert.ok(answers !== undefined && asked !== undefined && ping !== undefined)
    this.#asked = asked
    this.#ping = ping
    this.clientStack.addAddress(CLIENT)
    this.client.start(loop.now)
    this.server.start(loop.now)
    this.clientDriver.wake()
    this.serverDriver.wake()
  }

  /** Something new inside. */
  act(): void {
    if (!this.client.sstp.mayData || !this.client.ppp.ipv4Open || this.transfers.size >= 12) return
    this.ready = true
    const random = this.#random
    if (random.chance(0.3)) {
      this.#asked.send(random.bytes(1 + random.below(900)), { address: GATEWAY, port: QUESTIONS })
      this.#ping.send(GATEWAY, random.below(65_536), random.bytes(random.below(1200)))
    } else {
      const way = random.chance(0.7) ? 'down' : 'up'
      const c = this.clientStack.connect(
        { address: GATEWAY, port: way === 'down' ? DOWNLOADS : UPLOADS },
        this.#loop.now,
      )
      if (typeof c === 'string') return
      const size = 1 + random.below(random.chance(0.3) ? LONGEST : 20_000)
      const key = c.tuple.localPort
      this.transfers.set(key, { key, size, way, got: 0, ended: false, client: c, settled: false })
      // Some users close the page half-way.
      if (random.chance(0.1)) this.#loop.later(() => this.#abort(key), 50 + random.below(500))
    }
    this.clientDriver.wake()
  }

  #abort(key: number): void {
    const transfer = this.transfers.get(key)
    if (transfer === undefined || transfer.settled || this.dead) return
    transfer.settled = true
    this.transfers.delete(key)
    transfer.client?.abort()
    this.clientDriver.wake()
  }

  /** Both directions stand still for a while. */
  stall(ms: number): void {
    const { now } = this.#loop
    const stall = [now, now + ms] as const
    for (const pipe of [this.up, this.down]) pipe.profile.stalls = [stall]
    stats.stalls++
  }

  /** The connection goes: both ends hear of it, or each by itself in time. */
  kill(loud: boolean): void {
    this.dead = true
    if (!loud) return
    this.client.connectionClosed(this.#loop.now)
    this.server.connectionClosed(this.#loop.now)
    this.clientDriver.wake()
    this.serverDriver.wake()
  }

  get over(): boolean {
    return this.client.finished && this.server.finished
  }

  /** What an owner does at the end; nothing may be left. */
  bury(): void {
    this.clientDriver.stop()
    this.serverDriver.stop()
    this.dead = true
    stats.broken += this.transfers.size
    this.transfers.clear()
    for (const stack of [this.clientStack, this.serverStack]) {
      stack.close()
      for (let s = stack.nextReady(); s !== undefined; s = stack.nextReady()) takeReady(s)
      const { held } = stack
      assert.deepEqual(
        { ...held, pooled: 0 },
        { connections: 0, udp: 0, ping: 0, bytes: 0, pooled: 0, accounted: 0, granted: 0 },
      )
      assert.equal(stack.nextTimeout(), Number.POSITIVE_INFINITY)
    }
  }

  #dispatch(stack: NetStack): void {
    for (let s = stack.nextReady(); s !== undefined; s = stack.nextReady()) {
      const bits = takeReady(s)
      if (s.kind === 'listener') while (stack.accept(s) !== undefined) {}
      else if (s.kind === 'tcp') this.#tcp(s, bits)
      else if (s.kind === 'ping') while (s.receive() !== undefined) stats.answers++
      else {
        for (let d = s.receive(); d !== undefined; d = s.receive()) {
          if (stack === this.serverStack) s.send(d.data, d.from)
          else stats.answers++
        }
      }
    }
  }

  #tcp(c: TcpConnection, bits: number): void {
    const atClient = c.tuple.remotePort === DOWNLOADS || c.tuple.remotePort === UPLOADS
    const transfer = this.transfers.get(atClient ? c.tuple.localPort : c.tuple.remotePort)
    if (transfer === undefined) {
      if (bits & READY_CLOSED) return
      c.abort()
      return
    }
    const sends = (transfer.way === 'up') === atClient
    if (sends) {
      if (c.owner === undefined && c.state >= TcpState.ESTABLISHED && c.error === undefined) {
        c.owner = transfer
        c.write(PATTERN.subarray(transfer.key % LONGEST, (transfer.key % LONGEST) + transfer.size))
        c.end()
      }
    } else {
      for (let piece = c.peek(); piece.length > 0; piece = c.peek()) {
        const from: number = (transfer.key % LONGEST) + transfer.got
        assert.equal(
          PATTERN.compare(piece, 0, piece.length, from, from + piece.length),
          0,
          'other octets came',
        )
        transfer.got += piece.length
        c.consume(piece.length)
      }
      if (c.ended && !transfer.ended) {
        transfer.ended = true
        c.end()
        this.#finished(transfer)
      }
    }
    if (bits & READY_CLOSED && c.error !== undefined && !transfer.settled) {
      stats.broken++
      transfer.settled = true
      this.transfers.delete(transfer.key)
    }
  }

  #finished(transfer: Transfer): void {
    assert.equal(transfer.got, transfer.size, 'it ended in order, so it is whole')
    stats.whole++
    stats.octets += transfer.size
    transfer.settled = true
    this.transfers.delete(transfer.key)
  }
}

/** One call, from its first octet until nothing is left of it. */
function live(loop: Loop, random: SeededRandom, end: number): void {
  const life = new Life(loop, random)
  stats.calls++
  // Some calls last for minutes, some do not come up.
  const lasts = random.chance(0.15) ? random.below(300) : 5_000 + random.below(90_000)
  const killed = Math.min(end, loop.now + lasts)
  while (loop.now < killed && !life.over) {
    life.act()
    if (random.chance(0.01)) life.stall(100 + random.below(12_000))
    loop.until(Math.min(killed, loop.now + 50 + random.below(500)))
  }
  const farewell = random.chance(0.3) ? 'proper' : random.chance(0.5) ? 'loud' : 'silent'
  if (farewell === 'proper') {
    life.client.close(loop.now)
    life.clientDriver.wake()
  } else {
    life.kill(farewell === 'loud')
    stats.lost++
  }
  const limit = loop.now + 200_000
  while (!life.over && loop.now < limit) loop.until(loop.now + 1000)
  assert.ok(life.over, `${farewell}: both ends know that it is over`)
  life.bury()
  // What was on its way through the pipes when they were cut.
  loop.until(loop.now + PAUSE + 15_000)
  assert.equal(loop.pending, 0, `${farewell}: no timer and no callback is left`)
}

t.test(`${MINUTES} minutes, seed ${SEED}`, (t) => {
  const started = process.cpuUsage()
  const loop = new Loop()
  loop.now = 1000
  const random = new SeededRandom(SEED)
  const end = loop.now + MINUTES * 60_000
  const heaps: number[] = []
  while (loop.now < end) {
    live(loop, random, end)
    heaps.push(octetsHeld())
  }
  const cpu = process.cpuUsage(started)
  t.comment({ ...stats, cpuSeconds: (cpu.user + cpu.system) / 1e6 })
  t.comment(`KiB after each call: ${heaps.map((octets) => octets >> 10).join(' ')}`)
  t.ok(stats.calls > MINUTES / 3, `${stats.calls} calls`)
  t.ok(
    stats.whole > 10 * stats.calls,
    `${stats.whole} transfers were whole, ${stats.broken} were cut off with their call`,
  )
  t.ok(stats.answers > stats.calls)
  // The compiler's own memory settles within the first calls.
  const half = Math.floor(heaps.length / 2)
  const grown = (heaps.at(-1) ?? 0) - (heaps[half] ?? 0)
  t.ok(grown < 1 << 21, `${grown} octets more than half-way`)
  t.end()
})
