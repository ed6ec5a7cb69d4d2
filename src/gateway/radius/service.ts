/** The RADIUS servers of a gateway, and the sessions with them. */
import { randomFillSync } from 'node:crypto'
import { hostname } from 'node:os'
import { Accounting } from './accounting.js'
import { RadiusClient } from './client.js'
import { type Clock, type OpenPort, type RadiusServer, systemClock } from './port.js'
import { RadiusSession, type SessionOwner } from './session.js'

export interface RadiusOptions {
  /** Asked about log-ins, in order of preference; at least one. */
  readonly servers: readonly RadiusServer[]
  /** Told of sessions, in order of preference; none: nobody is told. */
  readonly accounting: readonly RadiusServer[]
  /** Milliseconds for each server to answer in, with two repetitions in between; default 6 s. */
  readonly timeout?: number
  /** Servers that send no Message-Authenticator are believed, except about EAP; default false. See CVE-2024-3596. */
  readonly oldServer?: boolean
  /** What this gateway calls itself; default the host's name. */
  readonly nasIdentifier?: string
  /** For tests. */
  readonly clock?: Clock
  readonly openPort?: OpenPort
  readonly random?: (dst: Uint8Array) => void
  readonly wallClock?: () => number
}

/** A call that has an address which the server chose. */
export interface AddressHolder {
  readonly user: string
  /** Lets the address go, which is another's from now on, and ends. */
  handOver(): void
}

export class RadiusService {
  /** By address. */
  readonly holders = new Map<string, AddressHolder>()
  readonly #options: RadiusOptions
  readonly #client: RadiusClient
  readonly #accountingClient: RadiusClient | undefined
  readonly #accounting: Accounting | undefined

  /** `warn` gets lines for people. */
  constructor(options: RadiusOptions, warn: (code: string, message: string) => void) {
    const { timeout, oldServer, clock = systemClock, openPort } = options
    this.#options = options
    const common = {
      clock,
      ...(timeout === undefined ? {} : { timeout }),
      ...(openPort === undefined ? {} : { openPort }),
    }
    this.#client = new RadiusClient({
      ...common,
      servers: options.servers,
      requireMessageAuthenticator: oldServer !== true,
    })
    if (options.accounting.length === 0) return
    this.#accountingClient = new RadiusClient({ ...common, servers: options.accounting })
    this.#accounting = new Accounting(this.#accountingClient, clock, (message) =>
      warn('RADIUS_ACCOUNTING', `RADIUS accounting: ${message}`),
    )
  }

  session(owner: SessionOwner): RadiusSession {
    const { nasIdentifier, random, wallClock } = this.#options
    return new RadiusSession(
      {
        client: this.#client,
        accounting: this.#accounting,
        nasIdentifier: nasIdentifier ?? (hostname() || 'sstp-socks'),
        random: random ?? ((dst) => void randomFillSync(dst)),
        wallClock: wallClock ?? (() => Math.floor(Date.now() / 1000)),
      },
      owner,
    )
  }

  /** Ends everything; the last accounting records get `ms` to arrive. */
  async close(ms: number): Promise<void> {
    await this.#accounting?.drained(ms)
    this.#accounting?.close()
    this.#accountingClient?.close()
    this.#client.close()
  }
}
