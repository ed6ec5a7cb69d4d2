/** EAP in PPP (c227), the server's side: {@link EapAuthenticator} as a method of the link. */
import { copyOf, u8 } from '../../../../stack/bytes.js'
import { CONTROL_HEADER } from '../../control.js'
import type { PppError } from '../../errors.js'
import { Protocol } from '../../frame.js'
import type { AuthHost, AuthMethod } from '../method.js'
import { EapAuthenticator, type EapAuthenticatorOptions } from './authenticator.js'
import { hlakOf, otherHlakOf } from './method.js'

export class EapServer implements AuthMethod {
  readonly protocol = Protocol.EAP
  readonly #authenticator: EapAuthenticator

  constructor(host: AuthHost, options: EapAuthenticatorOptions) {
    this.#authenticator = new EapAuthenticator(
      {
        random: host.random,
        get limit(): number {
          return host.limit
        },
        send: (packet) =>
          host.send(u8(packet, 0), u8(packet, 1), copyOf(packet, CONTROL_HEADER, packet.length)),
        succeeded: (choice, user, keys) => host.succeeded(user, hlakOf(keys), choice.name, otherHlakOf(keys)),
        failed: (error) => host.failed(error),
        note: (message) => host.note(message),
        onActivity: host.onActivity,
      },
      options,
    )
  }

  get undecided(): boolean {
    return this.#authenticator.refusal() !== undefined
  }

  start(now: number): void {
    this.#authenticator.start(now)
  }

  input(b: Uint8Array, o: number, len: number, now: number): void {
    this.#authenticator.input(b, o, len, now)
  }

  activity(now: number): void {
    this.#authenticator.activity(now)
  }

  refusal(): PppError | undefined {
    return this.#authenticator.refusal()
  }

  nextTimeout(): number {
    return this.#authenticator.nextTimeout()
  }

  handleTimeout(now: number): void {
    this.#authenticator.handleTimeout(now)
  }

  close(): void {
    this.#authenticator.close()
  }
}
