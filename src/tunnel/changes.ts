/**
 * When a change of what is known of a tunnel is told: the first at once, then one in a while. A router that says
 * something else each time must not fill a disk.
 */
import type { TunnelInfo } from './events.js'

/** Milliseconds between two changes that are told. */
const INTERVAL = 1_000

export class Changes {
  /** When the next change is to be told; Infinity: there is none. */
  tellAt = Number.POSITIVE_INFINITY
  private toldAt = Number.NEGATIVE_INFINITY
  /** The last that was told. */
  private last = ''

  /** What is told with `up`. */
  begin(info: TunnelInfo): void {
    this.last = JSON.stringify(info)
  }

  /** There may be a change. @returns if it may be told now; else it is to be told at {@link tellAt} */
  noted(now: number): boolean {
    this.tellAt = Math.min(this.tellAt, this.toldAt + INTERVAL)
    return now >= this.tellAt
  }

  /** It is about to be told. @returns if there is something to tell */
  told(info: TunnelInfo, now: number): boolean {
    this.tellAt = Number.POSITIVE_INFINITY
    const text = JSON.stringify(info)
    if (text === this.last) return false
    this.last = text
    this.toldAt = now
    return true
  }
}
