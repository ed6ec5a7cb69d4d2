/** The npm package socksv5, a SOCKS5 client that is not ours; it has no types. */
import { createRequire } from 'node:module'
import type { Socket } from 'node:net'

export interface SocksV5Client {
  connect(to: object, listener: (socket: Socket) => void): this
  on(event: 'error', listener: (error: Error) => void): this
}

export interface SocksV5 {
  // Its `connect` function needs a part of Node that is gone; the class does not.
  readonly Client: new (
    options: object,
  ) => SocksV5Client
  readonly auth: { None(): unknown; UserPassword(user: string, password: string): unknown }
}

const require = createRequire(import.meta.url)
// It is of 2014, and Node 23 has let go of this.
const util = require('node:util') as { isError?: (x: unknown) => boolean }
util.isError ??= (x) => x instanceof Error

export const socksv5 = require('socksv5') as SocksV5
