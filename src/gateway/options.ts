import type { GatewayEvent } from './events.js'

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
  /** Methods offered, best first. Default: all three. */
  readonly auth?: readonly ('mschapv2' | 'chap' | 'pap')[]
  /** IPv4 range for clients in CIDR; its first address is the gateway's own. Default 192.168.30.0/24. */
  readonly pool?: string
  /** DNS servers told to clients. Default: the gateway's own address, which forwards to the host's resolver. */
  readonly dns?: readonly string[]
  readonly mtu?: number
  /** The gateway's own inner address stands for 127.0.0.1 of its host. Default false. */
  readonly allowLoopback?: boolean
  /** Calls at one time; 0 to 65535, default 256. */
  readonly maxCalls?: number
  readonly onEvent?: (event: GatewayEvent) => void
  /** Report control messages as `trace` events. */
  readonly trace?: boolean
}
