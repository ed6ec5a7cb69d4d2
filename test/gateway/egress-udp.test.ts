import { createSocket, type RemoteInfo, type Socket } from 'node:dgram'
import type { AddressInfo } from 'node:net'
import t from 'tap'
import { DnsForwarder } from '../../src/gateway/dns-forward.js'
import { EgressUdp } from '../../src/gateway/egress-udp.js'
import { type Destination, Policy } from '../../src/gateway/policy.js'
import { type Datagram, IpAddress, NetStack, type UdpSocket } from '../../stack/index.js'
import { SeededRandom } from '../helpers/random.js'

const ip = (text: string): IpAddress => IpAddress.parse(text) as IpAddress
const OWN = ip('192.168.30.1')

/** Whoever clients ask, the host's loopback is meant. */
class Loopback extends Policy {
  override judge(to: IpAddress, port: number): Destination {
    if (to.equals(OWN)) return super.judge(to, port)
    return { kind: 'host', endpoint: { address: '127.0.0.1', port } }
  }
}

/** A gateway's stack with clients' stacks at its other side; packets move when asked to. */
class Bench {
  readonly random = new SeededRandom(7)
  readonly stack = new NetStack({ mtu: 1400, random: this.random.fill, anyAddress: true })
  readonly clients: NetStack[] = []
  readonly udp: EgressUdp
  readonly dns: DnsForwarder
  now = 1000
  private readonly any: UdpSocket
  private news: () => void = () => {}

  constructor(dnsPort = 53) {
    this.stack.addAddress(OWN)
    this.any = this.stack.openUdp({ any: true }) as UdpSocket
    const host = { now: () => this.now, wake: () => this.news() }
    this.dns = new DnsForwarder(host, [{ address: '127.0.0.1', port: dnsPort }])
    this.udp = new EgressUdp(this.stack, this.any, new Loopback(OWN, true), this.dns, host)
  }

  client(address: string): UdpSocket {
    const stack = new NetStack({ mtu: 1400, random: this.random.fill })
    stack.addAddress(ip(address))
    this.clients.push(stack)
    return stack.openUdp({ port: 5000 }) as UdpSocket
  }

  /** Every client hears all that the gateway sends: only one is meant. */
  carry(): void {
    const b = new Uint8Array(1500)
    const out = (from: NetStack, to: readonly NetStack[]): void => {
      for (let n = from.output(b, 0, this.now); n > 0; n = from.output(b, 0, this.now))
        for (const stack of to) stack.input(b, 0, n, this.now)
    }
    for (const stack of this.clients) out(stack, [this.stack])
    this.udp.ready(this.now)
    out(this.stack, this.clients)
  }

  /** Carries until there is something. */
  async until<T>(what: () => T | undefined): Promise<T> {
    for (;;) {
      const woken = new Promise<void>((resolve) => {
        this.news = resolve
      })
      this.carry()
      const got = what()
      if (got !== undefined) return got
      await woken
    }
  }

  close(): void {
    this.udp.close()
    this.dns.close()
  }
}

/** How many flows one client may have. */
const MOST = 256

async function server(
  onMessage: (data: Buffer, from: RemoteInfo, socket: Socket) => void,
): Promise<{ socket: Socket; port: number }> {
  const socket = createSocket('udp4')
  socket.on('message', (data, from) => onMessage(data, from, socket))
  await new Promise<void>((resolve) => socket.bind(0, '127.0.0.1', resolve))
  return { socket, port: (socket.address() as AddressInfo).port }
}

const text = (d: Datagram): string => Buffer.from(d.data).toString()

t.test('a port where nobody listens is told to the client', async (t) => {
  const gone = await server(() => {})
  await new Promise<void>((resolve) => gone.socket.close(() => resolve()))
  const bench = new Bench()
  const client = bench.client('192.168.30.2')
  client.send(Buffer.from('anybody?'), { address: OWN, port: gone.port })
  const news = await bench.until(() => client.takeError())
  t.equal(news.error, 'refused')
  t.equal(bench.udp.size, 0, 'the flow has gone')
  bench.close()
})

