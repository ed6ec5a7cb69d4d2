/** Plain TCP to a host with several addresses. */
import type { LookupAddress } from 'node:dns'
import { connect, type Socket } from 'node:net'
import { raceAddresses } from './happy-eyeballs.js'

/** Milliseconds of silence before the system looks whether the other end is still there. */
export const KEEP_ALIVE = 60_000

/** Rejects with `AddressesError`, or with the signal's reason. */
export function dialTcp(
  addresses: readonly LookupAddress[],
  port: number,
  signal: AbortSignal,
): Promise<Socket> {
  return raceAddresses<Socket>({
    addresses,
    signal,
    dial: ({ address, family }, done) => {
      const socket = connect({
        host: address,
        port,
        family,
        autoSelectFamily: false,
        noDelay: true,
        keepAlive: true,
        keepAliveInitialDelay: KEEP_ALIVE,
      })
      // For good: what breaks later shows as the end of the connection.
      socket.on('error', done)
      socket.once('connect', () => done(undefined, socket))
      return () => void socket.destroy()
    },
  })
}
