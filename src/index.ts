/**
 * The network behind an SSTP server, without root: {@link connect} brings a tunnel up, {@link serve} is
 * the server.
 *
 * @packageDocumentation
 */
import type { TunnelOptions } from './tunnel/options.js'
import { openTunnel, type Tunnel } from './tunnel/session.js'

export type { GatewayEvent } from './gateway/events.js'
export { type Gateway, listenGateway as serve } from './gateway/gateway.js'
export type { Accounts, GatewayOptions } from './gateway/options.js'
export { CallError, type CallErrorKind, STEPS, type Step } from './transport/errors.js'
export {
  DialError,
  type DialErrorCode,
  type DialOptions,
  type Endpoint,
  type Flow,
  type FlowHandler,
  type Network,
  type UdpFlow,
  type UdpHandler,
} from './tunnel/dialer.js'
export type { TunnelEvent, TunnelInfo } from './tunnel/events.js'
export type { KeepAliveTimes } from './tunnel/keep-alive.js'
export type { AuthMethod, TrustOptions, TunnelOptions } from './tunnel/options.js'
export type { Tunnel } from './tunnel/session.js'

/** Brings a call up. Rejects with {@link CallError}, or with the signal's reason. */
export function connect(options: TunnelOptions): Promise<Tunnel> {
  return openTunnel(options)
}
