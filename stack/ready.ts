/** A socket that can be on the list of those with news. Both fields belong to the list. */
export interface ReadySocket {
  /** @internal */
  readyBits: number
  /** @internal */
  readyNext: ReadySocket | undefined
}

/** Sockets with news, each once, in the order in which the news came. */
export class ReadyList {
  private head: ReadySocket | undefined
  private tail: ReadySocket | undefined

  get empty(): boolean {
    return this.head === undefined
  }

  mark(s: ReadySocket, bits: number): void {
    if (s.readyBits === 0) {
      s.readyNext = undefined
      if (this.tail === undefined) this.head = s
      else this.tail.readyNext = s
      this.tail = s
    }
    s.readyBits |= bits
  }

  /** Takes the first; its `readyBits` are the caller's to read with {@link takeReady}. */
  next(): ReadySocket | undefined {
    const s = this.head
    if (s === undefined) return undefined
    this.head = s.readyNext
    if (this.head === undefined) this.tail = undefined
    s.readyNext = undefined
    return s
  }
}

/** What became true of the socket, and no longer is news. */
export function takeReady(s: ReadySocket): number {
  const bits = s.readyBits
  s.readyBits = 0
  return bits
}
