/** EAP in PPP (c227), the client's side: {@link EapPeer} as a method of the link. */
import { copyOf, u8 } from '../../../../stack/bytes.js'
import { CONTROL_HEADER } from '../../control.js'
import type { PppError } from '../../errors.js'
import { Protocol } from '../../frame.js'
import type { AuthHost, AuthMethod } from '../method.js'
import { hlakOf, type KeyRule } from './method.js'
import { EapPeer, type EapPeerOptions } from './peer.js'

export class EapClient implements AuthMethod {
  readonly protocol = Protocol.EAP
  readonly #peer: EapPeer

  /** `user`: whom a success is reported for. */
  constructor(host: AuthHost, user: string, rule: KeyRule, options: EapPeerOptions) {
    this.#peer = new EapPeer(
      {
        random: host.random,
        get limit(): number {
          return host.limit
        },
        send: (packet) =>
          host.send(u8(packet, 0), u8(packet, 1), copyOf(packet, CONTROL_HEADER, packet.length)),
        succeeded: (choice, keys) => host.succeeded(user, hlakOf(keys, rule), choice.name),
        failed: (error) => host.failed(error),
        note: (message) => host.note(message),
        onActivity: host.onActivity,
      },
      options,
    )
  }

  get undecided(): boolean {
    return this.#peer.undecided
  }

  start(now: number): void {
    this.#peer.start(now)
  }

  input(b: Uint8Array, o: number, len: number, now: number): void {
    this.#peer.input(b, o, len, now)
  }

  activity(now: number): void {
    this.#peer.activity(now)
  }

  presumed(now: number): boolean {
    return this.#peer.success(now)
  }

  refusal(said: string): PppError {
    return this.#peer.refusal(said)
  }

  nextTimeout(): number {
    return this.#peer.nextTimeout()
  }

  handleTimeout(now: number): void {
    this.#peer.handleTimeout(now)
  }

  close(): void {
    this.#peer.close()
  }
}
