import { isIPv4 } from 'node:net'
import { z } from 'zod'
import { AddressPool, PoolError } from '../gateway/address-pool.js'
import { UsageError } from './errors.js'
import {
  parseAddress,
  parseAuth,
  parseDuration,
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
  auth: read(parseAuth).optional(),
  ca: text().optional(),
  pin: read(parsePin).optional(),
  servername: read(parseServerName).optional(),
  insecure: flag().default(false),
  dns: list(parseAddress).default([]),
  mtu: integer(MTU.least, MTU.most).optional(),
  ipv6: flag().default(true),
  timeout: read((value) => parseDuration(value, 's', 1000, 600_000)).optional(),
}

/** `off` is null: undefined would be the default again. */
const proxy = (fallback: { readonly address: string; readonly port: number }) =>
  read((value) => (value === 'off' ? null : parseListen(value, fallback.address))).default(fallback)

function checkTrust(settings: { insecure: boolean; pin?: unknown; ca?: unknown }, context: z.RefinementCtx) {
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
  .strictObject({ ...tunnel, socks: proxy(DEFAULT_SOCKS), http: proxy(DEFAULT_HTTP) })
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

export const serveSchema = z
  .strictObject({
    ...logging,
    listen: read((value) => parseListen(value, DEFAULT_LISTEN.address)).default(DEFAULT_LISTEN),
    accounts: text('is required: a FILE with a user:password a line'),
    cert: text().optional(),
    key: text().optional(),
    state: text().optional(),
    pool: read((value) => new AddressPool(value).cidr).optional(),
    dns: list((value) => {
      if (!isIPv4(value)) throw new UsageError(`"${value}" is not an IPv4 address`)
      return value
    }).default([]),
    auth: read(parseAuth).optional(),
    mtu: integer(MTU.least, MTU.most).optional(),
    maxCalls: integer(0, 65535).optional(),
    allowLoopback: flag().default(false),
  })
  .superRefine((settings, context) => {
    if ((settings.cert === undefined) === (settings.key === undefined)) return
    const [path, other] = settings.cert === undefined ? ['key', 'cert'] : ['cert', 'key']
    context.addIssue({ code: 'custom', path: [path], message: `needs --${other} too` })
  })

export const demoSchema = z.strictObject({ ...logging, once: flag().default(false) })

export type TunnelSettings = z.output<typeof tunnelSchema>
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
