/**
 * Notices what an outer connection may not have outlived: a sleep of the machine, and a change of its networks.
 *
 * Neither is told by any interface of Node's, so it looks now and then; one look costs some microseconds.
 */
import { networkInterfaces } from 'node:os'
import type { SupervisorClock } from './supervisor-clock.js'

export type Disturbance = 'sleep' | 'network'

/** Milliseconds between two looks. */
const INTERVAL = 2_000
/** Wall clock and steady clock, or timer and clock, are that far apart: the machine has slept. */
const SLEPT = 5_000

export class Watch {
  private readonly clock: SupervisorClock
  private readonly networks: () => string
  private readonly onDisturbance: (what: Disturbance) => void
  private timer: unknown
  private lookedAt = 0
  /** Wall clock minus steady clock. */
  private drift = 0
  private known = ''

  constructor(clock: SupervisorClock, networks: () => string, onDisturbance: (what: Disturbance) => void) {
    this.clock = clock
    this.networks = networks
    this.onDisturbance = onDisturbance
  }

  start(): void {
    this.remember()
    this.timer = this.clock.later(this.look, INTERVAL)
  }

  stop(): void {
    this.clock.cancel(this.timer)
    this.timer = undefined
  }

  private readonly look = (): void => {
    const { clock, lookedAt, drift, known } = this
    this.remember()
    this.timer = clock.later(this.look, INTERVAL)
    // On Linux and macOS the steady clock stands still in a sleep, on Windows it goes on. A wall clock that
    // was put back tells nothing.
    const slept = this.drift - drift >= SLEPT || this.lookedAt - lookedAt >= INTERVAL + SLEPT
    if (slept) this.onDisturbance('sleep')
    else if (this.known !== known) this.onDisturbance('network')
  }

  private remember(): void {
    this.lookedAt = this.clock.now()
    this.drift = this.clock.wall() - this.lookedAt
    try {
      this.known = this.networks()
    } catch {
      // The system does not say: no descriptor is left, or it is forbidden to ask. It is no reason to fall over.
    }
  }
}

/**
 * The addresses by which this machine can be connected to others, as one text to compare. Link-local ones say
 * nothing: containers and virtual machines come and go with theirs.
 */
export function describeNetworks(): string {
  const found: string[] = []
  for (const [name, addresses] of Object.entries(networkInterfaces())) {
    for (const { address, internal } of addresses ?? []) {
      if (!internal && !/^(?:fe[89ab]|169\.254\.)/.test(address)) found.push(`${name} ${address}`)
    }
  }
  return found.sort().join('\n')
}
