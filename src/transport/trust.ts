/** Whom to trust, and in words why not. */
import { createHash, X509Certificate } from 'node:crypto'
import { isIP } from 'node:net'
import { checkServerIdentity, type DetailedPeerCertificate, rootCertificates, type TLSSocket } from 'node:tls'
import { matchesPin, pinBytes, pinOption } from './pin.js'
import { oneLine } from './text.js'

/** Whom to trust. Verification is on unless `insecure`. */
export interface TrustOptions {
  /** PEM certificates that replace Node's and the system's; any of them is an anchor, also one in the middle. */
  readonly ca?: string
  /**
   * SHA-256 of the leaf certificate's DER or of its public key (SPKI), 64 hex digits or base64; one of them
   * must fit; they replace the check of chain and name.
   */
  readonly pin?: string | readonly string[]
  /** Name to find in the certificate instead of the host; also sent as SNI unless `sni` says otherwise. */
  readonly servername?: string
  readonly insecure?: boolean
}

/** Why a certificate is not trusted, and what helps. */
export interface Doubt {
  readonly reason: string
  readonly hint?: string
}

/** The name that the certificate must have. A zone is ours alone (RFC 4007 11). */
export function nameToFind(host: string, trust: TrustOptions): string {
  return trust.servername ?? host.replace(/%.*$/, '')
}

/**
 * Judges a TLS connection after its handshake. Undefined: trusted. `onInsecure` is told what was
 * overlooked.
 */
export function judge(
  socket: TLSSocket,
  certificate: X509Certificate,
  host: string,
  trust: TrustOptions,
  onInsecure: (reason: string) => void,
): Doubt | undefined {
  const pins = trust.pin === undefined ? [] : [trust.pin].flat()
  if (pins.length > 0) {
    const wanted = pins.map(pinBytes)
    if (wanted.some((pin) => pin === undefined)) return { reason: 'the pin is not a SHA-256 value' }
    if (matchesPin(certificate, wanted as Buffer[])) return undefined
    return {
      reason: `its certificate is not ${pins.length === 1 ? 'the pinned one' : 'one of those pinned'}`,
      hint: 'the server has a new certificate, or somebody is in between: ask whoever runs it before changing the pin',
    }
  }
  if (socket.authorized) return undefined
  const chain = chainOf(socket.getPeerCertificate(true))
  const doubt = explainDoubt(
    errorCode(socket.authorizationError),
    certificate,
    chain,
    nameToFind(host, trust),
  )
  if (trust.insecure !== true) return doubt
  onInsecure(doubt.reason)
  return undefined
}

/** Node gives OpenSSL's code as text, or an error with a code, against its type. */
function errorCode(error: unknown): string {
  return String(error instanceof Error ? ((error as NodeJS.ErrnoException).code ?? error.message) : error)
}

/** Certificates above the leaf, as far as they are known here; at most so many, whatever was sent. */
const MAX_CHAIN = 16

/** What TLS built from what the server sent and from what is known here: the leaf first. */
export function chainOf(leaf: DetailedPeerCertificate): X509Certificate[] {
  const out: X509Certificate[] = []
  let at: DetailedPeerCertificate | undefined = leaf
  while (at?.raw !== undefined && out.length < MAX_CHAIN) {
    out.push(new X509Certificate(at.raw))
    // A root is its own issuer there.
    at = at.issuerCertificate === at ? undefined : at.issuerCertificate
  }
  return out
}

