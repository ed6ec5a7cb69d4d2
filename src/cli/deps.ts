import type { DialerOptions, NamedDialer } from '../dns/dialer.js'
import type { DnsListener, DnsServerOptions } from '../dns/server.js'
import type { GatewayOptions } from '../gateway/options.js'
import type { ProxyOptions } from '../proxy/server.js'
import type { CallError } from '../transport/errors.js'
import type { Network } from '../tunnel/dialer.js'
import type { TunnelInfo } from '../tunnel/events.js'
import type { InnerNetwork } from '../tunnel/inner.js'
import type { TunnelOptions } from '../tunnel/options.js'
import type { SupervisorOptions } from '../tunnel/supervisor.js'
import type { Stdio } from './stdio.js'

/** The part of a tunnel that the commands use. */
export interface Tunnel extends Network {
  readonly info: TunnelInfo
  /** Resolves when the call is over; no error: we ended it. */
  readonly closed: Promise<CallError | undefined>
  /** Ends the call properly; takes at most 3 s. */
  close(): Promise<void>
  /** Asks the server for a sign of life now. */
  probe?(): void
  ping(
    address: string,
    options?: { readonly size?: number; readonly timeout?: number; readonly signal?: AbortSignal },
  ): Promise<{ readonly ms: number; readonly size: number }>
}

/** Something that listens: the gateway, or the proxies on one port. */
export interface Listener {
  readonly address: string
  readonly port: number
  /** Of a unix socket, which has neither address nor port. */
  readonly path?: string
  close(): Promise<void>
}

/** SIGHUP: the terminal was closed. */
export type StopSignal = 'SIGINT' | 'SIGTERM' | 'SIGHUP'

/** What `run` passes on, or leaves to the command. */
export type PassedSignal = StopSignal | 'SIGQUIT' | 'SIGUSR1' | 'SIGUSR2'

/** A command that was started. */
export interface Child {
  /** Rejects with the system's error if it could not be started. */
  readonly ended: Promise<{ readonly status: number | null; readonly signal: NodeJS.Signals | null }>
  kill(signal: PassedSignal): void
}

/** All that the commands want from the world, so that tests run them whole with a world of their own. */
export interface Deps {
  /** `inner`: stack and sockets that outlive the call. */
  openTunnel(options: TunnelOptions, inner?: InnerNetwork): Promise<Tunnel>
  /** Clock, chance and networks of whoever keeps a tunnel up; those of the machine by default. */
  readonly supervision?: Pick<SupervisorOptions, 'clock' | 'random' | 'networks'>
  listenGateway(options: GatewayOptions): Promise<Listener>
  listenProxy(options: ProxyOptions): Promise<Listener>
  listenDns(options: DnsServerOptions): Promise<DnsListener>
  createDialer(options: DialerOptions): NamedDialer
  readonly stdout: (text: string) => void
  readonly stderr: (text: string) => void
  /** Colours in logs. */
  readonly color: boolean
  readonly env: Readonly<Record<string, string | undefined>>
  readStdin(): Promise<Uint8Array>
  /** Standard input and output as streams, for one connection. */
  stdio(): Stdio
  /** Asks at the terminal, and takes the question back when the signal is aborted; absent without one. */
  readonly ask: ((question: string, hidden: boolean, signal: AbortSignal) => Promise<string>) | undefined
  /** Takes the arguments out of the process list, as far as the system lets us. */
  hideArguments(): void
  onSignal(signal: PassedSignal, listener: () => void): () => void
  /** Standard output takes nothing any more (a full disk; not a reader who has gone). */
  onOutputError?(listener: (error: Error) => void): () => void
  /** Ends the process at once. */
  exitNow(status: number): void
  /** Starts a command on our own standard input, output and error. */
  startChild(command: readonly string[], env: Readonly<Record<string, string>>): Child
  /** Somebody sits there: the keys that make signals reach a command of ours without us. */
  readonly terminal: boolean
  /** The words that start this program again. */
  readonly self: readonly string[]
  /** Milliseconds that never go back. */
  now(): number
  /** Resolves after `ms`, or as soon as the signal is aborted. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>
}
