import { z } from 'zod'
import { parseDnsChoice, parseSearch, splitDns } from './dns.js'
import { UsageError } from './errors.js'
import { choice, flag, integer, list, logging, MTU, read, repeated, text } from './fields.js'
import { parseDestination, parseLocalForward, parseRemoteForward } from './forwards.js'
import { parseRuleOption } from './rules.js'
import { parseUpstream } from './upstream.js'
import {
  formatPlace,
  type ListenAddress,
  type Place,
  parseAllowed,
  parseAuth,
  parseDuration,
  parseHostHeader,
  parseListen,
  parsePin,
  parsePlace,
  parseProxyUser,
  parseServerName,
  parseTarget,
} from './values.js'

// The one truth about every option: the flags of the commands go through here, and whatever else names
// options will too. Keys are those of the flags in camel case; values may be text or what text means.

export { LOG_FORMATS, LOG_LEVELS, type LogFormat, type LogLevel } from './fields.js'
export { DEFAULT_LISTEN, type ServeSettings, serveSchema } from './serve-schema.js'

export const DEFAULT_SOCKS = { address: '127.0.0.1', port: 1080 } as const
export const DEFAULT_HTTP = { address: '127.0.0.1', port: 8080 } as const
/** The same for both proxies: one port for both. */
const FREE_PORT = { address: '127.0.0.1', port: 0 } as const

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
  dns: list(parseDnsChoice).default([]),
  search: list(parseSearch).optional(),
  ndots: integer(0, 15).optional(),
  hosts: text().optional(),
  mtu: integer(MTU.least, MTU.most).optional(),
  ipv6: flag().default(true),
  timeout: read((value) => parseDuration(value, 's', 1000, 600_000)).optional(),
}

/** `off` is an empty list: undefined would be the default again. */
function places(fallback: ListenAddress) {
  return repeated((value) => (value === 'off' ? null : parsePlace(value, fallback.address)))
    .default([fallback])
    .transform((said, context): readonly Place[] => {
      const found = said.filter((place) => place !== null)
      const complain = (message: string): void => context.addIssue({ code: 'custom', message })
      if (found.length > 0 && found.length < said.length) complain('is off and on at once')
      const names = found.map(formatPlace).filter((name) => !name.endsWith(':0'))
      if (new Set(names).size < names.length) complain('is given twice with the same place')
      return found
    })
}

/** Split tunnelling. `rules` is a file. */
const splitting = {
  route: list((value) => parseRuleOption('route', value)).default([]),
  bypass: list((value) => parseRuleOption('bypass', value)).default([]),
  block: list((value) => parseRuleOption('block', value)).default([]),
  rules: text().optional(),
}

/** What `connect` and `run` have in common. */
const bridge = {
  ...tunnel,
  ...splitting,
  dnsListen: read((value) => parseListen(value, '127.0.0.1')).optional(),
  proxyUser: read(parseProxyUser).optional(),
  proxyPasswordFile: text().optional(),
  allow: list(parseAllowed).optional(),
  allowOpen: flag().default(false),
  maxClients: integer(1, 1_000_000).optional(),
  reconnect: flag().default(true),
  retryStart: flag().default(false),
  reconnectWait: read((value) => parseDuration(value, 's', 0, 600_000)).optional(),
  keepalive: read((value) => parseDuration(value, 's', 1000, 3_600_000)).optional(),
  forward: repeated(parseLocalForward).default([]),
  remoteForward: repeated(parseRemoteForward).default([]),
}

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
  proxyPasswordFile?: unknown
}

/** Files that may be standard input, which is read but once. */
const SECRET_FILES = [
  'passwordFile',
  'newPasswordFile',
  'keyPasswordFile',
  'upstreamPasswordFile',
  'proxyPasswordFile',
] as const

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

export const tunnelSchema = z.strictObject(tunnel).superRefine(checkTrust).transform(splitDns)

/** With `--stdio` the proxies are there only if they are named: one such process runs for each connection. */
function quietly(options: unknown): unknown {
  const stdio = typeof options === 'object' && options !== null && 'stdio' in options
  return stdio ? { socks: 'off', http: 'off', ...options } : options
}

