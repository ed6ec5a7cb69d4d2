import type { IpAddress } from './wire/address.js'

/** Milliseconds of a monotonic clock of the caller's; only differences matter. `Infinity` means never. */
export type Instant = number

/** Fills `dst` with random octets. Must be unpredictable: ports, sequence numbers and their keys come from it. */
export type Random = (dst: Uint8Array) => void

/** An address and a port, as sockets are bound to and connected to. */
export interface SocketAddress {
  /** Either family. */
  readonly address: IpAddress
  /** 0 to 65535. */
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
  | 'no-resources' // no port or no connection is left
  | 'aborted' // by ourselves

/** News of a socket, a bit of what {@link takeReady} returns: the connection is open both ways. */
export const READY_CONNECTED = 1
/** There is something to read, or the other side has ended its direction. */
export const READY_READABLE = 2
/** A connection whose `write` said stop takes more again. */
export const READY_WRITABLE = 4
/** It is over; a connection says why in `error`, unless it ended properly. */
export const READY_CLOSED = 8
/** A listener has a connection to accept. */
export const READY_ACCEPT = 16
/** An ICMP error for a socket that lives on (UDP, ping). */
export const READY_ERROR = 32
/** The other side says that urgent data end ahead of what was read, and none were pending; see `urgent`. */
export const READY_URGENT = 64

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
  /** Datagrams in reassembly, of all senders. */
  readonly reassemblyDatagrams: number
  /** Datagrams in reassembly, of one sender. */
  readonly reassemblyPerSource: number
  /** Octets of all fragments in reassembly. */
  readonly reassemblyBytes: number
  /** Ranges received out of order that are kept, per connection. */
  readonly outOfOrderRanges: number
  /** Half-open connections of one listener. */
  readonly backlog: number
  /** Octets of datagrams waiting to be read, per UDP or ping socket. */
  readonly datagramQueue: number
  /** Packets of the stack's own making (RST, ICMP) waiting to go out. */
  readonly replyQueue: number
  /** ICMP errors sent per second, for long. */
  readonly icmpRate: number
  /** ICMP errors sent at once, after a silence. */
  readonly icmpBurst: number
}

/** What holds for limits that are not given. */
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
  outOfOrderRanges: 1024,
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
  /** RFC 6298 2.5: no retransmission time-out is longer. */
  readonly maxRto: number
  /** R2 of RFC 9293 3.8.3: unacknowledged that long, the connection is given up. At least 100 s. */
  readonly userTimeout: number
  /** How long an acknowledgement waits for something to go with (RFC 9293 3.8.6.3: below 500). */
  readonly delayedAck: number
  /** How long TIME-WAIT lasts: 2 MSL of RFC 9293 3.6.1. */
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

/** What holds for times that are not given. */
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

/** What a stack holds at one moment. All zero after it is closed, but for `pooled`. */
export interface StackHeld {
  /** TCP connections in every state. */
  connections: number
  /** UDP sockets. */
  udp: number
  /** Ping sockets. */
  ping: number
  /** Octets of data and packets, of all kinds. */
  bytes: number
  /** Octets of blocks kept for reuse. */
  pooled: number
  /** Octets of TCP data, on the account that `limits.memory` bounds. */
  accounted: number
  /** Octets of receive buffers that connections may fill. */
  granted: number
}

/** Counters since the stack was made. Plain numbers, read at any time. */
export interface StackCounters {
  /** IP packets that came, good or bad. */
  packetsIn: number
  /** IP packets handed out. */
  packetsOut: number
  /** Octets of the packets that came. */
  bytesIn: number
  /** Octets of the packets handed out. */
  bytesOut: number
  /** Not an IP packet, cut short, or with a bad checksum. */
  malformed: number
  /** Good, but for nobody here, or of a kind that is not handled. */
  unwanted: number
  /** Fragments that came. */
  fragments: number
  /** Datagrams put together from fragments. */
  reassembled: number
  /** Datagrams given up in reassembly: overlap, limits or time. */
  reassemblyFailed: number
  /** Packets that went out in fragments. */
  fragmented: number
  /** TCP segments that came, with a good checksum. */
  segmentsIn: number
  /** TCP segments of connections that were sent. */
  segmentsOut: number
  /** Of those, segments that had been sent before. */
  retransmissions: number
  /** Retransmission time-outs (RFC 6298 5.4). */
  timeouts: number
  /** Recoveries begun by acknowledgements. */
  fastRetransmits: number
  /** Time-outs and recoveries that turned out to be a mistake. */
  spuriousRecoveries: number
  /** Tail loss probes (RFC 8985 7). */
  tailProbes: number
  /** Duplicates of ours that the other side reported (RFC 2883). */
  dsacks: number
  /** Reports of octets received that the other side took back (RFC 2018 8). */
  reneges: number
  /** Congestion that the other side told of by ECN (RFC 3168), and that was acted on. */
  ecnEchoes: number
  /** Packets that came marked as having met congestion. */
  ecnMarks: number
  /** Paths found to swallow packets above a size (RFC 4821). */
  blackHoles: number
  /** Segments that came ahead of their turn. */
  outOfOrder: number
  /** Segments wholly outside the receive window: repetitions, mostly. */
  duplicates: number
  /** RSTs that were sent, for connections and for strays. */
  resetsSent: number
  /** RSTs that were believed. */
  resetsReceived: number
  /** Acknowledgements in answer to suspicious segments (RFC 5961). */
  challengeAcks: number
  /** SYNs dropped because a listener or the stack was full. */
  acceptOverflows: number
  /** UDP datagrams that came for a socket. */
  datagramsIn: number
  /** UDP datagrams that were sent. */
  datagramsOut: number
  /** UDP datagrams that found the queue of their socket full. */
  datagramsDropped: number
  /** ICMP errors that came. */
  icmpErrorsIn: number
  /** ICMP errors that were sent. */
  icmpErrorsOut: number
  /** TCP segments, UDP datagrams and ICMP messages with a bad checksum. */
  checksumErrors: number
}

/** Counters, all zero. */
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
