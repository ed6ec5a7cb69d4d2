import type { DialErrorCode } from '../tunnel/dialer.js'
import type { HostType } from './message.js'
import { type Asker, failed } from './outcome.js'
import type { Query } from './wire.js'

/** What became of a question that was handed on as it is. */
export type Relayed =
  /** A whole response without an OPT record; its id means nothing, and it must not be changed. */
  | { readonly kind: 'message'; readonly message: Buffer }
  | { readonly kind: 'failed'; readonly code: DialErrorCode; readonly message: string }

/**
 * Whoever can be asked for names: a tunnel, the machine's own resolver, or a rule that says no. Names are lower case,
 * without the final dot. Nothing ever rejects.
 */
export interface NameSource extends Asker {
  /** A question of any type. */
  relay(query: Query, signal?: AbortSignal): Promise<Relayed>
  /** False: this name is answered whether there is a tunnel or not. */
  needsTunnel?(name: string): boolean
  /** These records are written down here: no server is asked for them, not even for their signatures. */
  isWritten?(name: string, type: HostType): boolean
  /** Resolves when the answers of `needsTunnel` and `isWritten` are up to date; undefined: they are. Never rejects. */
  refresh?(): Promise<void> | undefined
}

/** Answers every question with `not-allowed`. */
export function refusing(message: string): NameSource {
  return {
    lookup: async () => failed('not-allowed', message),
    relay: async () => ({ kind: 'failed', code: 'not-allowed', message }),
  }
}
