/**
 * A server that floods an open call, in virtual time. Whatever comes, a client that is read from answers within
 * its rates, one that is not read from holds no more than its queues, and the call goes on.
 */
import t from 'tap'
import { controlPacket } from '../../src/sstp/packet.js'
import { IpAddress } from '../../stack/index.js'
import { CLIENT_ADDRESS, GATEWAY_ADDRESS } from '../helpers/call-pair.js'
import { CHAP, frame, IPCP, IPV4, IPV6, LCP, ppp, Rig } from '../helpers/hostile.js'
import { icmp, ip, PROTO, tcp, udp } from '../helpers/ip-packet.js'
import { octetsHeld } from '../helpers/memory.js'
import { SeededRandom } from '../helpers/random.js'

const US = CLIENT_ADDRESS
const THEM = GATEWAY_ADDRESS
const PACKETS = 8000
/** In one millisecond. */
const BURST = 100

const inner = (packet: Uint8Array): Buffer => frame(IPV4, packet)
const ends = (n: number) => ({ src: THEM, dst: US, sport: 1024 + (n % 60_000), dport: 1 + (n % 65_535) })
const random = new SeededRandom(11)
const quoted = udp({ src: US, dst: THEM, sport: 5, dport: 6 }, new Uint8Array(8))

interface Flood {
  readonly what: string
  readonly packet: (n: number, rig: Rig) => Uint8Array
  /** Octets of answers to all of it, at most. */
  readonly answers: number
  readonly packets?: number
  /** The call may not outlive it. */
  readonly ends?: string
}

/** A reply to each one, as large as it. */
const ALL = 1100 * PACKETS
/** LCP's own answers go out of a queue of 64, once for each turn of the event loop. */
const FLOODS: readonly Flood[] = [
  { what: 'SSTP echo requests', packet: () => controlPacket('ECHO_REQUEST'), answers: 8 * PACKETS },
  { what: 'SSTP echo responses', packet: () => controlPacket('ECHO_RESPONSE'), answers: 200 },
  { what: 'LCP echo requests', packet: (n) => ppp(LCP, 9, n, new Uint8Array(1000)), answers: ALL },
  { what: 'LCP echo replies', packet: (n) => ppp(LCP, 10, n, new Uint8Array(1000)), answers: 200 },
  { what: 'LCP discard requests', packet: (n) => ppp(LCP, 11, n, new Uint8Array(1000)), answers: 200 },
  { what: 'LCP identifications', packet: (n) => ppp(LCP, 12, n, new Uint8Array(1000)), answers: 200 },
  { what: 'LCP codes that do not exist', packet: (n) => ppp(LCP, 99, n, new Uint8Array(100)), answers: ALL },
  {
    what: 'protocols that do not exist',
    packet: (n) => ppp(0x8101 + 2 * (n % 1000), 1, n),
    answers: 16 * 3 * 30,
  },
  {
    what: 'CHAP challenges',
    packet: (n) => ppp(CHAP, 1, n, random.bytes(17).fill(16, 0, 1)),
    answers: ALL,
    packets: 1000,
  },
  { what: 'IPCP codes that do not exist', packet: (n) => ppp(IPCP, 99, n), answers: ALL },
  { what: 'IPCP acks of nothing', packet: (n) => ppp(IPCP, 2, n, '030601020304'), answers: 200 },
  { what: 'data packets without a frame', packet: () => Uint8Array.of(0x10, 0, 0, 4), answers: 200 },
  { what: 'frames of nothing', packet: () => frame(IPV4, new Uint8Array(0)), answers: 200 },
  { what: 'IPv6, which was not agreed on', packet: () => frame(IPV6, new Uint8Array(60)), answers: 200 },
  { what: 'compressed headers', packet: () => frame(0x2d, new Uint8Array(60)), answers: 16 * 3 * 80 },
  {
    what: 'ICMP echo requests',
    packet: (n) => inner(icmp({ src: THEM, dst: US, type: 8, rest: n }, new Uint8Array(1000))),
    answers: ALL,
  },
  {
    what: 'ICMP echo requests in the name of everybody',
    packet: (n) =>
      inner(
        icmp(
          { src: `10.${(n >> 16) & 255}.${(n >> 8) & 255}.${n & 255}`, dst: US, type: 8 },
          new Uint8Array(8),
        ),
      ),
    answers: ALL,
  },
  { what: 'UDP to closed ports', packet: (n) => inner(udp(ends(n), new Uint8Array(100))), answers: 10_000 },
  { what: 'SYNs to closed ports', packet: (n) => inner(tcp(ends(n), { flags: 2, seq: n })), answers: ALL },
  { what: 'RSTs', packet: (n) => inner(tcp(ends(n), { flags: 4, seq: n })), answers: 200 },
  {
    what: 'SYNs from ourselves',
    packet: (n) => inner(tcp({ src: US, dst: US, sport: 80, dport: 80 }, { flags: 2, seq: n })),
    answers: ALL,
  },
  {
    what: 'first fragments of many datagrams',
    packet: (n) =>
      inner(
        ip({ src: THEM, dst: US, proto: PROTO.udp, id: n & 0xffff, fragment: 0x2000 }, new Uint8Array(1000)),
      ),
    answers: 10_000,
  },
  {
    what: 'first fragments in the name of everybody',
    packet: (n) =>
      inner(
        ip(
          { src: `10.8.${(n >> 8) & 255}.${n & 255}`, dst: US, proto: PROTO.udp, id: 1, fragment: 0x2000 },
          new Uint8Array(1200),
        ),
      ),
    answers: 10_000,
  },
  {
    what: 'fragments of one octet group each, at random places',
    packet: (n) =>
      inner(
        ip(
          { src: THEM, dst: US, proto: PROTO.udp, id: n % 7, fragment: 0x2000 | random.below(8000) },
          new Uint8Array(8),
        ),
      ),
    answers: 10_000,
  },
  {
    what: 'last fragments beyond 64 KiB',
    packet: (n) =>
      inner(
        ip({ src: THEM, dst: US, proto: PROTO.icmp, id: n & 0xffff, fragment: 0x1fff }, new Uint8Array(800)),
      ),
    answers: 10_000,
  },
  {
    what: 'source routes',
    packet: (n) =>
      inner(udp(ends(n), new Uint8Array(8), { options: Uint8Array.of(0x83, 7, 4, 10, 9, 0, 1, 0) })),
    answers: 10_000,
  },
  {
    what: 'options that do not end',
    packet: (n) =>
      inner(udp(ends(n), new Uint8Array(8), { options: Uint8Array.of(7, 39, 4, 1, 1, 1, 1, 1) })),
    answers: 10_000,
  },
  {
    what: 'ICMP errors about what was never sent',
    packet: (n) => inner(icmp({ src: THEM, dst: US, type: 3, code: n % 16, rest: 68 }, quoted)),
    answers: 200,
  },
  {
    what: 'ICMP redirects and source quenches',
    packet: (n) => inner(icmp({ src: THEM, dst: US, type: n % 2 === 0 ? 5 : 4, rest: 0x0a090063 }, quoted)),
    answers: 200,
  },
  {
    what: 'packets to everybody',
    packet: (n) =>
      inner(udp({ ...ends(n), dst: n % 2 === 0 ? '255.255.255.255' : '224.0.0.1' }, new Uint8Array(8))),
    answers: 200,
  },
  { what: 'noise in IPv4', packet: () => inner(random.bytes(60)), answers: 10_000 },
  {
    what: 'control packets that claim much',
    packet: () => Uint8Array.of(0x10, 1, 0, 12, 0, 9, 0xff, 0xff, 0, 1, 0x0f, 0xff),
    answers: 1000,
    ends: 'SSTP_INVALID_MESSAGE',
  },
  { what: 'LCP begun anew', packet: (n) => ppp(LCP, 1, n), answers: 1000, ends: 'LCP_RESTARTED' },
  {
    what: 'packets that claim nothing',
    packet: () => Uint8Array.of(0x10, 0, 0, 3),
    answers: 0,
    ends: 'SSTP_LENGTH',
  },
]

