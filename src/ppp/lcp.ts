/** LCP's options (RFC 1661 6), from either end. */
import { setU16, setU32, u16, u32 } from '../../stack/bytes.js'
import {
  AUTH_LABEL,
  type AuthName,
  authLabel,
  authOption,
  type LinkAuth,
  linkAuth,
  readAuthOption,
  WEAKNESS,
} from './auth/method.js'
import { PppError } from './errors.js'
import { DEFAULT_MRU, MAX_INFORMATION } from './frame.js'
import { MAX_FAILURE, type OptionSet, type Verdict } from './fsm.js'
import type { OptionWriter } from './option.js'

export const LcpOption = {
  MRU: 1,
  ACCM: 2,
  AUTH: 3,
  QUALITY: 4,
  MAGIC: 5,
  PFC: 7,
  ACFC: 8,
  CALLBACK: 13,
  MRRU: 17,
  SHORT_SEQUENCE: 18,
  ENDPOINT: 19,
} as const

/**
 * The smallest MRU that we take from a peer: that of IPv4 (RFC 791). SoftEther may say 100, and takes a Nak
 * of its MRU for something else, so it must never get one.
 */
const MIN_MRU = 68
/** After so many numbers equal to ours, it is ourselves whom we hear. */
const MAX_LOOPS = 10

const NONE = new Uint8Array(0)

export interface LcpSettings {
  readonly role: 'client' | 'server'
  readonly mru: number
  /** Client: enabled methods. Server: methods to ask for. Best first, but a server asks for weak ones last. */
  readonly auth: readonly AuthName[]
  random(dst: Uint8Array): void
}

export class LcpOptions implements OptionSet {
  /** The peer's MRU by the request that we acknowledged. */
  peerMru: number = DEFAULT_MRU
  /** Ours; 0 once the peer has rejected the option. */
  magic = 0
  /** Client: what the server wants. Server: what we ask for. Undefined: no authentication. */
  auth: LinkAuth | undefined
  /** Client: what the server wanted when it last got a Nak, for people; empty if it never did. */
  refusedAuth = ''

  readonly #settings: LcpSettings
  readonly #methods: readonly LinkAuth[]
  /** Undefined: not asked for. */
  #mru: number | undefined
  #mruRejected = false
  #renewMagic = false
  #magicNak = 0
  #loops = 0
  // The request being judged
  #repeat = false
  #mayNak = true
  #seenMru: number = DEFAULT_MRU
  #seenAuth: LinkAuth | undefined
  #wanted = ''
  #error: PppError | undefined
  /** Methods that got a Nak, as the peer wrote them. */
  readonly #nakedAuth = new Set<string>()
  #authNaks = 0
  /** Server: what got a Nak. */
  readonly #refused = new Set<LinkAuth>()

  constructor(settings: LcpSettings) {
    this.#settings = settings
    const methods = [...new Set(settings.auth.map(linkAuth))]
    this.#methods = settings.role === 'client' ? methods : methods.sort((a, b) => WEAKNESS[a] - WEAKNESS[b])
    this.#mru = settings.mru === DEFAULT_MRU ? undefined : settings.mru
    this.magic = this.#newMagic()
    this.auth = settings.role === 'server' ? this.#methods[0] : undefined
  }

