/** Questions that are under way, so that equal ones at one time share one query. */
export class SharedQuestions<T> {
  readonly #pending = new Map<string, Pending<T>>()
  readonly #givenUp: T

  /** `givenUp` is what those are told who do not wait any more. */
  constructor(givenUp: T) {
    this.#givenUp = givenUp
  }

  get size(): number {
    return this.#pending.size
  }

  has(key: string): boolean {
    return this.#pending.has(key)
  }

  /**
   * Joins the question called `key`, which `start` puts if nobody else has: it never rejects, and its signal tells
   * that nobody waits any more. `keep` is called with what it came to, before anybody is told.
   */
  ask(
    key: string,
    signal: AbortSignal | undefined,
    start: (signal: AbortSignal) => Promise<T>,
    keep: (value: T) => void,
  ): Promise<T> {
    const joined = this.#pending.get(key) ?? this.#start(key, start, keep)
    return joined.join(signal, this.#givenUp, () => {
      if (this.#pending.get(key) === joined) this.#pending.delete(key)
    })
  }

  /** Ends all questions that are under way. */
  close(value: T): void {
    for (const pending of this.#pending.values()) {
      pending.settle(value)
      pending.abort()
    }
    this.#pending.clear()
  }

  #start(key: string, start: (signal: AbortSignal) => Promise<T>, keep: (value: T) => void): Pending<T> {
    const pending = new Pending<T>()
    this.#pending.set(key, pending)
    void start(pending.signal).then((value) => {
      // One given up by all who waited was taken out already, and a newer one may be in its place.
      if (this.#pending.get(key) === pending) {
        this.#pending.delete(key)
        keep(value)
      }
      pending.settle(value)
    })
    return pending
  }
}

class Pending<T> {
  readonly #controller = new AbortController()
  readonly #waiting = new Set<(value: T) => void>()

  get signal(): AbortSignal {
    return this.#controller.signal
  }

  /** `onLast` is called when the last one who waited has given up; the question is given up with it. */
  join(signal: AbortSignal | undefined, givenUp: T, onLast: () => void): Promise<T> {
    return new Promise((resolve) => {
      const done = (value: T): void => {
        signal?.removeEventListener('abort', leave)
        resolve(value)
      }
      const leave = (): void => {
        this.#waiting.delete(done)
        done(givenUp)
        if (this.#waiting.size > 0) return
        onLast()
        this.abort()
      }
      this.#waiting.add(done)
      if (signal?.aborted) leave()
      else signal?.addEventListener('abort', leave)
    })
  }

  settle(value: T): void {
    for (const done of this.#waiting) done(value)
    this.#waiting.clear()
  }

  abort(): void {
    this.#controller.abort()
  }
}
