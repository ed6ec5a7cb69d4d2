import type { IpAddress } from './wire/address.js'

/** Milliseconds of a monotonic clock of the caller's; only differences matter. `Infinity` means never. */
export type Instant = number

/** Fills `dst` with random octets. Must be unpredictable: ports, sequence numbers and their keys come from it. */
export type Random = (dst: Uint8Array) => void

/** An address and a port, as sockets are bound to and connected to. */
export interface SocketAddress {
  readonly address: IpAddress
  readonly port: number
}

/** Why a socket failed. Stable. */
export type SocketError =
  | 'refused' // RST to our SYN, or ICMP port or protocol unreachable
  | 'reset' // RST in a synchronised state
  | 'timed-out' // no answer within the connect, retransmission or keep-alive limits
  | 'host-unreachable'
  | 'network-unreachable'
  | 'prohibited' // ICMP administratively prohibited
  | 'ttl-expired'
  | 'too-large' // a datagram above the MTU
  | 'aborted' // by ourselves

/** What became true of a socket since it was last taken from {@link NetStack.nextReady}; a bit set. */
export const READY_CONNECTED = 1
export const READY_READABLE = 2
export const READY_WRITABLE = 4
export const READY_CLOSED = 8
/** A listener has a connection to accept. */
export const READY_ACCEPT = 16
/** An ICMP error for a socket that lives on (UDP, ping). */
export const READY_ERROR = 32

/** Bounds on what peers can make the stack hold or do. */
export interface StackLimits {
  /** TCP connections in every state, TIME-WAIT included. */
  readonly connections: number
  /** Connections in TIME-WAIT; the oldest goes first. */
  readonly timeWait: number
  /** Receive buffer of a connection at its start, octets: also the largest window announced then. */
  readonly receiveBuffer: number
  /** How far that grows while the reader keeps up and the window is what limits (buffer auto-tuning). */
  readonly receiveBufferMax: number
  /** Octets queued for sending above which `write` says stop; twice the congestion window if that is more. */
  readonly sendBuffer: number
  /** But never above this. */
  readonly sendBufferMax: number
  /** Segments of a connection that may be in flight, whatever the windows say: each costs memory of its own. */
  readonly segmentsInFlight: number
  /** Octets that all connections together may hold; above half of it no buffer grows, at it nothing is kept out of order. */
  readonly memory: number
  /** Datagrams in reassembly, of all senders and of one; and the octets of all their fragments. */
  readonly reassemblyDatagrams: number
  readonly reassemblyPerSource: number
  readonly reassemblyBytes: number
  /** Ranges received out of order that are kept, per connection. */
  readonly outOfOrderRanges: number
  /** Half-open connections of one listener. */
  readonly backlog: number
  /** Octets of datagrams waiting to be read, per UDP or ping socket. */
  readonly datagramQueue: number
  /** Packets of the stack's own making (RST, ICMP) waiting to go out. */
  readonly replyQueue: number
  /** ICMP errors sent per second, and at once. */
  readonly icmpRate: number
  readonly icmpBurst: number
}

export const DEFAULT_LIMITS: StackLimits = {
  connections: 65536,
  timeWait: 4096,
  receiveBuffer: 1 << 18,
  receiveBufferMax: 1 << 23,
  sendBuffer: 1 << 18,
  sendBufferMax: 1 << 23,
  segmentsInFlight: 16384,
  memory: 1 << 28,
  reassemblyDatagrams: 64,
  reassemblyPerSource: 8,
  reassemblyBytes: 1 << 22,
  outOfOrderRanges: 64,
  backlog: 256,
  datagramQueue: 1 << 18,
  replyQueue: 64,
  icmpRate: 10,
  icmpBurst: 6,
}

