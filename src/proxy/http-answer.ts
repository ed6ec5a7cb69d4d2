import type { Socket } from 'node:net'
import { BodyReader, type BodySink, type Framing } from './http-body.js'
import { wantsKeepAlive } from './http-head.js'
import { listOf, type RequestHead } from './http-message.js'

/** An answer of our own behind which the connection goes on, and the body of its request, which nobody wants. */
export class OwnAnswer {
  readonly #body: BodyReader
  #length = 0
  #written = false

  /** `onWritten`: the client has taken it; not called if its socket breaks instead. */
  constructor(socket: Socket, answer: Buffer, framing: Framing, onWritten: () => void) {
    this.#body = new BodyReader(framing, true)
    socket.write(answer, (error) => {
      if (error) return
      this.#written = true
      onWritten()
    })
  }

  /** The answer is taken and the body over: the next request may be looked at. */
  get done(): boolean {
    return this.#written && this.#body.done
  }

  /** The request's body has been read. */
  get read(): boolean {
    return this.#body.done
  }

  /** Octets behind the request's head. Returns how many are its body; -1: they are malformed or too many. */
  push(chunk: Buffer): number {
    const taken = this.#body.push(chunk, 0, chunk.length, NOWHERE)
    this.#length += taken
    return this.#length > MAX_UNWANTED ? -1 : taken
  }
}

/** Whether the connection can go on behind an answer that takes nothing of its request's body. */
export function canGoOn(head: RequestHead, framing: Framing): boolean {
  // Who waits for 100 may send the body behind another answer, or not.
  const inDoubt = hasBody(framing) && listOf(head.fields, 'expect').length > 0
  const tooLong = framing.kind === 'length' && framing.length > MAX_UNWANTED
  return wantsKeepAlive(head) && !inDoubt && !tooLong
}

/** What an answer of our own says of the connection that it goes over. */
export function connectionOption(head: RequestHead, goesOn: boolean): 'close' | 'keep-alive' | undefined {
  if (!goesOn) return 'close'
  return head.minor === 0 ? 'keep-alive' : undefined
}

export function hasBody(framing: Framing): boolean {
  return framing.kind === 'chunked' || (framing.kind === 'length' && framing.length > 0)
}

const NOWHERE: BodySink = { onSlice() {} }
/** Octets of a body that are read only to come to the next request. */
const MAX_UNWANTED = 65_536
