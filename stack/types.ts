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
  /** Receive buffer of a connection, octets: also the largest window announced. */
  readonly receiveBuffer: number
  /** Octets queued for sending above which `write` says stop. */
  readonly sendBuffer: number
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
  receiveBuffer: 1 << 20,
  sendBuffer: 1 << 20,
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
}

export const DEFAULT_TIMES: TcpTimes = {
  connect: 30_000,
  minRto: 200,
  maxRto: 60_000,
  userTimeout: 120_000,
  delayedAck: 40,
  timeWait: 60_000,
  handshake: 63_000,
}

/** Counters since the stack was made. Plain numbers, read at any time. */
export interface StackCounters {
  packetsIn: number
  packetsOut: number
  bytesIn: number
  bytesOut: number
  /** Not an IP packet, cut short, or with a bad checksum. */
  malformed: number
  /** Good, but for nobody here, or of a kind that is not handled (fragments among them). */
  unwanted: number
  fragments: number
  segmentsIn: number
  segmentsOut: number
  retransmissions: number
  timeouts: number
  fastRetransmits: number
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
    segmentsIn: 0,
    segmentsOut: 0,
    retransmissions: 0,
    timeouts: 0,
    fastRetransmits: 0,
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
