/**
 * A TCP/IP stack without a kernel, a clock or a socket of its own: packets in, packets out.
 *
 * {@link NetStack} is the host. Whoever drives it gives it packets (`input`) and the time (`handleTimeout`), and
 * asks it for packets (`output`), for news of sockets (`nextReady`) and for when it wants to be woken
 * (`nextTimeout`). All times are milliseconds of the driver's clock, all sizes are octets. Nothing that a peer
 * sends makes it throw.
 *
 * @packageDocumentation
 */
export type { EchoReply, PingSocket } from './icmp/ping.js'
export {
  type AnySocket,
  NetStack,
  type NetStackOptions,
  takeReady,
  type UnclaimedPacket,
} from './netstack.js'
export type { ReadySocket } from './ready.js'
export type { TcpConnection, TcpOptionsWanted } from './tcp/connection.js'
export type { ListenOptions, TcpListener } from './tcp/listener.js'
export { STATE_NAMES, TcpState } from './tcp/state.js'
export type { Tuple } from './tuple.js'
export * from './types.js'
export type { Datagram, SocketNews } from './udp/datagrams.js'
export type { UdpOptions, UdpSocket } from './udp/socket.js'
export { IpAddress } from './wire/address.js'
