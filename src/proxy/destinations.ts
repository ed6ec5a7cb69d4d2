import type { HostPort } from '../tunnel/dialer.js'

/**
 * What is known of the hosts and ports that one UDP socket sends to. Looked at for each datagram, so without a key
 * that would have to be made of both.
 */
export class Destinations<T> {
  readonly #most: number
  readonly #hosts = new Map<string, Map<number, T>>()
  #count = 0

  /** `most`: when there would be more, all are forgotten: who sends to so many comes back to few. */
  constructor(most: number) {
    this.#most = most
  }

  get(to: HostPort): T | undefined {
    return this.#hosts.get(to.host)?.get(to.port)
  }

  set(to: HostPort, known: T): void {
    if (this.get(to) === undefined) {
      if (this.#count >= this.#most) this.clear()
      this.#count++
    }
    const ports = this.#hosts.get(to.host)
    if (ports === undefined) this.#hosts.set(to.host, new Map([[to.port, known]]))
    else ports.set(to.port, known)
  }

  /** Nothing is forgotten if it is something else by now. */
  forget(to: HostPort, known: T): void {
    const ports = this.#hosts.get(to.host)
    if (ports?.get(to.port) !== known) return
    ports.delete(to.port)
    if (ports.size === 0) this.#hosts.delete(to.host)
    this.#count--
  }

  clear(): void {
    this.#hosts.clear()
    this.#count = 0
  }
}