  request(w: OptionWriter): void {
    if (this.#mru !== undefined) w.put(LcpOption.MRU, word16(this.#mru))
    if (this.#settings.role === 'server' && this.auth !== undefined) {
      w.put(LcpOption.AUTH, authOption(this.auth))
    }
    if (this.magic === 0) return
    if (this.#renewMagic) this.magic = this.#newMagic()
    this.#renewMagic = false
    w.put(LcpOption.MAGIC, word32(this.magic))
  }

  beginRequest(repeat: boolean, mayNak: boolean): void {
    this.#repeat = repeat
    this.#mayNak = mayNak
    this.#seenMru = DEFAULT_MRU
    this.#seenAuth = undefined
    this.#wanted = ''
    this.#error = undefined
  }

  judge(type: number, b: Uint8Array, o: number, len: number, nak: OptionWriter): Verdict {
    switch (type) {
      case LcpOption.MRU: {
        const mru = len === 2 ? u16(b, o) : 0
        if (mru < MIN_MRU) {
          nak.putOnce(type, word16(DEFAULT_MRU))
          return 'nak'
        }
        this.#seenMru = mru
        return 'ack'
      }
      case LcpOption.ACCM:
        // Nothing is escaped in here, so any map will do.
        if (len === 4) return 'ack'
        nak.putOnce(type, word32(0))
        return 'nak'
      case LcpOption.AUTH:
        return this.#settings.role === 'server' ? 'reject' : this.#judgeAuth(b, o, len, nak)
      case LcpOption.MAGIC: {
        const magic = len === 4 ? u32(b, o) : 0
        if (magic !== 0 && magic !== this.magic) return 'ack'
        if (magic !== 0) this.#heardOurselves()
        if (!nak.has(type)) {
          this.#magicNak = this.#newMagic()
          nak.put(type, word32(this.#magicNak))
        }
        return 'nak'
      }
      case LcpOption.PFC:
      case LcpOption.ACFC:
        if (len === 0) return 'ack'
        nak.putOnce(type, NONE)
        return 'nak'
      default:
        return 'reject'
    }
  }

  /** Never a Reject: to a server that would say that we do not authenticate at all. */
  #judgeAuth(b: Uint8Array, o: number, len: number, nak: OptionWriter): Verdict {
    const name = readAuthOption(b, o, len)
    if (name !== undefined && this.#methods.includes(name)) {
      this.#seenAuth = name
      this.#wanted = ''
      return 'ack'
    }
    this.#seenAuth = undefined
    this.#wanted = authLabel(b, o, len)
    const best = this.#methods[0]
    if (best !== undefined) nak.putOnce(LcpOption.AUTH, authOption(best))
    return 'nak'
  }

  endRequest(): PppError | undefined {
    if (this.#wanted === '') return this.#error
    // A server may step down a list of its own, whatever our Nak names, but not come back to what we refused.
    const again = this.#nakedAuth.has(this.#wanted) && !this.#repeat
    const enough = this.#authNaks >= MAX_FAILURE || !this.#mayNak
    if (this.#methods.length === 0 || again || enough) return this.authError(this.#wanted)
    return this.#error
  }

  answering(verdict: Verdict): void {
    if (verdict === 'nak' && this.#wanted !== '') {
      this.#nakedAuth.add(this.#wanted)
      this.#authNaks += 1
      this.refusedAuth = this.#wanted
    }
    if (verdict !== 'ack') return
    this.peerMru = this.#seenMru
    if (this.#settings.role === 'client') this.auth = this.#seenAuth
  }

  acked(): undefined {}

  naked(type: number, b: Uint8Array, o: number, len: number): PppError | undefined {
    switch (type) {
      case LcpOption.MRU: {
        // What we can receive does not depend on it, so any value that the peer likes better will do.
        const mru = len === 2 ? u16(b, o) : 0
        const usable = mru >= MIN_MRU && mru <= MAX_INFORMATION && !this.#mruRejected
        this.#mru = usable && mru !== DEFAULT_MRU ? mru : undefined
        return undefined
      }
      case LcpOption.MAGIC:
        if (this.magic === 0) return undefined
        this.#renewMagic = true
        if (len === 4 && u32(b, o) === this.#magicNak) this.#heardOurselves()
        return this.#error
      case LcpOption.AUTH: {
        if (this.#settings.role === 'client') return undefined
        const name = readAuthOption(b, o, len)
        if (this.auth !== undefined) this.#refused.add(this.auth)
        // A client that names what we have not may still have what we ask for next.
        const usable = name !== undefined && this.#methods.includes(name) && !this.#refused.has(name)
        const next = usable ? name : this.#methods.find((one) => !this.#refused.has(one))
        if (next === undefined) return this.authError(authLabel(b, o, len))
        this.auth = next
        return undefined
      }
      default:
        return undefined
    }
  }

  rejected(type: number): PppError | undefined {
    switch (type) {
      case LcpOption.MRU:
        this.#mru = undefined
        this.#mruRejected = true
        return undefined
      case LcpOption.MAGIC:
        // SoftEther knows no magic number. Echoes bear 0 then.
        this.magic = 0
        return undefined
      case LcpOption.AUTH:
        return this.authError('no authentication')
      default:
        return undefined
    }
  }

  /** No method in common; `wanted` is what the peer wants. */
  authError(wanted: string): PppError {
    const peer = this.#settings.role === 'client' ? 'server' : 'client'
    const enabled = this.#settings.auth.map((name) => AUTH_LABEL[name]).join(', ') || 'nothing'
    return new PppError(
      'auth',
      'AUTH_METHOD',
      `the ${peer} wants ${wanted}; enabled here: ${enabled}`,
      'local',
    )
  }

  #heardOurselves(): void {
    this.#renewMagic = true
    this.#loops += 1
    // Without another Nak to come the number would be rejected, and the loop never seen.
    if (this.#loops < MAX_LOOPS && this.#mayNak) return
    this.#error = new PppError('lcp', 'LCP_LOOPED', 'the link is looped: our own LCP requests come back')
  }

  #newMagic(): number {
    const bytes = new Uint8Array(4)
    this.#settings.random(bytes)
    const magic = u32(bytes, 0)
    return magic === 0 || magic === this.magic ? (magic + 1) >>> 0 || 1 : magic
  }
}

function word16(value: number): Uint8Array {
  const bytes = new Uint8Array(2)
  setU16(bytes, 0, value)
  return bytes
}

export function word32(value: number): Uint8Array {
  const bytes = new Uint8Array(4)
  setU32(bytes, 0, value)
  return bytes
}
