import {
  type Field,
  type HttpError,
  isToken,
  listOf,
  parseFields,
  type RequestHead,
  type ResponseHead,
  trimOws,
  valuesOf,
} from './http-message.js'

/** Where a message's body ends, RFC 9112 6.3. */
export type Framing =
  /** `declared`: the length that a response without a body (to HEAD, 304) states all the same. */
  | { readonly kind: 'none'; readonly declared?: number }
  | { readonly kind: 'length'; readonly length: number }
  /** `codings` stand in front of chunked, in order. */
  | { readonly kind: 'chunked'; readonly codings: readonly string[] }
  | { readonly kind: 'until-close'; readonly codings: readonly string[] }

export function requestFraming(head: RequestHead): Framing | HttpError {
  const codings = transferCodings(head)
  const length = contentLength(head)
  if (codings === undefined || length === 'bad') return bad('the length of the body is malformed')
  if (codings.length > 0) {
    // RFC 9112 6.1: each of these is how requests are smuggled past a proxy.
    if (length !== undefined) return bad('both Content-Length and Transfer-Encoding are given')
    if (head.minor === 0) return bad('HTTP/1.0 knows no Transfer-Encoding')
    if (codings.at(-1) !== 'chunked') return bad('the last transfer coding is not chunked')
    return { kind: 'chunked', codings: codings.slice(0, -1) }
  }
  return length === undefined ? { kind: 'none' } : { kind: 'length', length }
}

/** `method` is that of the request. */
export function responseFraming(head: ResponseHead, method: string): Framing | HttpError {
  // RFC 2616 3.6: servers that mean "none" by it give the length too, and go on with the connection.
  const codings = transferCodings(head)?.filter((coding) => coding !== 'identity')
  const length = contentLength(head)
  if (codings === undefined || length === 'bad') {
    return { type: 'error', status: 502, message: 'the length of the response is malformed' }
  }
  const { status } = head
  if (method === 'HEAD' || status === 304) {
    return length === undefined ? { kind: 'none' } : { kind: 'none', declared: length }
  }
  if (status < 200 || status === 204) return { kind: 'none' }
  if (codings.length > 0) {
    if (codings.at(-1) === 'chunked') return { kind: 'chunked', codings: codings.slice(0, -1) }
    return { kind: 'until-close', codings }
  }
  return length === undefined ? { kind: 'until-close', codings: [] } : { kind: 'length', length }
}

/** Told where the content lies. */
export interface BodySink {
  onSlice(b: Uint8Array, start: number, end: number): void
}

/** Walks a body in place and finds its content between chunk lines. Never throws. */
export class BodyReader {
  readonly #framing: Framing
  readonly #strict: boolean
  #state: State
  /** Octets of content still to come, in this chunk or in the body. */
  #left = 0
  #digits = 0
  #lineLength = 0
  #trailerLength = 0
  /** The octets of the trailers; none for most bodies. */
  #trailerOctets: number[] | undefined
  #trailers: readonly Field[] = NO_FIELDS
  #error: string | undefined

