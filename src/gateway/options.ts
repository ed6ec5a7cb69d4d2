import type { AuthName } from '../ppp/auth/method.js'
import type { GatewayEvent } from './events.js'
import type { RadiusOptions } from './radius/service.js'

/** Looks accounts up. Passwords are needed in clear by CHAP and MS-CHAPv2. */
export interface Accounts {
  /** The password, or undefined for an unknown user. The name comes as the client sent it. */
  password(user: string): string | undefined
}

/** All that `serve` needs. */
export interface GatewayOptions {
  readonly address: string
  /** 0 picks one. */
  readonly port: number
  /** PEM; the certificate may be followed by its chain. */
  readonly cert: string
  readonly key: string
  readonly accounts: Accounts
  /** RADIUS servers, which are asked instead of `accounts`, by every method. */
  readonly radius?: RadiusOptions
  /**
   * Methods offered, best first. Default: `mschapv2`, `eap-mschapv2`, `chap` and `pap`, with `clientCa` after `eap-tls`; with
   * RADIUS all.
   */
  readonly auth?: readonly AuthName[]
  /**
   * PEM of the authorities whose clients may come with EAP-TLS: whoever has a certificate for clients of theirs is let
   * in. RADIUS has its own.
   */
  readonly clientCa?: string
  /** IPv4 range for clients in CIDR; its first address is the gateway's own. Default 192.168.30.0/24. */
  readonly pool?: string
  /** IPv6 prefix of 64 bits for clients, in CIDR; its first address is the gateway's own. Default: no IPv6. */
  readonly ipv6Prefix?: string
  /** DNS servers told to clients. Default: the gateway's own address, which forwards to the host's resolver. */
  readonly dns?: readonly string[]
  readonly mtu?: number
  /** The gateway's own inner address stands for 127.0.0.1 of its host. Default false. */
  readonly allowLoopback?: boolean
  /** Calls at one time; 0 to 65535, default 256. */
  readonly maxCalls?: number
  /** TCP connections through one call; from 1, default 1024. Each costs a socket of the host. */
  readonly maxConnections?: number
  /** Connections of clients that have not signed in; from 1, default 256. A quarter of them may be in TLS's handshake. */
  readonly maxStrangers?: number
  /** Of these, such of one address (a /64 of IPv6); from 1, default 32. More than are here counts as all. */
  readonly maxPerAddress?: number
  /** Wrong passwords of one address until it must wait, a minute for each; 0: no bounds. Default 10. */
  readonly maxFailures?: number
  /** Milliseconds from the connection until the call is up; default 120 s. */
  readonly setupTimeout?: number
  readonly onEvent?: (event: GatewayEvent) => void
  /** Report control messages as `trace` events. */
  readonly trace?: boolean
}
