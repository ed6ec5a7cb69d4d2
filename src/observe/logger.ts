import { type Logger, pino } from 'pino'
import { prettyFactory } from 'pino-pretty'
import type { GatewayEvent } from '../gateway/events.js'
import type { ProxyEvent } from '../proxy/events.js'
import type { TunnelEvent } from '../tunnel/events.js'

export type { Logger }

export interface LoggerOptions {
  /** One of pino's, or `silent`. */
  readonly level: string
  /** `json`: one object a line; `pretty`: for people. */
  readonly format: 'pretty' | 'json'
  /** Colours, for `pretty`. */
  readonly color?: boolean
  /** Takes whole lines with their line feed, at once: nothing is held back, so nothing is lost at the end. */
  readonly write: (lines: string) => void
}

/** Fields whose value never reaches a log, at the top and two levels below. */
const SECRETS = ['password', 'passphrase', 'secret', 'key', 'token', 'authorization']
const REDACTED = SECRETS.flatMap((name) => [name, `*.${name}`, `*.*.${name}`])

/** A pino logger that writes in this thread; `pretty` is made in the process too. */
export function createLogger(options: LoggerOptions): Logger {
  const { write } = options
  let stream = { write }
  if (options.format === 'pretty') {
    const pretty = prettyFactory({
      colorize: options.color ?? false,
      ignore: 'pid,hostname',
      translateTime: 'SYS:HH:MM:ss.l',
      singleLine: true,
    })
    stream = { write: (line) => write(pretty(disarm(line))) }
  }
  return pino(
    {
      level: options.level,
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      redact: { paths: REDACTED, censor: '[hidden]' },
    },
    stream,
  )
}

/**
 * Takes out of a line of JSON what would act on a terminal: peers choose some of the text. Line feeds
 * stay only where a stack needs them.
 */
function disarm(line: string): string {
  const stack = line.includes('"err":')
  return line
    .replace(/\\\\|\\u00[0-9a-f]{2}|\\[bfnr]/g, (found) => {
      if (found === '\\\\' || (found === '\\n' && stack)) return found
      return found.startsWith('\\u') ? '?' : ' '
    })
    .replace(/[^\P{Cc}\n]/gu, '?')
}

/** Milliseconds as people and scripts want them: one decimal. */
export function tenths(ms: number): number {
  return Math.round(ms * 10) / 10
}

/** One line for an event of a tunnel. */
export function logTunnelEvent(logger: Logger, event: TunnelEvent): void {
  switch (event.type) {
    case 'step':
      logger.debug(
        { step: event.step, ms: tenths(event.ms), detail: event.detail },
        `step ${event.step} done`,
      )
      break
    case 'up':
      logger.info({ tunnel: event.info }, 'tunnel up')
      break
    case 'changed':
      logger.info({ tunnel: event.info }, 'tunnel changed')
      break
    case 'warning':
      logger.warn({ code: event.code }, event.message)
      break
    case 'trace':
      logger.debug(event.message)
      break
    case 'down':
      if (event.error === undefined) logger.info('tunnel down')
      else {
        const { step, kind, code, message } = event.error
        // Whoever asked for the tunnel gets the error and decides what it means.
        logger.info({ step, kind, code }, `tunnel down: ${message}`)
      }
      break
    default:
      unknownEvent(event)
  }
}

/** One line for an event of the gateway. */
export function logGatewayEvent(logger: Logger, event: GatewayEvent): void {
  switch (event.type) {
    case 'listening':
      logger.info({ address: event.address, port: event.port }, 'listening')
      break
    case 'accepted':
      logger.debug({ call: event.call, from: event.from }, 'connection accepted')
      break
    case 'up': {
      const { call, from, user, auth, address } = event
      logger.info({ call, from, user, auth, address }, 'call up')
      break
    }
    case 'trace':
      logger.debug({ call: event.call }, event.message)
      break
    case 'warning':
      logger.warn({ call: event.call, code: event.code }, event.message)
      break
    case 'closed': {
      const { call, from, user, reason } = event
      logger.info({ call, from, user }, reason === '' ? 'call ended' : `call ended: ${reason}`)
      break
    }
    default:
      unknownEvent(event)
  }
}

/** How much is said of an event of the proxies. */
export interface ProxyLine {
  /** Too much was said of its kind: only for those who want to know everything. */
  readonly quiet?: boolean
  /** Lines like it that were left out before. */
  readonly missed?: number
}

/** One line for an event of the proxies; docs/failures.md lists those of what fails. */
export function logProxyEvent(logger: Logger, event: ProxyEvent, line: ProxyLine = {}): void {
  const { type, ...fields } = event
  switch (event.type) {
    case 'accepted':
    case 'closed':
      logger.trace(fields, `client ${type}`)
      break
    case 'open':
    case 'done':
      logger.debug(fields, `connection ${type}`)
      break
    case 'failed':
    case 'rejected':
    case 'dropped': {
      const { message, ...rest } = event
      const level = line.quiet === true ? 'debug' : proxyLevel(event)
      const more = line.missed ? ` (and ${line.missed} more like it)` : ''
      logger[level]({ ...rest, type: undefined }, `${cut(message)}${more}`)
      break
    }
    default:
      unknownEvent(event)
  }
}

/**
 * `warn` for what concerns the bridge and whoever runs it, `info` for what concerns one destination or client,
 * `debug` for clients that change their mind.
 */
function proxyLevel(
  event: ProxyEvent & { type: 'failed' | 'rejected' | 'dropped' },
): 'warn' | 'info' | 'debug' {
  if (event.type === 'dropped') return 'info'
  if (event.type === 'rejected') {
    return WARNED_OF.has(event.reason) ? 'warn' : 'info'
  }
  // Its client is told by an RST, which says nothing, so the log is where one looks.
  if (event.protocol === 'forward' && event.code !== 'aborted') return 'warn'
  switch (event.code) {
    case 'name-failed':
    case 'name-timed-out':
    case 'no-resources':
    case 'tunnel-down':
    case 'tunnel-reconnecting':
    case 'internal':
      return 'warn'
    case 'aborted':
      return 'debug'
    default:
      return 'info'
  }
}

/** Clients choose part of the text. */
function cut(message: string): string {
  return message.length > LONGEST ? `${message.slice(0, LONGEST)}...` : message
}

const LONGEST = 400

/** Somebody may be at the door whom the owner wants to know of, in either way. */
const WARNED_OF: ReadonlySet<string> = new Set(['limit', 'credentials', 'forbidden'])

/** Does not compile when an event type was forgotten above. */
function unknownEvent(event: never): void {
  void event
}
