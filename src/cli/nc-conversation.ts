/** What `nc` has to agree on with a proxy before there is a connection: bytes in, values out. */

export interface ProxyLogin {
  readonly user: string
  readonly password: string
}

/** What is wrong, and what a script is told by the exit status. */
export class NcFailure extends Error {
  override readonly name = 'NcFailure'
  readonly status: number
  constructor(message: string, status: number) {
    super(message)
    this.status = status
  }
}

export type Step =
  /** Send this, and go on reading. */
  | { readonly type: 'send'; readonly data: Uint8Array }
  | { readonly type: 'more' }
  /** The connection stands; `rest` came behind the reply. */
  | { readonly type: 'connected'; readonly rest: Uint8Array }

export interface Conversation {
  /** To be sent at first. */
  readonly first: Uint8Array
  /** What has come, octet by octet if it has to be. Throws {@link NcFailure}. */
  push(chunk: Uint8Array): Step
}

/** Exit statuses beyond those of every command: 10 and the reply's code (RFC 1928 6). */
export const STATUS = {
  usage: 2,
  unreachable: 3,
  credentials: 5,
  protocol: 6,
  lost: 7,
  reply: 10,
} as const