/** All that is wrong, the worst by OpenSSL's judgement first, with what would help. */
export function explainDoubt(
  code: string,
  leaf: X509Certificate,
  chain: readonly X509Certificate[],
  name: string,
  now = new Date(),
): Doubt {
  const pin = pinOption(leaf)
  const allow = `if you know this certificate, ${pin} allows it all the same`
  const faults = new Map(faultsOf(leaf, name, now).map((fault) => [fault.kind, fault.text]))
  const doubt = ((): Doubt & { readonly kind?: Fault['kind'] } => {
    switch (code) {
      case 'DEPTH_ZERO_SELF_SIGNED_CERT':
        return {
          reason: 'its certificate is self-signed',
          hint: `if you know this certificate, allow it with ${pin}, or its issuer with --ca FILE`,
        }
      case 'SELF_SIGNED_CERT_IN_CHAIN':
      case 'UNABLE_TO_VERIFY_LEAF_SIGNATURE':
      case 'UNABLE_TO_GET_ISSUER_CERT':
      case 'UNABLE_TO_GET_ISSUER_CERT_LOCALLY':
        return explainIssuer(code, leaf, chain, pin)
      case 'CERT_HAS_EXPIRED':
      case 'CERT_NOT_YET_VALID': {
        const kind = code === 'CERT_HAS_EXPIRED' ? 'expired' : 'early'
        const hint = `check this computer's clock; ${allow}`
        const own = faults.get(kind)
        if (own !== undefined) return { reason: own, hint, kind }
        const other = chain.find((c) => (kind === 'expired' ? expired(c, now) : early(c, now)))
        const which =
          other === undefined ? 'a certificate above it' : `the certificate of ${nameOf(other)} above it`
        const what = kind === 'expired' ? `has expired` : `is not valid yet`
        return { reason: `${which} ${what}${other === undefined ? '' : ` (${validity(other)})`}`, hint }
      }
      case 'ERR_TLS_CERT_ALTNAME_INVALID':
        return {
          reason: faults.get('name') ?? 'its certificate is for another name',
          hint: `use the name it is for, or say it with --servername NAME; ${allow}`,
          kind: 'name',
        }
      case 'CERT_REVOKED':
        return {
          reason: 'its certificate was revoked by its issuer',
          hint: 'the key may be in the wrong hands: ask whoever runs the server',
        }
      case 'INVALID_PURPOSE':
        return { reason: 'its certificate is not meant for servers', hint: allow }
      case 'INVALID_CA':
      case 'PATH_LENGTH_EXCEEDED':
        return { reason: 'a certificate in its chain may not issue others', hint: allow }
      case 'CERT_SIGNATURE_FAILURE':
        return { reason: 'the signature of its certificate is wrong', hint: allow }
      case 'CERT_CHAIN_TOO_LONG':
        return { reason: 'the chain of its certificate is too long', hint: allow }
    }
    // OpenSSL has more reasons than Node has names: a weak key or signature, for two.
    const weak = faults.get('weak')
    if (weak !== undefined) return { reason: weak, hint: allow, kind: 'weak' }
    const above = chain.slice(1).find((c) => weakness(c) !== undefined)
    if (above !== undefined) {
      return {
        reason: `the certificate of ${nameOf(above)} above it is too weak: ${weakness(above)}`,
        hint: allow,
      }
    }
    return { reason: `its certificate is not good (${oneLine(code)})`, hint: allow }
  })()
  const also = [...faults].filter(([kind]) => kind !== doubt.kind && kind !== 'weak').map(([, text]) => text)
  return {
    reason: [doubt.reason, ...also].join(', and '),
    ...(doubt.hint === undefined ? {} : { hint: doubt.hint }),
  }
}

/** The issuer is not known here, for one of several reasons. */
function explainIssuer(
  code: string,
  leaf: X509Certificate,
  chain: readonly X509Certificate[],
  pin: string,
): Doubt {
  const known = `if you know this certificate, allow it with ${pin}, or its issuer with --ca FILE`
  const top = chain.at(-1) ?? leaf
  const authority = code === 'SELF_SIGNED_CERT_IN_CHAIN' ? nameOf(top) : issuerName(top)
  const product = inspector(chain.length === 0 ? [leaf] : chain)
  if (product !== undefined) {
    return {
      reason: `its certificate comes from ${authority}, which is not known here: ${product} in between seems to open TLS`,
      hint: `SSTP does not work through TLS inspection: have this server exempted from it, or use another network; if ${product} made the server's own certificate, ${pin} allows it`,
    }
  }
  if (code === 'SELF_SIGNED_CERT_IN_CHAIN') {
    return {
      reason: `its certificate comes from ${authority}, an authority that is not known here`,
      hint: known,
    }
  }
  const url = chain.length <= 1 ? issuerUrl(leaf) : undefined
  if (url !== undefined) {
    return {
      reason: `the issuer of its certificate, ${authority}, is not known here: the server does not send its intermediate certificate`,
      hint: `whoever runs it should install the whole chain; until then take the file at ${url} for --ca, or ${pin}`,
    }
  }
  const maybe = chain.length <= 1 ? ' (or the server does not send an intermediate certificate)' : ''
  return { reason: `the issuer of its certificate, ${authority}, is not known here${maybe}`, hint: known }
}

interface Fault {
  readonly kind: 'expired' | 'early' | 'name' | 'weak'
  readonly text: string
}

/** What is wrong with a leaf by itself, whoever issued it. */
function faultsOf(leaf: X509Certificate, name: string, now: Date): Fault[] {
  const out: Fault[] = []
  if (expired(leaf, now))
    out.push({ kind: 'expired', text: `its certificate has expired (${validity(leaf)})` })
  if (early(leaf, now))
    out.push({ kind: 'early', text: `its certificate is not valid yet (${validity(leaf)})` })
  if (!isFor(leaf, name)) {
    const names = oneLine(leaf.subjectAltName ?? subjectOf(leaf))
    out.push({ kind: 'name', text: `its certificate is for another name (${names})` })
  }
  const weak = weakness(leaf)
  if (weak !== undefined) out.push({ kind: 'weak', text: `its certificate is too weak: ${weak}` })
  return out
}

function expired(c: X509Certificate, now: Date): boolean {
  return new Date(c.validTo) < now
}

function early(c: X509Certificate, now: Date): boolean {
  return new Date(c.validFrom) > now
}

function validity(c: X509Certificate): string {
  return `valid from ${c.validFrom} to ${c.validTo}`
}

/** As Node judges names after the handshake. */
function isFor(leaf: X509Certificate, name: string): boolean {
  try {
    return checkServerIdentity(name, leaf.toLegacyObject()) === undefined
  } catch {
    return false
  }
}

