/**
 * Who says yes or no at a server: an authority outside of the link, such as RADIUS, that is asked with the octets
 * of the client's messages and may answer later. Local accounts need none of this: see `lookup` of the link's
 * options.
 */

/** Octets are the request's own, and may be kept. */
export type AuthRequest =
  /** RFC 1334. `password` as the client sent it; a secret. */
  | { readonly kind: 'pap'; readonly user: string; readonly password: Uint8Array }
  /** RFC 1994: identifier, challenge, and response of 16 octets. */
  | {
      readonly kind: 'chap'
      readonly user: string
      readonly id: number
      readonly challenge: Uint8Array
      readonly response: Uint8Array
    }
  /** RFC 2759: challenge of 16 octets, and the 49 octets of the response's value. */
  | {
      readonly kind: 'mschapv2'
      readonly user: string
      readonly id: number
      readonly challenge: Uint8Array
      readonly response: Uint8Array
    }
  /** RFC 2759 7: the 582 octets behind the header of a Change-Password packet; `challenge` that of the Failure. */
  | {
      readonly kind: 'mschapv2-change'
      readonly user: string
      readonly id: number
      readonly challenge: Uint8Array
      readonly change: Uint8Array
    }
  /** RFC 3579: a whole EAP packet of the client, first its Response to the Identity request. `user`: that identity. */
  | { readonly kind: 'eap'; readonly user: string; readonly packet: Uint8Array }

export type AuthVerdict =
  | {
      readonly kind: 'accept'
      /** Who it is, if the authority calls them something else than they do themselves. */
      readonly user?: string
      /**
       * 32 octets (RADIUS: the beginning of MS-MPPE-Recv-Key, MS-MPPE-Send-Key and zeros); zeros, or absent, if the
       * method makes no key. A secret.
       */
      readonly hlak?: Uint8Array
      /** EAP: what clients like pppd 2.4 make of the same keys, if that is something else. */
      readonly otherHlak?: Uint8Array
      /** Text for the client of PAP and CHAP. */
      readonly message?: string
      /** MS-CHAPv2: `S=… M=…`, without the identifier in front. */
      readonly success?: string
      /** EAP: the Success packet; absent: one is made. */
      readonly packet?: Uint8Array
    }
  | {
      readonly kind: 'reject'
      /** Text for the client of PAP and CHAP. */
      readonly message?: string
      /** MS-CHAPv2: `E=… R=… C=… V=… M=…`, without the identifier in front; absent: E=691. */
      readonly failure?: string
      /** EAP: the Failure packet; absent: one is made. */
      readonly packet?: Uint8Array
    }
  /** EAP: the next Request, whole. */
  | { readonly kind: 'challenge'; readonly packet: Uint8Array }
  /** Nobody could be asked; the client is let go with this reason, which names no secret. */
  | { readonly kind: 'error'; readonly message: string }

/** A question that was put. */
export interface AuthPending {
  /** Undefined until it is known; may be known at once. */
  readonly verdict: AuthVerdict | undefined
  /** Nobody waits for it any more. */
  cancel(): void
}

/** One for a call. */
export interface Authenticator {
  /** EAP packets may be asked about. */
  readonly eap: boolean
  /**
   * Puts a question; one at a time. `onActivity` is called when the verdict is known, but never synchronously.
   */
  ask(request: AuthRequest, onActivity: () => void): AuthPending
}
