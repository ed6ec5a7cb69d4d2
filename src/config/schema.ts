import { isIPv4 } from 'node:net'
import { z } from 'zod'
import { AddressPool, PoolError } from '../gateway/address-pool.js'
import { ipv6Plan } from '../gateway/router.js'
import { UsageError } from './errors.js'
import { parseRadiusServer, RADIUS_ACCOUNTING_PORT, RADIUS_PORT } from './radius.js'
import { parseUpstream } from './upstream.js'
import {
  parseAddress,
  parseAuth,
  parseDuration,
  parseHostHeader,
  parseListen,
  parsePin,
  parseServerName,
  parseTarget,
} from './values.js'

// The one truth about every option: the flags of the commands go through here, and whatever else names
// options will too. Keys are those of the flags in camel case; values may be text or what text means.

export const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const
export const LOG_FORMATS = ['pretty', 'json'] as const
export type LogLevel = (typeof LOG_LEVELS)[number]
export type LogFormat = (typeof LOG_FORMATS)[number]

export const DEFAULT_SOCKS = { address: '127.0.0.1', port: 1080 } as const
export const DEFAULT_HTTP = { address: '127.0.0.1', port: 8080 } as const
export const DEFAULT_LISTEN = { address: '0.0.0.0', port: 8443 } as const

/** The inner MTU that a call can have (docs of `TunnelOptions.mtu`). */
const MTU = { least: 576, most: 4087 }

function text(missing = 'wants a value'): z.ZodString {
  return z
    .string({
      error: ({ input }) =>
        Array.isArray(input) ? 'is given twice' : input === undefined ? missing : 'wants a value',
    })
    .min(1, 'wants a value')
}

/** Text read by one of the parsers, whose complaint becomes the message. */
function read<T>(parse: (value: string) => T) {
  return text().transform((value, context): T => {
    try {
      return parse(value)
    } catch (error) {
      if (!(error instanceof UsageError || error instanceof PoolError)) throw error
      context.addIssue({ code: 'custom', message: error.message })
      return z.NEVER
    }
  })
}

function integer(least: number, most: number) {
  const message = `wants a whole number from ${least} to ${most}`
  return z.preprocess(
    (value) => (typeof value === 'string' && /^[0-9]{1,15}$/.test(value) ? Number(value) : value),
    z
      .int({ error: (issue) => (Array.isArray(issue.input) ? 'is given twice' : message) })
      .min(least, message)
      .max(most, message),
  )
}

function choice<const T extends readonly [string, ...string[]]>(values: T) {
  return z.enum(values, {
    error: (issue) => (Array.isArray(issue.input) ? 'is given twice' : `is one of ${values.join(', ')}`),
  })
}

/** Once or several times, or with commas. */
function list<T>(parse: (value: string) => T) {
  return z.preprocess(
    (value) =>
      (Array.isArray(value) ? value : [value]).flatMap((item) =>
        typeof item === 'string' ? item.split(',').map((part) => part.trim()) : [item],
      ),
    z.array(read(parse)).min(1, 'wants a value'),
  )
}

function flag() {
  return z.boolean({ error: (issue) => (Array.isArray(issue.input) ? 'is given twice' : 'takes no value') })
}

const logging = {
  json: flag().default(false),
  logLevel: choice(LOG_LEVELS).optional(),
  logFormat: choice(LOG_FORMATS).default('pretty'),
}

const tunnel = {
  ...logging,
  server: text(),
  user: text().optional(),
  password: text().optional(),
  passwordFile: text().optional(),
  passwordCommand: text().optional(),
  newPasswordFile: text().optional(),
  auth: read(parseAuth).optional(),
  cert: text().optional(),
  key: text().optional(),
  keyPasswordFile: text().optional(),
  eapName: text().optional(),
  eapCa: text().optional(),
  eapServername: read(parseServerName).optional(),
  eapPin: list(parsePin).optional(),
  eapKeyRule: choice(['windows', 'pppd']).optional(),
  eapTlsMax: choice(['1.2', '1.3']).optional(),
  hashWholeUser: flag().optional(),
  ca: text().optional(),
  pin: list(parsePin).optional(),
  servername: read(parseServerName).optional(),
  /** `none` is null: no name is sent. */
  sni: read((value) => (value === 'none' ? null : parseServerName(value))).optional(),
  hostHeader: read(parseHostHeader).optional(),
  tlsCert: text().optional(),
  tlsKey: text().optional(),
  /** `none` is null: whatever the environment says. */
  upstream: read(parseUpstream).optional(),
  upstreamPasswordFile: text().optional(),
  insecure: flag().default(false),
  dns: list(parseAddress).default([]),
  mtu: integer(MTU.least, MTU.most).optional(),
  ipv6: flag().default(true),
  timeout: read((value) => parseDuration(value, 's', 1000, 600_000)).optional(),
}