  /** Strict: no white space behind a chunk's size, and well-formed trailers or none. */
  constructor(framing: Framing, strict: boolean) {
    this.#framing = framing
    this.#strict = strict
    this.#state = framing.kind === 'none' ? 'done' : framing.kind === 'chunked' ? 'size' : 'content'
    if (framing.kind === 'length') this.#left = framing.length
    if (framing.kind === 'until-close') this.#left = Number.POSITIVE_INFINITY
    if (this.#left === 0 && framing.kind === 'length') this.#state = 'done'
  }

  get done(): boolean {
    return this.#state === 'done'
  }

  /** What stood behind the last chunk, once `done`. */
  get trailers(): readonly Field[] {
    return this.#trailers
  }

  /** Why it failed, once it has. */
  get error(): string | undefined {
    return this.#error
  }

  /**
   * Reads `b[o..end)` up to the body's end and hands the content to `sink`. Returns how many octets it
   * took, or -1 if they are malformed; then no later call takes anything.
   */
  push(b: Uint8Array, o: number, end: number, sink: BodySink): number {
    let at = o
    while (at < end && this.#state !== 'done' && this.#state !== 'failed') {
      if (this.#state !== 'content') {
        this.#octet(b[at++] ?? 0)
        continue
      }
      const take = Math.min(end - at, this.#left)
      sink.onSlice(b, at, at + take)
      at += take
      this.#left -= take
      if (this.#left === 0) this.#state = this.#framing.kind === 'length' ? 'done' : 'content-cr'
    }
    return this.#state === 'failed' ? -1 : at - o
  }

  /** The sender has ended. False: the body is not complete. */
  finish(): boolean {
    if (this.#framing.kind === 'until-close') this.#state = 'done'
    return this.#state === 'done'
  }

  #octet(octet: number): void {
    switch (this.#state) {
      case 'size': {
        const digit = hexDigit(octet)
        if (digit >= 0) {
          this.#left = this.#left * 16 + digit
          if (++this.#digits > MAX_DIGITS || this.#left > Number.MAX_SAFE_INTEGER)
            this.#fail('a chunk is too large')
        } else if (this.#digits === 0) {
          this.#fail('a chunk has no size')
        } else if (octet === CR) {
          this.#state = 'size-lf'
        } else if (octet === SEMICOLON || (!this.#strict && (octet === SP || octet === HTAB))) {
          this.#lineLength = 0
          this.#state = 'extension'
        } else {
          this.#fail('the size of a chunk is malformed')
        }
        return
      }
      case 'extension':
        if (octet === CR) this.#state = 'size-lf'
        else if (isForbidden(octet) || ++this.#lineLength > MAX_EXTENSION)
          this.#fail('a chunk extension is malformed')
        return
      case 'size-lf':
        if (octet !== LF) this.#fail('the size of a chunk is malformed')
        else this.#state = this.#left === 0 ? 'trailer-start' : 'content'
        this.#digits = 0
        return
      case 'content-cr':
        if (octet === CR) this.#state = 'content-lf'
        else this.#fail('a chunk is longer than its size')
        return
      case 'content-lf':
        if (octet === LF) this.#state = 'size'
        else this.#fail('a chunk is longer than its size')
        return
      case 'trailer-start':
        if (octet === CR) this.#state = 'end-lf'
        else if (isForbidden(octet) || octet === SP || octet === HTAB) this.#fail('a trailer is malformed')
        else {
          this.#state = 'trailer'
          this.#trailerOctets ??= []
        }
        this.#keepTrailer(octet)
        return
      case 'trailer':
        if (octet === CR) this.#state = 'trailer-lf'
        else if (isForbidden(octet)) this.#fail('a trailer is malformed')
        this.#keepTrailer(octet)
        return
      case 'trailer-lf':
        if (octet === LF) this.#state = 'trailer-start'
        else this.#fail('a trailer is malformed')
        return
      case 'end-lf':
        if (octet === LF) this.#finishTrailers()
        else this.#fail('a trailer is malformed')
        return
      case 'content':
      case 'done':
      case 'failed':
        return
    }
  }

  #keepTrailer(octet: number): void {
    if (++this.#trailerLength > MAX_TRAILERS) this.#fail('the trailers are too large')
    else this.#trailerOctets?.push(octet)
  }

  #finishTrailers(): void {
    this.#state = 'done'
    if (this.#trailerOctets === undefined) return
    const lines = Buffer.from(this.#trailerOctets).toString('latin1').split('\r')
    this.#trailerOctets = undefined
    // The CR of the last line, and that of the empty one.
    const fields = parseFields(lines.slice(0, -2), !this.#strict)
    if (Array.isArray(fields)) this.#trailers = fields
    // RFC 9110 6.5.1 lets them be dropped, and a response is not lost for them.
    else if (this.#strict) this.#fail('a trailer is malformed')
  }

  #fail(message: string): void {
    this.#state = 'failed'
    this.#error = message
  }
}

type State =
  | 'size'
  | 'extension'
  | 'size-lf'
  | 'content'
  | 'content-cr'
  | 'content-lf'
  | 'trailer-start'
  | 'trailer'
  | 'trailer-lf'
  | 'end-lf'
  | 'done'
  | 'failed'

/** Undefined: malformed, or chunked stands where it cannot. */
function transferCodings(head: RequestHead | ResponseHead): string[] | undefined {
  const codings = listOf(head.fields, 'transfer-encoding')
  // A field with nothing in it is a field all the same to somebody.
  if (codings.length === 0) return valuesOf(head.fields, 'transfer-encoding').length === 0 ? [] : undefined
  for (const coding of codings) if (!isToken(coding)) return undefined
  const chunked = codings.indexOf('chunked')
  return chunked < 0 || chunked === codings.length - 1 ? codings : undefined
}

/** RFC 9110 8.6: equal values that were merged are one value. */
function contentLength(head: RequestHead | ResponseHead): number | undefined | 'bad' {
  const values = valuesOf(head.fields, 'content-length').flatMap((value) => value.split(',').map(trimOws))
  const first = values[0]
  if (first === undefined) return undefined
  if (!/^\d+$/.test(first) || values.some((value) => value !== first)) return 'bad'
  const length = Number(first)
  return Number.isSafeInteger(length) ? length : 'bad'
}

function hexDigit(octet: number): number {
  if (octet >= 0x30 && octet <= 0x39) return octet - 0x30
  const lower = octet | 0x20
  return lower >= 0x61 && lower <= 0x66 ? lower - 0x57 : -1
}

/** Controls other than HTAB. */
function isForbidden(octet: number): boolean {
  return (octet < 0x20 && octet !== HTAB) || octet === 0x7f
}

function bad(message: string): HttpError {
  return { type: 'error', status: 400, message }
}

const NO_FIELDS: readonly Field[] = []
const CR = 0x0d
const LF = 0x0a
const SP = 0x20
const HTAB = 0x09
const SEMICOLON = 0x3b
const MAX_DIGITS = 16
// Ours, in octets.
const MAX_EXTENSION = 1024
const MAX_TRAILERS = 16_384
