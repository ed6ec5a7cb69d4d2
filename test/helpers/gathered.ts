/** What has come so far, whole at any time: a test of many megabytes in small pieces must not copy all for each piece. */
export class Gathered {
  #room = Buffer.allocUnsafe(1024)
  #from = 0
  #to = 0

  push(piece: Uint8Array): void {
    if (this.#to + piece.length > this.#room.length) {
      // Never over what somebody may still look at.
      const next = Buffer.allocUnsafe(2 * (this.#to - this.#from + piece.length))
      this.#to = this.#room.copy(next, 0, this.#from, this.#to)
      this.#from = 0
      this.#room = next
    }
    this.#room.set(piece, this.#to)
    this.#to += piece.length
  }

  /** Forgets the first ones. */
  drop(octets: number): void {
    this.#from = Math.min(this.#to, this.#from + octets)
  }

  get bytes(): Buffer {
    return this.#room.subarray(this.#from, this.#to)
  }
}
