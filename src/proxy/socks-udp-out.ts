import type { Endpoint } from '../tunnel/dialer.js'
import { MAX_UDP_HEADER, UdpSource } from './socks-udp-header.js'

/** What a connected socket of node:dgram has of interest here. */
export interface UdpOutlet {
  send(octets: Uint8Array, o: number, length: number): void
  /** Datagrams that the kernel has not taken yet. */
  getSendQueueCount(): number
}

/**
 * Datagrams from remote hosts to the client, each behind its header.
 *
 * A datagram that is handed over is good only during the call, so it is copied, to where the one before was: mostly
 * the kernel has taken that at once.
 */
export class UdpOut {
  readonly #outlet: UdpOutlet
  readonly #most: number
  readonly #source = new UdpSource()
  #octets = new Uint8Array(0)

  /** `most`: octets of the largest datagram that the outlet takes. */
  constructor(outlet: UdpOutlet, most: number) {
    this.#outlet = outlet
    this.#most = most
  }

  /** Says why it was dropped, or undefined: it was not. */
  send(data: Uint8Array, from: Endpoint): 'too-large' | 'queue' | undefined {
    const outlet = this.#outlet
    if (outlet.getSendQueueCount() >= MAX_QUEUE) return 'queue'
    const room = MAX_UDP_HEADER + data.length
    if (this.#octets.length < room) {
      if (data.length > this.#most) return 'too-large'
      this.#octets = new Uint8Array(Math.max(room, MIN_ROOM))
    }
    const header = this.#source.emit(this.#octets, 0, from)
    const length = header + data.length
    if (length > this.#most) return 'too-large'
    this.#octets.set(data, header)
    outlet.send(this.#octets, 0, length)
    // It waits for the kernel, and these octets are not ours until then: the next gets others.
    if (outlet.getSendQueueCount() > 0) this.#octets = new Uint8Array(0)
    return undefined
  }
}

/** The largest of an ordinary Ethernet. */
const MIN_ROOM = 1536
const MAX_QUEUE = 64