/** Octets that the client holds for whoever does not read or does not complete what was begun. */
const HELD = 400_000

function flood(rig: Rig, f: Flood): void {
  const { packets = PACKETS } = f
  for (let n = 0; n < packets && !rig.client.call.finished; n += BURST) {
    const burst: Uint8Array[] = []
    for (let i = n; i < n + BURST; i++) burst.push(f.packet(i, rig))
    rig.say(...burst)
    rig.pass(1)
  }
}

/** An echo request that the client sends, and its answer. */
function answers(rig: Rig): boolean {
  const ping = rig.client.stack.openPing()
  ping?.send(IpAddress.parse(THEM) as IpAddress, 77, new Uint8Array(8))
  rig.wake()
  rig.pass(1000)
  const reply = ping?.receive()
  return reply?.sequence === 77
}

for (const f of FLOODS) {
  t.test(f.what, (t) => {
    const rig = new Rig().comeUp()
    const { client, up } = rig
    // The proper server does not see the answers: it would only be confused.
    const { deliver } = up
    up.deliver = () => {}
    const before = up.octets
    const from = process.cpuUsage()
    flood(rig, f)
    const { user, system } = process.cpuUsage(from)
    t.comment(`${((user + system) / (f.packets ?? PACKETS)).toFixed(1)} us a packet`)
    t.ok(up.octets - before <= f.answers, `${up.octets - before} octets of answers`)
    t.ok(client.stack.held.bytes <= HELD, `${client.stack.held.bytes} octets held`)
    t.equal(client.stack.held.connections, 0)
    if (f.ends !== undefined) {
      rig.pass(20_000)
      t.equal(client.failure?.code, f.ends)
      t.ok(client.call.finished)
      return t.end()
    }
    t.ok(client.up, 'the call goes on')
    up.deliver = deliver
    t.ok(answers(rig), 'and works')
    rig.pass(60_000)
    t.equal(client.stack.held.bytes, 0, 'and nothing is kept of it')

    const deaf = new Rig().comeUp()
    deaf.up.deaf = true
    const sent = deaf.up.octets
    flood(deaf, f)
    t.ok(deaf.up.waiting <= 2, `${deaf.up.waiting} writes wait for a server that does not read`)
    t.ok(deaf.up.octets - sent <= 2 * 65_536, `${deaf.up.octets - sent} octets are under way to it`)
    t.ok(deaf.client.stack.held.bytes <= HELD, `${deaf.client.stack.held.bytes} octets held`)
    t.end()
  })
}

t.test('a quarter of a million packets leave no memory behind', (t) => {
  const rig = new Rig().comeUp()
  rig.up.deliver = () => {}
  // Each kind once, so that code and pools are there.
  const kinds = FLOODS.filter((f) => f.ends === undefined && f.packets === undefined)
  for (const f of kinds) flood(rig, { ...f, packets: 2000 })
  rig.pass(60_000)
  const before = octetsHeld()
  for (const f of kinds) flood(rig, { ...f, packets: 8000 })
  rig.pass(60_000)
  const grown = octetsHeld() - before
  t.ok(grown < 1 << 20, `${grown} octets more after ${kinds.length * 8000} packets`)
  t.end()
})