/** Times in milliseconds that the RFCs leave open or that an application may want otherwise. */
export interface TcpTimes {
  /** Until an active open gives up. */
  readonly connect: number
  /** RFC 6298 2.4 says 1 s; 200 ms is what kernels use, and timestamps make it safe. */
  readonly minRto: number
  readonly maxRto: number
  /** R2 of RFC 9293 3.8.3: unacknowledged that long, the connection is given up. At least 100 s. */
  readonly userTimeout: number
  readonly delayedAck: number
  readonly timeWait: number
  /** In SYN-RECEIVED. */
  readonly handshake: number
  /** RFC 8985 7.2: how long the other side may hold an acknowledgement back. */
  readonly maxAckDelay: number
  /** RFC 4821 7.7, RFC 8899 5.1.1 (PMTU_RAISE_TIMER): after that a larger packet is tried again. */
  readonly pathMtuRaise: number
  /** Fragments of a datagram wait that long for the rest (RFC 791 3.2, RFC 8200 4.5). */
  readonly reassembly: number
}

export const DEFAULT_TIMES: TcpTimes = {
  connect: 30_000,
  minRto: 200,
  maxRto: 60_000,
  userTimeout: 120_000,
  delayedAck: 40,
  timeWait: 60_000,
  handshake: 63_000,
  maxAckDelay: 200,
  pathMtuRaise: 600_000,
  reassembly: 30_000,
}

/** Counters since the stack was made. Plain numbers, read at any time. */
export interface StackCounters {
  packetsIn: number
  packetsOut: number
  bytesIn: number
  bytesOut: number
  /** Not an IP packet, cut short, or with a bad checksum. */
  malformed: number
  /** Good, but for nobody here, or of a kind that is not handled. */
  unwanted: number
  /** Fragments that came, datagrams put together from them, and datagrams given up (overlap, limits, time). */
  fragments: number
  reassembled: number
  reassemblyFailed: number
  /** Packets that went out in fragments. */
  fragmented: number
  segmentsIn: number
  segmentsOut: number
  retransmissions: number
  /** Retransmission time-outs; recoveries begun by acknowledgements; both when they turned out to be a mistake. */
  timeouts: number
  fastRetransmits: number
  spuriousRecoveries: number
  /** Tail loss probes (RFC 8985 7). */
  tailProbes: number
  /** Duplicates of ours that the other side reported (RFC 2883), and reports that it took back (RFC 2018 8). */
  dsacks: number
  reneges: number
  /** Congestion told by ECN: echoes acted on, and marks received. */
  ecnEchoes: number
  ecnMarks: number
  /** Paths found to swallow packets above a size (RFC 4821). */
  blackHoles: number
  outOfOrder: number
  duplicates: number
  resetsSent: number
  resetsReceived: number
  challengeAcks: number
  acceptOverflows: number
  datagramsIn: number
  datagramsOut: number
  datagramsDropped: number
  icmpErrorsIn: number
  icmpErrorsOut: number
  checksumErrors: number
}

export function newCounters(): StackCounters {
  return {
    packetsIn: 0,
    packetsOut: 0,
    bytesIn: 0,
    bytesOut: 0,
    malformed: 0,
    unwanted: 0,
    fragments: 0,
    reassembled: 0,
    reassemblyFailed: 0,
    fragmented: 0,
    segmentsIn: 0,
    segmentsOut: 0,
    retransmissions: 0,
    timeouts: 0,
    fastRetransmits: 0,
    spuriousRecoveries: 0,
    tailProbes: 0,
    dsacks: 0,
    reneges: 0,
    ecnEchoes: 0,
    ecnMarks: 0,
    blackHoles: 0,
    outOfOrder: 0,
    duplicates: 0,
    resetsSent: 0,
    resetsReceived: 0,
    challengeAcks: 0,
    acceptOverflows: 0,
    datagramsIn: 0,
    datagramsOut: 0,
    datagramsDropped: 0,
    icmpErrorsIn: 0,
    icmpErrorsOut: 0,
    checksumErrors: 0,
  }
}
