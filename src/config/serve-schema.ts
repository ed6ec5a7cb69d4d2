import { isIPv4 } from 'node:net'
import { z } from 'zod'
import { AddressPool } from '../gateway/address-pool.js'
import { ipv6Plan } from '../gateway/router.js'
import { UsageError } from './errors.js'
import { flag, integer, list, logging, MTU, read, text } from './fields.js'
import { parseRadiusServer, RADIUS_ACCOUNTING_PORT, RADIUS_PORT } from './radius.js'
import { parseAuth, parseDuration, parseListen } from './values.js'

// The options of `serve`.

export const DEFAULT_LISTEN = { address: '0.0.0.0', port: 8443 } as const

/** Either accounts of our own, or a RADIUS server's. */
function checkRadius(
  settings: {
    readonly accounts?: string | undefined
    readonly clientCa?: string | undefined
    readonly radius: readonly unknown[]
    readonly radiusSecretFile?: string | undefined
    readonly radiusAccounting?: readonly unknown[] | undefined
  },
  context: z.RefinementCtx,
) {
  const fail = (name: string, message: string): void =>
    context.addIssue({ code: 'custom', path: [name], message })
  const { accounts, radius, radiusSecretFile: secret, radiusAccounting: accounting = [] } = settings
  if (radius.length === 0) {
    if (accounts === undefined && settings.clientCa === undefined)
      fail('accounts', 'is required: a FILE with a user:password a line (or --radius, or --client-ca)')
    else if (secret !== undefined) fail('radiusSecretFile', 'needs --radius too')
    else if (accounting.length > 0) fail('radiusAccounting', 'needs --radius too')
    return
  }
  if (accounts !== undefined) fail('radius', 'contradicts --accounts: say one of them')
  if (secret === undefined) fail('radius', 'needs --radius-secret-file FILE with the secret shared with it')
  if (accounting.length > 1 && accounting.includes(null)) fail('radiusAccounting', 'is off and on at once')
}

function checkClientCa(
  settings: {
    readonly accounts?: string | undefined
    readonly radius: readonly unknown[]
    readonly clientCa?: string | undefined
    readonly auth?: readonly string[] | undefined
  },
  context: z.RefinementCtx,
) {
  const { accounts, radius, clientCa, auth } = settings
  const password = auth?.find((method) => method !== 'eap-tls')
  if (clientCa !== undefined && radius.length > 0) {
    const message = 'contradicts --radius: the RADIUS server knows whose certificates are good'
    context.addIssue({ code: 'custom', path: ['clientCa'], message })
  } else if (clientCa === undefined && radius.length === 0 && auth?.includes('eap-tls')) {
    const message = "eap-tls needs --client-ca FILE with the issuer of the clients' certificates"
    context.addIssue({ code: 'custom', path: ['auth'], message })
  } else if (clientCa !== undefined && accounts === undefined && password !== undefined) {
    const message = `${password} needs --accounts FILE with the clients' passwords`
    context.addIssue({ code: 'custom', path: ['auth'], message })
  }
}

export const serveSchema = z
  .strictObject({
    ...logging,
    listen: read((value) => parseListen(value, DEFAULT_LISTEN.address)).default(DEFAULT_LISTEN),
    accounts: text().optional(),
    radius: list((value) => parseRadiusServer(value, RADIUS_PORT)).default([]),
    radiusSecretFile: text().optional(),
    /** `off` is null. */
    radiusAccounting: list((value) =>
      value === 'off' ? null : parseRadiusServer(value, RADIUS_ACCOUNTING_PORT),
    ).optional(),
    radiusTimeout: read((value) => parseDuration(value, 's', 500, 120_000)).optional(),
    radiusNas: text().optional(),
    radiusOldServer: flag().default(false),
    cert: text().optional(),
    key: text().optional(),
    clientCa: text().optional(),
    state: text().optional(),
    pool: read((value) => new AddressPool(value).cidr).optional(),
    ipv6Prefix: read((value) => {
      if (ipv6Plan(value) === undefined)
        throw new UsageError(
          `"${value}" is not an IPv6 prefix for hosts of 64 bits, such as fd12:3456:789a:1::/64`,
        )
      return value
    }).optional(),
    dns: list((value) => {
      if (!isIPv4(value)) throw new UsageError(`"${value}" is not an IPv4 address`)
      return value
    }).default([]),
    auth: read(parseAuth).optional(),
    mtu: integer(MTU.least, MTU.most).optional(),
    maxCalls: integer(0, 65535).optional(),
    maxConnections: integer(1, 65535).optional(),
    maxStrangers: integer(1, 65535).optional(),
    maxPerAddress: integer(1, 65535).optional(),
    maxFailures: integer(0, 100_000).optional(),
    setupTimeout: read((value) => parseDuration(value, 's', 1000, 600_000)).optional(),
    allowLoopback: flag().default(false),
  })
  .superRefine((settings, context) => {
    checkRadius(settings, context)
    checkClientCa(settings, context)
    if ((settings.cert === undefined) === (settings.key === undefined)) return
    const [path, other] = settings.cert === undefined ? ['key', 'cert'] : ['cert', 'key']
    context.addIssue({ code: 'custom', path: [path], message: `needs --${other} too` })
  })

export type ServeSettings = z.output<typeof serveSchema>