t.test('flows are told apart by all of both ends', async (t) => {
  const echo = await server((data, from, socket) =>
    socket.send(`${data.toString()} at ${from.port}`, from.port, from.address),
  )
  const bench = new Bench()
  const clients = ['192.168.30.2', '192.168.30.3'].map((a) => bench.client(a))
  const six = bench.client('fd00::2')
  const to = { address: ip('10.0.0.1'), port: echo.port }
  const seen = new Set<string>()
  for (let round = 0; round < 2; round++) {
    for (const [i, client] of clients.entries()) {
      client.send(Buffer.from(`client ${i}`), to)
      const answer = text(await bench.until(() => client.receive()))
      t.match(answer, new RegExp(`^client ${i} at `))
      seen.add(answer)
    }
    for (const address of ['2001:db8::5', '2001:db9::5']) {
      six.send(Buffer.from(address), { address: ip(address), port: echo.port })
      const answer = await bench.until(() => six.receive())
      t.equal(answer.from.address.toString(), address)
      seen.add(text(answer))
    }
  }
  t.equal(seen.size, 4, 'a second round takes the same sockets')
  t.equal(bench.udp.size, 4)
  bench.close()
  t.equal(bench.udp.size, 0)
  echo.socket.close()
})

t.test('idle flows go, others stay', async (t) => {
  const bench = new Bench()
  const client = bench.client('192.168.30.2')
  client.send(Buffer.from('x'), { address: ip('10.0.0.1'), port: 9 })
  bench.carry()
  t.equal(bench.udp.size, 1)
  bench.udp.handleTimeout(1000 + 119_000)
  t.equal(bench.udp.size, 1)
  bench.udp.handleTimeout(1000 + 200_000)
  t.equal(bench.udp.size, 0)
  t.equal(bench.udp.nextTimeout(), Number.POSITIVE_INFINITY)
  bench.close()
})

t.test('one port for each question: the quietest flow makes room for a new one', async (t) => {
  const sink = await server(() => {})
  const bench = new Bench()
  const client = bench.client('192.168.30.2')
  const say = (host: number): void => {
    const address = ip(`10.0.${host >> 8}.${host & 255}`)
    client.send(Buffer.from(`${host}`), { address, port: sink.port })
    bench.carry()
  }
  for (let n = 1; n <= MOST; n++) {
    if (n === 2) bench.now += 5_000
    say(n)
  }
  t.equal(bench.udp.size, MOST)
  t.equal(bench.stack.counters.datagramsDropped, 0)
  say(MOST + 1)
  t.equal(bench.stack.counters.datagramsDropped, 1, 'not in place of one that may still be answered')
  bench.now += 5_000
  say(MOST + 2)
  t.equal(bench.stack.counters.datagramsDropped, 1, 'the first has been quiet for 10 s')
  say(2)
  t.equal(bench.stack.counters.datagramsDropped, 1, 'the others stay')
  say(1)
  t.equal(bench.stack.counters.datagramsDropped, 2)
  bench.now += 5_000
  say(1)
  t.equal(bench.stack.counters.datagramsDropped, 2)
  t.equal(bench.udp.size, MOST)
  bench.close()
  sink.socket.close()
})

t.test('what comes before the socket is connected waits in order, and is bounded', async (t) => {
  const got: number[] = []
  let onLast = (): void => {}
  const sink = await server((data) => {
    got.push(data.readUInt16BE(0))
    if (got.length === 50) onLast()
  })
  const all = new Promise<void>((resolve) => {
    onLast = resolve
  })
  const bench = new Bench()
  const client = bench.client('192.168.30.2')
  const data = Buffer.alloc(1300)
  for (let i = 0; i < 100; i++) {
    data.writeUInt16BE(i, 0)
    client.send(data, { address: OWN, port: sink.port })
  }
  bench.carry()
  t.equal(bench.stack.counters.datagramsDropped, 50)
  await all
  t.same(
    got,
    Array.from({ length: 50 }, (_, i) => i),
  )
  bench.close()
  sink.socket.close()
})

t.test('a DNS answer above the MTU becomes header and question with TC', async (t) => {
  const question = Buffer.from('036162630000010001', 'hex')
  const resolver = await server((data, from, socket) => {
    const answer = Buffer.alloc(2000, 0x77)
    data.copy(answer)
    Buffer.from('81800001002000010002', 'hex').copy(answer, 2)
    socket.send(answer, from.port, from.address)
  })
  const bench = new Bench(resolver.port)
  const client = bench.client('192.168.30.2')
  const query = Buffer.concat([Buffer.from('123401000001000000000000', 'hex'), question])
  client.send(query, { address: OWN, port: 53 })
  const answer = await bench.until(() => client.receive())
  t.equal(Buffer.from(answer.data).toString('hex'), `123483800001000000000000${question.toString('hex')}`)
  t.same([answer.from.address.toString(), answer.from.port], ['192.168.30.1', 53])
  bench.close()
  resolver.socket.close()
})
