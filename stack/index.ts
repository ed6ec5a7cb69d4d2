/**
 * A TCP/IP stack without a kernel, a clock or a socket of its own: packets in, packets out.
 *
 * @packageDocumentation
 */
export type { EchoReply, PingSocket } from './icmp/ping.js'
export { type AnySocket, NetStack, type NetStackOptions, takeReady } from './netstack.js'
export type { TcpConnection, TcpOptionsWanted } from './tcp/connection.js'
export type { ListenOptions, TcpListener } from './tcp/listener.js'
export { STATE_NAMES, TcpState } from './tcp/state.js'
export * from './types.js'
export type { Datagram, SocketNews } from './udp/datagrams.js'
export type { UdpOptions, UdpSocket } from './udp/socket.js'
export { IpAddress } from './wire/address.js'
