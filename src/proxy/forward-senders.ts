import type { SetTimer } from './client.js'

/** One sender of datagrams, as a table knows it. */
export interface Sender {
  readonly key: string
  /** For the table: the last beat in which it was used. */
  beat: number
  /** It was forgotten; `quiet`: because it said nothing for long, or others did. */
  forgotten(quiet: boolean): void
}

/**
 * Senders of datagrams by address and port. There is no end to a conversation by datagrams, so whoever is quiet for
 * long is forgotten, and when the table is full, whoever is quiet longest.
 *
 * Time goes in beats, so that a datagram costs a look-up and an assignment: a sender is forgotten between `quiet` and
 * nine eighths of it after its last one.
 */
export class SenderTable<T extends Sender> {
  readonly #senders = new Map<string, T>()
  readonly #most: number
  readonly #interval: number
  readonly #setTimer: SetTimer
  #beat = 0
  #cancel: (() => void) | undefined

  constructor(most: number, quiet: number, setTimer: SetTimer) {
    this.#most = most
    this.#interval = Math.ceil(quiet / BEATS)
    this.#setTimer = setTimer
  }

  get size(): number {
    return this.#senders.size
  }

  /** A sender that has just sent. */
  find(key: string): T | undefined {
    const sender = this.#senders.get(key)
    if (sender !== undefined) sender.beat = this.#beat
    return sender
  }

  /** A sender was sent to. */
  used(sender: T): void {
    sender.beat = this.#beat
  }

  add(sender: T): void {
    if (this.#senders.size >= this.#most) this.#makeRoom()
    sender.beat = this.#beat
    this.#senders.set(sender.key, sender)
    this.#cancel ??= this.#setTimer(this.#onBeat, this.#interval)
  }

  /** It has ended by itself. */
  delete(sender: T): void {
    if (this.#senders.get(sender.key) !== sender) return
    this.#senders.delete(sender.key)
    this.#rest()
  }

  clear(): void {
    for (const sender of [...this.#senders.values()]) this.#drop(sender, false)
    this.#rest()
  }

  readonly #onBeat = (): void => {
    this.#cancel = undefined
    this.#beat++
    for (const sender of this.#senders.values()) {
      if (this.#beat - sender.beat > BEATS) this.#drop(sender, true)
    }
    if (this.#senders.size > 0) this.#cancel = this.#setTimer(this.#onBeat, this.#interval)
  }

  #makeRoom(): void {
    let oldest: T | undefined
    for (const sender of this.#senders.values()) {
      if (oldest === undefined || sender.beat < oldest.beat) oldest = sender
    }
    if (oldest !== undefined) this.#drop(oldest, true)
  }

  #drop(sender: T, quiet: boolean): void {
    this.#senders.delete(sender.key)
    sender.forgotten(quiet)
  }

  #rest(): void {
    if (this.#senders.size > 0) return
    this.#cancel?.()
    this.#cancel = undefined
  }
}

const BEATS = 8
