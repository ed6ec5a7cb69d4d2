/*
 * Heads of HTTP/1 messages, RFC 9112. Octets are read as Latin-1, so that every octet is one character.
 *
 * A proxy must never hand on what two readers could understand differently; requests are therefore read
 * strictly, and responses with just the leniency that old servers need (bare LF, folded lines).
 */

export interface Field {
  readonly name: string
  readonly value: string
}

export interface RequestHead {
  readonly type: 'request'
  readonly method: string
  readonly target: string
  /** HTTP/1.`minor`: 0, or 1 for this and any later one. */
  readonly minor: 0 | 1
  readonly fields: readonly Field[]
}

export interface ResponseHead {
  readonly type: 'response'
  readonly minor: 0 | 1
  readonly status: number
  readonly reason: string
  readonly fields: readonly Field[]
}

/** `status` is what a client is told if its request is at fault; for a response it is always 502. */
export interface HttpError {
  readonly type: 'error'
  readonly status: number
  readonly message: string
}

export const HEAD_LIMIT = 65_536
export const FIELD_LIMIT = 100

/** Collects one head, octets in whatever pieces. Never throws. */
export class HeadReader {
  readonly #strict: boolean
  #buffer: Buffer = Buffer.allocUnsafe(1024)
  #length = 0
  #seen = 0
  #lineLength = 0
  #afterCr = false
  #state: 'reading' | 'done' | 'failed' = 'reading'
  #error: HttpError | undefined

  /** Strict: lines end with CR LF and nothing else. */
  constructor(strict: boolean) {
    this.#strict = strict
  }

  get state(): 'reading' | 'done' | 'failed' {
    return this.#state
  }

  /** Set once `state` is `failed`. */
  get error(): HttpError | undefined {
    return this.#error
  }

  /** Something of a head is there; empty lines in front do not count. */
  get begun(): boolean {
    return this.#length > 0
  }

  /** The head without its empty line; lines are parted by LF. */
  get text(): string {
    return this.#buffer.toString('latin1', 0, Math.max(0, this.#length - 1))
  }

  /** Reads `b[o..end)` up to the end of the head; returns how many octets that were. */
  push(b: Uint8Array, o: number, end: number): number {
    let at = o
    while (at < end && this.#state === 'reading') this.#octet(b[at++] ?? 0)
    return at - o
  }

  #octet(octet: number): void {
    if (++this.#seen > HEAD_LIMIT) {
      this.#fail(431, `the head of the message is larger than ${HEAD_LIMIT} octets`)
    } else if (octet === LF) {
      if (this.#strict && !this.#afterCr) this.#fail(400, 'a line ends without CR')
      else this.#endLine()
    } else if (this.#afterCr) {
      this.#fail(400, 'a CR stands without LF')
    } else if (octet === CR) {
      this.#afterCr = true
    } else if (octet === 0) {
      this.#fail(400, 'the head of the message contains NUL')
    } else {
      this.#store(octet)
      this.#lineLength++
    }
  }

  #endLine(): void {
    this.#afterCr = false
    if (this.#lineLength > 0) {
      this.#store(LF)
      this.#lineLength = 0
    } else if (this.#length > 0) {
      this.#state = 'done'
    }
    // RFC 9112 2.2: empty lines in front of a message are skipped.
  }

  #store(octet: number): void {
    if (this.#length === this.#buffer.length) {
      const larger = Buffer.allocUnsafe(this.#length * 4)
      this.#buffer.copy(larger)
      this.#buffer = larger
    }
    this.#buffer[this.#length++] = octet
  }

  #fail(status: number, message: string): void {
    this.#state = 'failed'
    this.#error = { type: 'error', status, message }
  }
}

