/** Options of EAP: the client certificate with its key, and whom to trust inside EAP. */
import { readSmallFile } from '../gateway/files.js'
import { IdentityError, readIdentity } from '../transport/tls-identity.js'
import type { EapOptions } from '../tunnel/options.js'
import { readCertificates } from './certificates.js'
import { UsageError } from './errors.js'

const MAX_FILE = 1_048_576

export interface EapSettings {
  readonly cert?: string | undefined
  readonly key?: string | undefined
  readonly eapName?: string | undefined
  readonly eapCa?: string | undefined
  readonly eapServername?: string | undefined
  readonly eapPin?: readonly string[] | undefined
  readonly eapKeyRule?: 'windows' | 'pppd' | undefined
  readonly eapTlsMax?: '1.2' | '1.3' | undefined
}

/** Reads the files. `passphrase`: of the key. Rejects with {@link UsageError}. */
export async function readEap(
  settings: EapSettings,
  passphrase: string | undefined,
): Promise<EapOptions | undefined> {
  const { cert, key, eapName, eapCa, eapServername, eapPin, eapKeyRule, eapTlsMax } = settings
  const identity = cert === undefined ? undefined : await readClient(cert, key, passphrase)
  const ca = eapCa === undefined ? undefined : await readAuthorities(eapCa)
  const trust = {
    ...(ca === undefined ? {} : { ca }),
    ...(eapServername === undefined ? {} : { servername: eapServername }),
    ...(eapPin === undefined ? {} : { pin: eapPin }),
  }
  const eap: EapOptions = {
    ...(eapName === undefined ? {} : { name: eapName }),
    ...(identity === undefined ? {} : { identity }),
    ...(Object.keys(trust).length === 0 ? {} : { trust }),
    ...(eapKeyRule === undefined ? {} : { keyRule: eapKeyRule }),
    ...(eapTlsMax === undefined ? {} : { maxVersion: `TLSv${eapTlsMax}` as const }),
  }
  return Object.keys(eap).length === 0 ? undefined : eap
}

/** As `readCertificates`, for another option. */
export async function readAuthorities(path: string, option = '--eap-ca'): Promise<string> {
  try {
    return await readCertificates(path)
  } catch (error) {
    if (!(error instanceof UsageError)) throw error
    throw new UsageError(error.message.replace(/^--ca:/, `${option}:`))
  }
}

async function readClient(
  cert: string,
  key: string | undefined,
  passphrase: string | undefined,
): Promise<NonNullable<EapOptions['identity']>> {
  const certificate = await read('--cert', cert)
  const keyBytes = key === undefined ? undefined : await read('--key', key)
  try {
    return readIdentity({
      certificate,
      ...(keyBytes === undefined ? {} : { key: keyBytes }),
      ...(passphrase === undefined ? {} : { passphrase }),
    })
  } catch (error) {
    if (!(error instanceof IdentityError)) throw error
    const files = { certificate: `--cert ${cert}`, key: `--key ${key ?? cert}` }
    const what = error.of === 'passphrase' ? '--key-password-file' : files[error.of]
    throw new UsageError(`${what}: ${error.message}`)
  }
}

async function read(option: string, path: string): Promise<Buffer> {
  try {
    return (await readSmallFile(path, { most: MAX_FILE })).bytes
  } catch (error) {
    throw new UsageError(`${option}: ${error instanceof Error ? error.message : String(error)}`)
  }
}