function checkStdio(settings: Checked & { stdio?: unknown; json: boolean }, context: z.RefinementCtx) {
  if (settings.stdio === undefined) return
  const complain = (message: string): void => context.addIssue({ code: 'custom', path: ['stdio'], message })
  if (settings.json) complain('contradicts --json: standard output belongs to the connection')
  if (SECRET_FILES.some((name) => settings[name] === '-')) {
    complain('standard input belongs to the connection: no password can come from it')
  }
}

const connectFields = z
  .strictObject({
    ...bridge,
    socks: places(DEFAULT_SOCKS),
    http: places(DEFAULT_HTTP),
    stdio: read(parseDestination).optional(),
  })
  .superRefine((settings, context) => {
    checkTrust(settings, context)
    checkStdio(settings, context)
    const { socks, http, forward, remoteForward, dnsListen, stdio } = settings
    const entrances = [...socks, ...http, ...forward, ...remoteForward].length
    if (entrances === 0 && dnsListen === undefined && stdio === undefined) {
      const message = 'is off as --socks is: nothing would be left to do'
      context.addIssue({ code: 'custom', path: ['http'], message })
    }
  })

export const connectSchema = z.preprocess(quietly, connectFields).transform(splitDns)

export const runSchema = z
  .strictObject({
    ...bridge,
    socks: places(FREE_PORT),
    http: places(FREE_PORT),
    command: z.array(z.string()).min(1, 'is missing: sstp-socks run <server> [options] -- COMMAND'),
  })
  .superRefine((settings, context) => {
    checkTrust(settings, context)
    const { socks, http, forward, dnsListen } = settings
    const usable = [...socks, ...http].some((place) => !('path' in place))
    if (!usable && forward.length === 0 && dnsListen === undefined) {
      const message = 'is off or a unix socket, and so is --socks: no program would find its way'
      context.addIssue({ code: 'custom', path: ['http'], message })
    }
  })
  .transform(splitDns)

export const pingSchema = z
  .strictObject({
    ...tunnel,
    host: read(parseTarget),
    count: integer(1, 1_000_000).default(4),
    interval: read((value) => parseDuration(value, 'ms', 10, 3_600_000)).default(1000),
    size: integer(0, MTU.most - 28).default(56),
  })
  .superRefine(checkTrust)
  .transform(splitDns)

export const resolveSchema = z
  .strictObject({ ...tunnel, name: read(parseTarget) })
  .superRefine(checkTrust)
  .transform(splitDns)

export const demoSchema = z.strictObject({ ...logging, once: flag().default(false) })

export type TunnelSettings = z.output<typeof tunnelSchema>
export type ConnectSettings = z.output<typeof connectSchema>
export type RunSettings = z.output<typeof runSchema>
/** What {@link ConnectSettings} and {@link RunSettings} have in common. */
export type BridgeSettings = Omit<RunSettings, 'command'>
export type PingSettings = z.output<typeof pingSchema>

/** The positional arguments, whose names are shown without dashes. */
const POSITIONAL = new Set(['server', 'host', 'name', 'command'])

/** Settings out of options; the first complaint is thrown as {@link UsageError}, one line. */
export function parseSettings<T>(schema: z.ZodType<T>, options: Readonly<Record<string, unknown>>): T {
  const result = schema.safeParse(options)
  if (result.success) return result.data
  const [issue] = result.error.issues
  if (issue === undefined) throw new UsageError('the options cannot be used')
  if (issue.code === 'unrecognized_keys') throw new UsageError(`unknown option ${issue.keys.join(', ')}`)
  const [name] = issue.path
  if (typeof name !== 'string') throw new UsageError(issue.message)
  if (name.length === 1) throw new UsageError(`-${name}: ${issue.message}`)
  const shown = POSITIONAL.has(name)
    ? `<${name}>`
    : `--${name.replace(/[A-Z]/g, (c) => `-${c.toLowerCase()}`)}`
  throw new UsageError(`${shown}: ${issue.message}`)
}