/** `off` is null: undefined would be the default again. */
const proxy = (fallback: { readonly address: string; readonly port: number }) =>
  read((value) => (value === 'off' ? null : parseListen(value, fallback.address))).default(fallback)

interface Checked {
  insecure: boolean
  pin?: unknown
  ca?: unknown
  tlsCert?: unknown
  tlsKey?: unknown
  cert?: unknown
  key?: unknown
  keyPasswordFile?: unknown
  auth?: readonly string[] | undefined
  passwordFile?: unknown
  newPasswordFile?: unknown
  upstreamPasswordFile?: unknown
}

/** Files that may be standard input, which is read but once. */
const SECRET_FILES = ['passwordFile', 'newPasswordFile', 'keyPasswordFile', 'upstreamPasswordFile'] as const

function checkTrust(settings: Checked, context: z.RefinementCtx) {
  for (const name of ['key', 'keyPasswordFile'] as const) {
    if (settings[name] === undefined || settings.cert !== undefined) continue
    context.addIssue({ code: 'custom', path: [name], message: 'needs --cert too' })
  }
  if (settings.auth?.includes('eap-tls') && settings.cert === undefined) {
    const message = 'eap-tls needs --cert FILE with the client certificate'
    context.addIssue({ code: 'custom', path: ['auth'], message })
  }
  if (settings.tlsKey !== undefined && settings.tlsCert === undefined) {
    context.addIssue({ code: 'custom', path: ['tlsKey'], message: 'needs --tls-cert too' })
  }
  const [, second] = SECRET_FILES.filter((name) => settings[name] === '-')
  if (second !== undefined) {
    const message = 'standard input holds one password only'
    context.addIssue({ code: 'custom', path: [second], message })
  }
  if (!settings.insecure) return
  for (const name of ['pin', 'ca'] as const) {
    if (settings[name] === undefined) continue
    context.addIssue({
      code: 'custom',
      path: ['insecure'],
      message: `contradicts --${name}: say one of them`,
    })
  }
}

export const tunnelSchema = z.strictObject(tunnel).superRefine(checkTrust)

export const connectSchema = z
  .strictObject({
    ...tunnel,
    socks: proxy(DEFAULT_SOCKS),
    http: proxy(DEFAULT_HTTP),
    reconnect: flag().default(true),
    retryStart: flag().default(false),
    reconnectWait: read((value) => parseDuration(value, 's', 0, 600_000)).optional(),
    keepalive: read((value) => parseDuration(value, 's', 1000, 3_600_000)).optional(),
  })
  .superRefine((settings, context) => {
    checkTrust(settings, context)
    if (settings.socks === null && settings.http === null) {
      const message = 'is off as --socks is: nothing would be left to do'
      context.addIssue({ code: 'custom', path: ['http'], message })
    }
  })

export const pingSchema = z
  .strictObject({
    ...tunnel,
    host: read(parseTarget),
    count: integer(1, 1_000_000).default(4),
    interval: read((value) => parseDuration(value, 'ms', 10, 3_600_000)).default(1000),
    size: integer(0, MTU.most - 28).default(56),
  })
  .superRefine(checkTrust)

export const resolveSchema = z.strictObject({ ...tunnel, name: read(parseTarget) }).superRefine(checkTrust)

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

export const demoSchema = z.strictObject({ ...logging, once: flag().default(false) })

export type TunnelSettings = z.output<typeof tunnelSchema>
export type ConnectSettings = z.output<typeof connectSchema>
export type PingSettings = z.output<typeof pingSchema>
export type ServeSettings = z.output<typeof serveSchema>

/** The positional arguments, whose names are shown without dashes. */
const POSITIONAL = new Set(['server', 'host', 'name'])

/** Settings out of options; the first complaint is thrown as {@link UsageError}, one line. */
export function parseSettings<T>(schema: z.ZodType<T>, options: Readonly<Record<string, unknown>>): T {
  const result = schema.safeParse(options)
  if (result.success) return result.data
  const [issue] = result.error.issues
  if (issue === undefined) throw new UsageError('the options cannot be used')
  if (issue.code === 'unrecognized_keys') throw new UsageError(`unknown option ${issue.keys.join(', ')}`)
  const [name] = issue.path
  if (typeof name !== 'string') throw new UsageError(issue.message)
  const shown = POSITIONAL.has(name)
    ? `<${name}>`
    : `--${name.replace(/[A-Z]/g, (c) => `-${c.toLowerCase()}`)}`
  throw new UsageError(`${shown}: ${issue.message}`)
}
