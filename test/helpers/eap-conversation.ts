/** An EAP peer and an authenticator with a wire between them, in virtual time; TLS engines are awaited, never slept for. */
import { readFileSync } from 'node:fs'
import { EapAuthenticator } from '../../src/ppp/auth/eap/authenticator.js'
import type { EapKeys, EapMethodChoice } from '../../src/ppp/auth/eap/method.js'
import { EapPeer } from '../../src/ppp/auth/eap/peer.js'
import type { TlsEngine, TlsEngineFactory } from '../../src/ppp/auth/eap/tls-engine.js'
import type { PppError } from '../../src/ppp/errors.js'
import { seededRandom } from './ppp.js'

export type Side = 'peer' | 'authenticator'

export interface End {
  keys: EapKeys | undefined
  user: string
  method: string
  succeeded: boolean
  error: PppError | undefined
  notes: string[]
}

export interface ConversationOptions {
  /** The engines are the conversation's: each end's factory is to be wrapped by `watch`. */
  readonly peer: (watch: Watch) => readonly EapMethodChoice[]
  readonly authenticator: (watch: Watch) => readonly EapMethodChoice[]
  readonly identity?: string
  /** Octets of a packet. */
  readonly limit?: number
  /** What becomes of a packet: gone, changed, or several. By default it arrives. */
  readonly wire?: (packet: Uint8Array, from: Side, number: number) => readonly Uint8Array[]
}

export type Watch = (factory: TlsEngineFactory) => TlsEngineFactory

export function fixture(name: string): Buffer {
  return readFileSync(`test/fixtures/eap/${name}`)
}

const NOTHING: End = {
  keys: undefined,
  user: '',
  method: '',
  succeeded: false,
  error: undefined,
  notes: [],
}
const MAX_STEPS = 20_000

export class Conversation {
  readonly ends: Record<Side, End> = {
    peer: { ...NOTHING, notes: [] },
    authenticator: { ...NOTHING, notes: [] },
  }
  readonly packets: { readonly from: Side; readonly bytes: Uint8Array }[] = []
  readonly engines: TlsEngine[] = []
  readonly peer: EapPeer
  readonly authenticator: EapAuthenticator
  now = 0
  readonly #queue: { readonly to: Side; readonly bytes: Uint8Array }[] = []
  #woken: (() => void) | undefined
  #activity = false

  constructor(options: ConversationOptions) {
    const watch: Watch = (factory) => (engine) => {
      const made = factory(engine)
      this.engines.push(made)
      return made
    }
    const host = (side: Side, seed: number) => ({
      random: seededRandom(seed),
      limit: options.limit ?? 1400,
      send: (bytes: Uint8Array) => {
        this.packets.push({ from: side, bytes })
        const to = side === 'peer' ? 'authenticator' : 'peer'
        for (const one of options.wire?.(bytes, side, this.packets.length - 1) ?? [bytes]) {
          this.#queue.push({ to, bytes: one })
        }
      },
      failed: (error: PppError) => {
        this.ends[side].error = error
      },
      note: (message: string) => this.ends[side].notes.push(message),
      onActivity: () => {
        this.#activity = true
        this.#woken?.()
      },
    })
    const done = (side: Side, choice: EapMethodChoice, user: string, keys: EapKeys | undefined): void => {
      Object.assign(this.ends[side], { succeeded: true, keys, user, method: choice.name })
    }
    this.peer = new EapPeer(
      { ...host('peer', 1), succeeded: (choice, keys) => done('peer', choice, '', keys) },
      { identity: options.identity ?? 'alice', methods: options.peer(watch) },
    )
    this.authenticator = new EapAuthenticator(
      {
        ...host('authenticator', 2),
        succeeded: (choice, user, keys) => done('authenticator', choice, user, keys),
      },
      { methods: options.authenticator(watch) },
    )
  }

  /** Until nothing can happen any more; deadlines are jumped to. */
  async run(): Promise<this> {
    this.peer.start(this.now)
    this.authenticator.start(this.now)
    for (let step = 0; step < MAX_STEPS; step += 1) {
      const next = this.#queue.shift()
      if (next !== undefined) {
        this[next.to].input(next.bytes, 0, next.bytes.length, this.now)
        continue
      }
      if (this.#activity) {
        this.#activity = false
        this.peer.activity(this.now)
        this.authenticator.activity(this.now)
        continue
      }
      if (this.engines.some((engine) => engine.busy)) {
        await new Promise<void>((resolve) => {
          this.#woken = resolve
        })
        this.#woken = undefined
        continue
      }
      const due = Math.min(this.peer.nextTimeout(), this.authenticator.nextTimeout())
      if (due === Number.POSITIVE_INFINITY || this.over) {
        this.close()
        return this
      }
      this.now = Math.max(this.now, due)
      this.peer.handleTimeout(this.now)
      this.authenticator.handleTimeout(this.now)
    }
    throw new Error('the conversation has no end')
  }

  get over(): boolean {
    const { peer, authenticator } = this.ends
    return (
      (peer.succeeded || peer.error !== undefined) &&
      (authenticator.succeeded || authenticator.error !== undefined)
    )
  }

  close(): void {
    this.peer.close()
    this.authenticator.close()
  }
}

/** A wire on which the answer to the first Start is lost, to a server that gives what it repeats a number of its own. */
export function renumbered(method: number): NonNullable<ConversationOptions['wire']> {
  let starts = 0
  const other = (p: Uint8Array): Uint8Array =>
    Uint8Array.from(p, (octet, i) => (i === 1 ? octet ^ 0x80 : octet))
  return (p, from) => {
    if (p[4] !== method) return [p]
    if (from === 'authenticator' && p[5] !== undefined && (p[5] & 0x20) !== 0) starts += 1
    if (starts === 1) return from === 'peer' ? [] : [p]
    return [other(p)]
  }
}