/** In words, if OpenSSL's security levels may refuse it. */
function weakness(c: X509Certificate): string | undefined {
  const { asymmetricKeyType: type, asymmetricKeyDetails: details } = c.publicKey
  const bits = details?.modulusLength
  if ((type === 'rsa' || type === 'rsa-pss' || type === 'dsa') && bits !== undefined && bits < 2048) {
    return `its key has only ${bits} bits`
  }
  const hash = signatureHash(c.raw)
  return hash === undefined ? undefined : `it is signed with ${hash}`
}

/** DER of the algorithms whose hash is broken: md5WithRSA, sha1WithRSA, ecdsa-with-SHA1. */
const BROKEN: readonly (readonly [oid: string, hash: string])[] = [
  ['06092a864886f70d010104', 'MD5'],
  ['06092a864886f70d010105', 'SHA-1'],
  ['06072a8648ce3d0401', 'SHA-1'],
]

/** RFC 5280 4.1.1.2: the algorithm stands behind the part that is signed. */
function signatureHash(der: Buffer): string | undefined {
  const whole = element(der, 0)
  const signed = whole === undefined ? undefined : element(der, whole.start)
  const algorithm = signed === undefined ? undefined : element(der, signed.end)
  if (algorithm === undefined) return undefined
  const oid = der.toString('hex', algorithm.start, Math.min(algorithm.start + 16, algorithm.end))
  return BROKEN.find(([prefix]) => oid.startsWith(prefix))?.[1]
}

/** Where the contents of the DER element at `at` lie. */
function element(der: Buffer, at: number): { readonly start: number; readonly end: number } | undefined {
  const first = der[at + 1]
  if (first === undefined) return undefined
  const more = first < 128 ? 0 : first & 0x7f
  if (more > 4 || at + 2 + more > der.length) return undefined
  const length = more === 0 ? first : der.readUIntBE(at + 2, more)
  const start = at + 2 + more
  return start + length > der.length ? undefined : { start, end: start + length }
}

/** RFC 5280 4.2.2.1: where the issuer's certificate can be had. */
function issuerUrl(c: X509Certificate): string | undefined {
  const info: string | undefined = c.infoAccess
  const url = /^CA Issuers - URI:(http:\/\/[!-~]{1,180})$/m.exec(info ?? '')?.[1]
  return url
}

/** Undefined, against its type, for a certificate that names its hosts elsewhere. */
export function subjectOf(c: X509Certificate): string {
  const subject: string | undefined = c.subject
  return oneLine(subject ?? c.subjectAltName ?? '')
}

/** The most telling part of a name, in quotes. */
function nameOf(c: X509Certificate): string {
  return quoted(c.subject, c)
}

export function issuerName(c: X509Certificate): string {
  return quoted(c.issuer, c)
}

function quoted(name: string | undefined, c: X509Certificate): string {
  const text = name ?? c.subjectAltName ?? ''
  const part = /^CN=(.+)$/m.exec(text)?.[1] ?? /^OU?=(.+)$/m.exec(text)?.[1] ?? text
  return `"${oneLine(part).slice(0, 100)}"`
}

/** Names under which TLS inspection signs: of companies' gateways, and of antivirus programs. */
const INSPECTORS =
  /zscaler|fortinet|fortigate|netskope|blue ?coat|symantec.*(?:proxy|web security)|palo alto|sophos|check ?point|forcepoint|websense|barracuda|watchguard|sonicwall|cisco umbrella|skyhigh|mcafee web|iboss|cato networks|kaspersky|avast|avg (?:web|technologies)|eset ssl|bitdefender|dr\.?web|adguard|mitmproxy|charles proxy|fiddler|burp|smoothwall|lightspeed|untangle|ssl (?:inspection|interception)|tls inspection/i

/** The product whose name stands in an issuer's name. */
export function inspector(chain: readonly X509Certificate[]): string | undefined {
  for (const c of chain) {
    const issuer: string | undefined = c.issuer
    const found = INSPECTORS.exec(issuer ?? '')?.[0]
    if (found !== undefined) return oneLine(found)
  }
  return undefined
}

let roots: Set<string> | undefined

/** Whether the top of a chain is one of the authorities that all the world trusts. */
export function isPublic(chain: readonly X509Certificate[]): boolean {
  const digest = (der: Buffer): string => createHash('sha256').update(der).digest('base64')
  roots ??= new Set(
    rootCertificates.map((pem) => digest(Buffer.from(pem.replace(/-----[^-]*-----|\s+/g, ''), 'base64'))),
  )
  const top = chain.at(-1)
  return top !== undefined && roots.has(digest(top.raw))
}

/** RFC 6066 3: SNI is a name, never an address, and has no dot at its end. */
export function sniOf(host: string, trust: TrustOptions, sni: string | null | undefined): string | undefined {
  if (sni === null) return undefined
  const name = (sni ?? trust.servername ?? host).replace(/\.$/, '')
  return isIP(name) === 0 ? name : undefined
}
