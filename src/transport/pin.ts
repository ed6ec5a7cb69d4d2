/** Pins: the SHA-256 of a certificate or of its public key. */
import type { X509Certificate } from 'node:crypto'
import { sha256 } from './text.js'

/** 64 hex digits or base64 of 32 octets; undefined if it is neither. */
export function pinBytes(pin: string): Buffer | undefined {
  const bytes = /^[0-9a-fA-F]{64}$/.test(pin) ? Buffer.from(pin, 'hex') : Buffer.from(pin, 'base64')
  return bytes.length === 32 ? bytes : undefined
}

/** Whether a pin is that of the certificate (DER) or of its public key (SPKI). */
export function matchesPin(certificate: X509Certificate, pins: readonly Buffer[]): boolean {
  const spki = certificate.publicKey.export({ type: 'spki', format: 'der' })
  const found = [sha256(certificate.raw), sha256(spki)]
  return pins.some((pin) => found.some((hash) => hash.equals(pin)))
}

/** The option that accepts this certificate, whatever else is wrong with it. */
export function pinOption(certificate: X509Certificate): string {
  return `--pin ${sha256(certificate.raw).toString('hex')}`
}
