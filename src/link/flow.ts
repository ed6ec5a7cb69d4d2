/**
 * A connection through a tunnel, as whoever joins it to an ordinary socket sees it.
 *
 * Shaped for batches: bytes are looked at in place (`peek`), handed to a socket and released (`consume`)
 * when that socket has taken them. What is not consumed is what the receive window has lost, so a slow
 * reader stops the remote sender and nothing in between grows.
 */

/** Why a connection, datagram or name did not work out. Stable: users and reply tables rely on it. */
export type DialErrorCode =
  | 'refused' // RST to our SYN, or ICMP port unreachable
  | 'reset' // RST in an open connection
  | 'host-unreachable' // ICMP host unreachable
  | 'network-unreachable' // ICMP network unreachable, or no address of that family in the tunnel
  | 'ttl-expired' // ICMP time exceeded
  | 'prohibited' // ICMP administratively prohibited
  | 'timed-out' // nobody answered
  | 'name-not-found' // NXDOMAIN, or the name has no address
  | 'name-refused' // REFUSED by every name server: a name of others
  | 'name-failed' // SERVFAIL, or no name server at all
  | 'name-timed-out' // no name server answered
  | 'name-invalid' // not a host name
  | 'not-allowed' // a rule forbids it
  | 'too-large' // a datagram above the tunnel's MTU
  | 'no-resources' // our own limits: ports, memory
  | 'aborted' // given up by the caller
  | 'tunnel-down' // the tunnel went away
  | 'tunnel-reconnecting' // it is being brought up again, and that takes longer than a connection may wait

/** Thrown and reported for everything that a remote side or the tunnel does to a flow. */
export class DialError extends Error {
  override readonly name = 'DialError'
  readonly code: DialErrorCode
  constructor(code: DialErrorCode, message: string) {
    super(message)
    this.code = code
  }
}

/** An IP address in text (no brackets, no zone) and a port. */
export interface Endpoint {
  readonly address: string
  readonly port: number
}

/** Called by a flow. Several calls may be due at once; none is made from inside a call to the flow. */
export interface FlowHandler {
  /** New bytes can be peeked, or the remote side has ended (`flow.ended`). */
  onReadable(): void
  /** `write` said false before, and there is room again. */
  onWritable(): void
  /**
   * The flow is over and holds nothing any more. No error: both directions ended properly.
   * An end that the remote side makes, by RST too, is told when the bytes that came in front of it have been consumed,
   * as a kernel's socket does it. With {@link Flow.reset}, or when the tunnel goes, those bytes are lost.
   */
  onClose(error: DialError | undefined): void
}

/** One TCP connection through the tunnel. */
export interface Flow {
  readonly local: Endpoint
  readonly remote: Endpoint
  /** Set at once by whoever got the flow; events wait for it. */
  handler: FlowHandler | undefined
  /** Bytes received and not consumed. */
  readonly readable: number
  /** The remote side will send nothing more (FIN); bytes before it may still be unread. */
  readonly ended: boolean
  /**
   * The received bytes from `skip` on, as far as they lie in one piece (more may follow behind).
   * The view is good until the bytes are consumed. Empty if there are none.
   */
  peek(skip?: number): Uint8Array
  /** Releases the first `n` received bytes; the receive window opens by as much. */
  consume(n: number): void
  /** Bytes handed to `write` that the remote side has not acknowledged. */
  readonly queued: number
  /**
   * Queues a chunk, which must not be changed afterwards: it is kept until acknowledged.
   * False: above the high-water mark, wait for `onWritable` (the chunk is queued all the same).
   */
  write(chunk: Uint8Array): boolean
  /** Ends our direction (FIN) behind what is queued. The other direction stays open. */
  end(): void
  /** Gives the connection up at once (RST). `onClose` follows, with `aborted`. */
  reset(): void
}
