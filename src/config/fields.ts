import { z } from 'zod'
import { PoolError } from '../gateway/address-pool.js'
import { UsageError } from './errors.js'

// What the fields of the schemas are made of. Values may be text or what text means.

export const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const
export const LOG_FORMATS = ['pretty', 'json'] as const
export type LogLevel = (typeof LOG_LEVELS)[number]
export type LogFormat = (typeof LOG_FORMATS)[number]

/** The inner MTU that a call can have (docs of `TunnelOptions.mtu`). */
export const MTU = { least: 576, most: 4087 }

export function text(missing = 'wants a value'): z.ZodString {
  return z
    .string({
      error: ({ input }) =>
        Array.isArray(input) ? 'is given twice' : input === undefined ? missing : 'wants a value',
    })
    .min(1, 'wants a value')
}

/** Text read by one of the parsers, whose complaint becomes the message. */
export function read<T>(parse: (value: string) => T) {
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

export function integer(least: number, most: number) {
  const message = `wants a whole number from ${least} to ${most}`
  return z.preprocess(
    (value) => (typeof value === 'string' && /^[0-9]{1,15}$/.test(value) ? Number(value) : value),
    z
      .int({ error: (issue) => (Array.isArray(issue.input) ? 'is given twice' : message) })
      .min(least, message)
      .max(most, message),
  )
}

export function choice<const T extends readonly [string, ...string[]]>(values: T) {
  return z.enum(values, {
    error: (issue) => (Array.isArray(issue.input) ? 'is given twice' : `is one of ${values.join(', ')}`),
  })
}

/** Once or several times, or with commas. */
export function list<T>(parse: (value: string) => T) {
  return z.preprocess(
    (value) =>
      (Array.isArray(value) ? value : [value]).flatMap((item) =>
        typeof item === 'string' ? item.split(',').map((part) => part.trim()) : [item],
      ),
    z.array(read(parse)).min(1, 'wants a value'),
  )
}

/** Once or several times; commas belong to the value. */
export function repeated<T>(parse: (value: string) => T) {
  return z.preprocess(
    (value) => (Array.isArray(value) ? value : [value]),
    z.array(read(parse)).min(1, 'wants a value'),
  )
}

export function flag() {
  return z.boolean({ error: (issue) => (Array.isArray(issue.input) ? 'is given twice' : 'takes no value') })
}

export const logging = {
  json: flag().default(false),
  logLevel: choice(LOG_LEVELS).optional(),
  logFormat: choice(LOG_FORMATS).default('pretty'),
}