/** RFC 9112 3. `text` is what {@link HeadReader} gives. */
export function parseRequestHead(text: string): RequestHead | HttpError {
  const lines = text.split('\n')
  const parts = (lines[0] ?? '').split(' ')
  const [method = '', target = '', version = ''] = parts
  if (parts.length !== 3 || !isToken(method) || !TARGET.test(target))
    return bad('this is not an HTTP request')
  const match = VERSION.exec(version)
  if (match === null) return bad('this is not an HTTP request')
  if (match[1] !== '1') return error(505, 'only HTTP/1.0 and HTTP/1.1 are spoken here')
  const fields = parseFields(lines.slice(1), false)
  if (!Array.isArray(fields)) return fields
  return { type: 'request', method, target, minor: match[2] === '0' ? 0 : 1, fields }
}

/** RFC 9112 4. */
export function parseResponseHead(text: string): ResponseHead | HttpError {
  const lines = text.split('\n')
  const match = STATUS_LINE.exec(lines[0] ?? '')
  if (match === null || CONTROL.test(lines[0] ?? ''))
    return error(502, 'the server did not answer with HTTP/1')
  const fields = parseFields(lines.slice(1), true)
  if (!Array.isArray(fields)) return error(502, `in the response ${fields.message}`)
  return {
    type: 'response',
    minor: match[1] === '0' ? 0 : 1,
    status: Number(match[2]),
    reason: match[3] ?? '',
    fields,
  }
}

/** Values of all fields of that name (given in lower case), in order. */
export function valuesOf(fields: readonly Field[], name: string): string[] {
  const values: string[] = []
  for (const field of fields) if (field.name.toLowerCase() === name) values.push(field.value)
  return values
}

/** Members of a comma-separated list over all fields of that name, in lower case, without empty ones. */
export function listOf(fields: readonly Field[], name: string): string[] {
  const members: string[] = []
  for (const value of valuesOf(fields, name)) {
    for (const part of value.split(',')) {
      const member = trimOws(part).toLowerCase()
      if (member !== '') members.push(member)
    }
  }
  return members
}

export function isToken(text: string): boolean {
  return TOKEN.test(text)
}

/** Lines of a header or trailer section. */
export function parseFields(lines: readonly string[], response: boolean): Field[] | HttpError {
  const fields: { name: string; value: string }[] = []
  for (const line of lines) {
    if (CONTROL.test(line)) return bad('a header field contains a control character')
    if (line.startsWith(' ') || line.startsWith('\t')) {
      // RFC 9112 5.2: a fold is refused in a request and replaced by a space in a response.
      const last = fields.at(-1)
      if (!response || last === undefined) return bad('a header field is folded')
      last.value = trimOws(`${last.value} ${trimOws(line)}`)
      continue
    }
    const colon = line.indexOf(':')
    // RFC 9112 5.1: a space in front of the colon is refused in a request and taken out of a response.
    const name = response ? trimOws(line.slice(0, colon)) : line.slice(0, colon)
    if (colon < 0 || !isToken(name)) return bad('a header field has no valid name')
    if (fields.length === FIELD_LIMIT) return error(431, `there are more than ${FIELD_LIMIT} header fields`)
    fields.push({ name, value: trimOws(line.slice(colon + 1)) })
  }
  return fields
}

export function trimOws(text: string): string {
  let start = 0
  let end = text.length
  while (start < end && isOws(text.charCodeAt(start))) start++
  while (end > start && isOws(text.charCodeAt(end - 1))) end--
  return text.slice(start, end)
}

function isOws(code: number): boolean {
  return code === 0x20 || code === 0x09
}

function bad(message: string): HttpError {
  return error(400, message)
}

function error(status: number, message: string): HttpError {
  return { type: 'error', status, message }
}

const CR = 0x0d
const LF = 0x0a
// RFC 9110 5.6.2
const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/
const VERSION = /^HTTP\/(\d)\.(\d)$/
const STATUS_LINE = /^HTTP\/1\.(\d) ([1-5]\d\d)(?: (.*))?$/
/** Octets above ASCII are not allowed in a target, but clients send them and servers take them. */
const TARGET = /^[\x21-\x7e\x80-\xff]+$/
// biome-ignore lint/suspicious/noControlCharactersInRegex: it is there to find them
const CONTROL = /[\x00-\x08\x0a-\x1f\x7f]/
