import type * as stack from '../../../stack/index.js'

/** See `world.mjs`; for the tests, which are typed. */
export class World {
  constructor(module: typeof stack, seed: number, packets: number)
  /** Forged packets that went in so far. */
  readonly injected: number
  /** Most octets that the stack under test held. */
  readonly mostHeld: number
  /** The stack under test. */
  readonly b: stack.NetStack
  step(): void
  finish(): void
  toString(): string
}
