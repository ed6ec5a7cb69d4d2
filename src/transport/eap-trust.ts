/** Whom EAP's TLS trusts: the authentication server, often RADIUS, whose certificate need not be the SSTP server's. */
import type { X509Certificate } from 'node:crypto'
import { checkServerIdentity, type SecureVersion } from 'node:tls'
import type { TlsEngineFactory } from '../ppp/auth/eap/tls-engine.js'
import { type Judge, memoryTls } from './memory-tls.js'
import { matchesPin, pinBytes } from './pin.js'
import { oneLine, sha256 } from './text.js'
import type { Identity } from './tls-identity.js'
import { explainDoubt } from './trust.js'

/** Without any of these the server's certificate is not checked, which a warning says. */
export interface EapTrust {
  /** PEM of the authorities that may have issued it. */
  readonly ca?: string
  /** The name that it must have; without `ca` its authority is one that this computer trusts. */
  readonly servername?: string
  /** SHA-256 of the certificate or its public key, hex or base64; one of them must fit, and they replace both checks. */
  readonly pin?: string | readonly string[]
}

export interface EapClientTlsOptions {
  /** For EAP-TLS. */
  readonly identity?: Identity
  readonly trust?: EapTrust
  /** What this computer trusts, as PEM, if that is more than Node's roots. */
  readonly authorities?: readonly string[] | undefined
  /** DER of the certificate of the connection around it, which was judged already. */
  readonly outer?: Uint8Array
  readonly maxVersion?: SecureVersion
  readonly onWarning: (code: string, message: string) => void
}

/** TLS of an EAP peer. */
export function eapClientTls(options: EapClientTlsOptions): TlsEngineFactory {
  const { identity, trust = {}, authorities, maxVersion } = options
  const ca = trust.ca ?? authorities
  return memoryTls({
    judge: judgeServer(trust, options.outer, options.onWarning),
    ...(identity === undefined ? {} : { identity }),
    ...(ca === undefined ? {} : { ca }),
    ...(maxVersion === undefined ? {} : { maxVersion }),
  })
}

function judgeServer(
  trust: EapTrust,
  outer: Uint8Array | undefined,
  onWarning: EapClientTlsOptions['onWarning'],
): Judge {
  const pins = trust.pin === undefined ? [] : [trust.pin].flat()
  const wanted = pins.map(pinBytes).filter((pin) => pin !== undefined)
  return ({ chain, fault }) => {
    const [certificate] = chain
    if (certificate === undefined) return { code: 'NO_CERTIFICATE', message: 'it shows no certificate' }
    const pin = `--eap-pin ${sha256(certificate.raw).toString('hex')}`
    if (pins.length > 0) {
      if (wanted.length === pins.length && matchesPin(certificate, wanted)) return undefined
      const message =
        'its certificate is not the one of --eap-pin: it has a new one, or somebody is in between'
      return { code: 'PIN_MISMATCH', message }
    }
    const { ca, servername } = trust
    if (ca === undefined && servername === undefined) {
      if (outer === undefined || !certificate.raw.equals(outer)) {
        const message = `the certificate of the authentication server inside EAP is not checked (it is for ${nameOf(certificate)}): give --eap-ca FILE, --eap-servername NAME or ${pin}`
        onWarning('EAP_UNVERIFIED', message)
      }
      return undefined
    }
    if (fault !== undefined) {
      const { reason } = explainDoubt(fault, certificate, chain, servername ?? ownName(certificate))
      return {
        code: fault,
        message: `${reason}; if you know it, ${pin} allows it, or --eap-ca FILE its issuer`,
      }
    }
    if (servername === undefined) {
      const message = `the name in the certificate of the authentication server is not checked (it is ${nameOf(certificate)}): any that --eap-ca has issued would do; give --eap-servername NAME`
      onWarning('EAP_NAME_UNCHECKED', message)
      return undefined
    }
    if (isFor(certificate, servername)) return undefined
    const message = `its certificate is for another name (${nameOf(certificate)}) than that of --eap-servername`
    return { code: 'ERR_TLS_CERT_ALTNAME_INVALID', message }
  }
}

export interface EapServerTlsOptions {
  readonly identity: Identity
  /** PEM of the authorities whose clients may come with EAP-TLS; without it nobody may. */
  readonly clientCa?: string
  readonly maxVersion?: SecureVersion
}

/** TLS of an EAP server. */
export function eapServerTls({ identity, clientCa, maxVersion }: EapServerTlsOptions): TlsEngineFactory {
  return memoryTls({
    identity,
    ca: clientCa ?? [],
    ...(maxVersion === undefined ? {} : { maxVersion }),
    judge: ({ chain, fault }) => {
      if (chain.length === 0) return { code: 'NO_CERTIFICATE', message: 'it shows no certificate' }
      if (fault === undefined) return undefined
      const message =
        fault === 'CERT_HAS_EXPIRED'
          ? 'its certificate has expired'
          : fault === 'INVALID_PURPOSE'
            ? 'its certificate is not meant for clients'
            : `its certificate is not one of --client-ca (${fault})`
      return { code: fault, message }
    },
  })
}

function isFor(certificate: X509Certificate, name: string): boolean {
  try {
    return checkServerIdentity(name, certificate.toLegacyObject()) === undefined
  } catch {
    return false
  }
}

/** One that it is for: where no name is asked for, none is wrong. */
function ownName(certificate: X509Certificate): string {
  const names: string | undefined = certificate.subjectAltName
  const subject: string | undefined = certificate.subject
  return /DNS:([^,]+)/.exec(names ?? '')?.[1] ?? /^CN=(.+)$/m.exec(subject ?? '')?.[1] ?? ''
}

/** The names that a certificate is for, or its subject. */
function nameOf(certificate: X509Certificate): string {
  // Undefined, against their types, if there are none.
  const names: string | undefined = certificate.subjectAltName
  const subject: string | undefined = certificate.subject
  return oneLine(names ?? subject ?? 'no name')
}
