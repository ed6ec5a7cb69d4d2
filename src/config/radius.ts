import { isIPv4, isIPv6 } from 'node:net'
import type { RadiusOptions } from '../gateway/radius/service.js'
import { UsageError } from './errors.js'
import { type CredentialSources, readPasswordFile } from './secrets.js'
import { parsePort, toHostName } from './values.js'

/** RFC 2865 3 and RFC 2866 3. */
export const RADIUS_PORT = 1812
export const RADIUS_ACCOUNTING_PORT = 1813

export interface RadiusAddress {
  readonly host: string
  readonly port: number
}

/** `HOST[:PORT]`, IPv6 in brackets. Throws {@link UsageError}. */
export function parseRadiusServer(text: string, port: number): RadiusAddress {
  const match = /^(?:\[([^\]]*)\]|([^:[\]]*))(?::([^:]*))?$/.exec(text)
  if (match === null) {
    const six = isIPv6(text) ? `: [${text}]` : ''
    throw new UsageError(`"${text}" is not HOST[:PORT]; an IPv6 address goes in brackets${six}`)
  }
  const [, six, plain = '', digits] = match
  const given = digits === undefined ? port : parsePort(digits, 1)
  if (given === undefined) throw new UsageError(`"${digits}" is not a port from 1 to 65535`)
  if (six !== undefined) {
    if (!isIPv6(six)) throw new UsageError(`"${six}" is not an IPv6 address`)
    return { host: six, port: given }
  }
  const host = isIPv4(plain) ? plain : toHostName(plain)
  if (host === undefined) throw new UsageError(`"${plain}" is not a host name or address`)
  return { host, port: given }
}

/** The options about RADIUS, as `serve` has them. */
export interface RadiusSettings {
  readonly radius: readonly RadiusAddress[]
  readonly radiusSecretFile?: string | undefined
  /** `off` is null; undefined: the servers that are asked about log-ins, at the port behind theirs. */
  readonly radiusAccounting?: readonly (RadiusAddress | null)[] | undefined
  readonly radiusTimeout?: number | undefined
  readonly radiusNas?: string | undefined
  readonly radiusOldServer: boolean
}

/** What a gateway needs to ask RADIUS servers; undefined without `--radius`. Throws {@link UsageError}. */
export async function radiusOptions(
  settings: RadiusSettings,
  sources: Pick<CredentialSources, 'readStdin' | 'signal'>,
): Promise<RadiusOptions | undefined> {
  const { radius, radiusSecretFile, radiusTimeout, radiusNas, radiusOldServer } = settings
  if (radius.length === 0 || radiusSecretFile === undefined) return undefined
  const text = await readPasswordFile('--radius-secret-file', radiusSecretFile, sources)
  const secret = Buffer.from(text)
  const accounting =
    settings.radiusAccounting?.filter((server) => server !== null) ??
    radius.map(({ host, port }) => ({ host, port: port + 1 }))
  return {
    servers: radius.map((server) => ({ ...server, secret })),
    accounting: accounting.map((server) => ({ ...server, secret })),
    oldServer: radiusOldServer,
    ...(radiusTimeout === undefined ? {} : { timeout: radiusTimeout }),
    ...(radiusNas === undefined ? {} : { nasIdentifier: radiusNas }),
  }
}
