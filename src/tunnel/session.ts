/** Brings a tunnel up: by one call, or by a second one if the server has refused the key of the first. */
import type { InnerNetwork } from './inner.js'
import { Session } from './one-call.js'
import type { TunnelOptions } from './options.js'
import { otherKeyRule, prepareSignIn } from './sign-in.js'
import type { Tunnel } from './tunnel.js'

export type { PingOptions } from './options.js'
export type { Tunnel } from './tunnel.js'

/**
 * Brings a call up. Rejects with {@link CallError}, or with the signal's reason.
 *
 * @param inner - stack and sockets that outlive the call; without them it has its own
 */
export async function openTunnel(options: TunnelOptions, inner?: InnerNetwork): Promise<Tunnel> {
  const ready = await prepareSignIn(options)
  const session = new Session(ready, inner)
  try {
    return await session.open()
  } catch (error) {
    const other = otherKeyRule(ready, session.method, error)
    if (other === undefined) throw error
    const message = `the server refused the key that ${session.method} has made: trying once more with the key as pppd 2.4 makes it`
    options.onEvent?.({ type: 'warning', code: 'OTHER_KEY_RULE', message })
    // If that is no better, the first answer was the true one.
    return new Session(other, inner).open().catch((second: unknown) => {
      throw otherKeyRule(ready, session.method, second) === undefined ? second : error
    })
  }
}
