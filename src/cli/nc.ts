/**
 * `sstp-socks nc`: standard input and output through a running bridge, as `ssh -o ProxyCommand` wants it.
 *
 * Started for every connection, so it reads its few options itself, and imports nothing but Node.
 */
import { readFileSync, statSync } from 'node:fs'
import { connect, isIPv6, type Socket } from 'node:net'
import { type Conversation, NcFailure, type ProxyLogin, STATUS } from './nc-conversation.js'
import { HttpConversation } from './nc-http.js'
import { SocksConversation } from './nc-socks.js'
import type { Stdio } from './stdio.js'

export const NC_USAGE = 'sstp-socks nc [--via ADDR:PORT | --via unix:PATH] HOST:PORT (or HOST PORT)'

export const NC_HELP = `${NC_USAGE}

Joins standard input and output to HOST:PORT, through the SOCKS proxy of a bridge that is running. For ssh:
  ssh -o ProxyCommand='sstp-socks nc %h:%p' host.inside

  --via PLACE                  the SOCKS proxy, [ADDR:]PORT or unix:PATH (default ALL_PROXY, 127.0.0.1:1080)
  --proxy-user NAME            who we are to it (else SSTP_PROXY_USER)
  --proxy-password-file FILE   first line of FILE: the password (else SSTP_PROXY_PASSWORD)
  --timeout TIME               time for the connection to come about, in seconds or like 2m (default 60)

Exit status: 0 both directions have ended, 2 usage, 3 the proxy cannot be reached or says nothing, 5 it wants other
credentials, 6 it is no proxy, 7 the connection was broken off; 10 and the reply of RFC 1928 if there is no connection:
11 the bridge failed, 12 not allowed, 13 network or 14 host unreachable (or no such name), 15 refused, 16 no answer.
`

export interface NcDeps {
  readonly stdio: Stdio
  readonly stderr: (text: string) => void
  readonly env: Readonly<Record<string, string | undefined>>
  /** Calls back after `ms` unless it is cancelled; `setTimeout` by default. */
  readonly setTimer?: (callback: () => void, ms: number) => () => void
}

interface NcSettings {
  readonly host: string
  readonly port: number
  readonly via: Via
  readonly login: ProxyLogin | undefined
  /** Milliseconds for the connection to come about. */
  readonly timeout: number
}

type Place = { readonly host: string; readonly port: number } | { readonly path: string }

interface Via {
  readonly protocol: 'socks' | 'http'
  readonly at: Place
  /** What the environment's URL says. */
  readonly login: ProxyLogin | undefined
}

/** Resolves to the exit status. Rejects never. */
export async function nc(argv: readonly string[], deps: NcDeps): Promise<number> {
  try {
    if (argv.some((word) => word === '--help' || word === '-h')) {
      deps.stdio.output.write(NC_HELP)
      return 0
    }
    const settings = parse(argv, deps.env)
    const socket = await dial(settings, deps.setTimer ?? setTimer)
    return await join(socket, deps)
  } catch (error) {
    const failure = error instanceof NcFailure ? error : new NcFailure(String(error), 1)
    deps.stderr(`sstp-socks nc: ${failure.message.replace(/\p{Cc}+/gu, ' ')}\n`)
    return failure.status
  }
}

// ---------------------------------------------------------------- options

function parse(argv: readonly string[], env: NcDeps['env']): NcSettings {
  const words: string[] = []
  const said = new Map<string, string>()
  for (let i = 0; i < argv.length; i++) {
    const word = argv[i] ?? ''
    const [, name, given] = /^--(via|proxy-user|proxy-password-file|timeout)(?:=(.*))?$/s.exec(word) ?? []
    if (name === undefined) {
      if (word.startsWith('-')) throw usage(`unknown option ${word.split('=', 1)[0]}`)
      words.push(word)
      continue
    }
    if (said.has(name)) throw usage(`--${name}: is given twice`)
    const value = given ?? argv[++i]
    if (value === undefined || value === '') throw usage(`--${name}: wants a value`)
    said.set(name, value)
  }
  const named = said.get('via')
  const url = env.ALL_PROXY || env.all_proxy
  const via: Via =
    named !== undefined || !url
      ? { protocol: 'socks', at: place(named ?? DEFAULT_VIA), login: undefined }
      : fromUrl(url)
  const timeout = duration(said.get('timeout') ?? DEFAULT_TIMEOUT)
  return { ...destination(words), via, login: login(said, via.login, env), timeout }
}

/** `HOST:PORT`, or both as words of their own; IPv6 in brackets in the first. */
function destination(words: readonly string[]): { readonly host: string; readonly port: number } {
  const [first = '', second, ...more] = words
  if (words.length === 0) throw usage('HOST:PORT is missing')
  if (more.length > 0) throw usage(`an argument that nothing takes: ${more.join(' ')}`)
  const match = /^(?:\[([^\]]*)\]|([^:[\]]+)):([^:]+)$/.exec(first)
  const [host, digits] =
    second === undefined
      ? [match?.[1] ?? match?.[2], match?.[3]]
      : [first.replace(/^\[(.*)\]$/, '$1'), second]
  if (host === undefined || digits === undefined) {
    throw usage(`"${first}" is not HOST:PORT (an IPv6 address goes in brackets)`)
  }
  if (match?.[1] !== undefined && !isIPv6(host)) throw usage(`"${host}" is not an IPv6 address`)
  const octets = Buffer.byteLength(host)
  if (octets < 1 || octets > 255 || /[\s\p{Cc}]/u.test(host)) throw usage(`"${host}" is not a host`)
  return { host, port: port(digits, first) }
}

/** `ALL_PROXY`, as `run` sets it. */
function fromUrl(text: string): Via {
  const url = URL.canParse(text) ? new URL(text) : undefined
  const kind = /^(?:(socks5h?|socks):|http:)$/.exec(url?.protocol ?? '')
  if (url === undefined || kind === null || url.hostname === '') {
    // Not the text: it may hold a password.
    throw usage('ALL_PROXY: is no URL of a socks5h, socks5 or http proxy: say with --via where the bridge is')
  }
  const protocol = kind[1] === undefined ? 'http' : 'socks'
  const host = url.hostname.replace(/^\[(.*)\]$/, '$1')
  const at =
    protocol === 'socks' && url.pathname.length > 1
      ? { path: decoded(url.pathname) }
      : { host, port: Number(url.port) || (protocol === 'http' ? 80 : 1080) }
  const [user, password] = [decoded(url.username), decoded(url.password)]
  return { protocol, at, login: user && password ? { user, password } : undefined }
}

function place(text: string): Place {
  if (text.startsWith('unix:')) return { path: text.slice('unix:'.length) }
  const match = /^(?:(?:\[([^\]]*)\]|([^:[\]]+)):)?([^:]+)$/.exec(text)
  const [, six, other = '127.0.0.1', digits = ''] = match ?? []
  if (match === null || (six !== undefined && !isIPv6(six))) {
    throw usage(`--via: "${text}" is not [ADDR:]PORT or unix:PATH (an IPv6 address goes in brackets)`)
  }
  return { host: six ?? other, port: port(digits, text) }
}

function port(digits: string, text: string): number {
  const value = /^[1-9][0-9]{0,4}$/.test(digits) ? Number(digits) : 0
  if (value < 1 || value > 65535) throw usage(`"${text}": "${digits}" is not a port from 1 to 65535`)
  return value
}

/** As the other commands take theirs. */
function duration(text: string): number {
  const [, digits, unit = 's'] = /^([0-9]{1,6}(?:\.[0-9]{1,3})?)(ms|s|m)?$/.exec(text) ?? []
  const value = Math.round(Number(digits) * (unit === 'ms' ? 1 : unit === 's' ? 1000 : 60_000))
  if (value >= 1000 && value <= 600_000) return value
  throw usage(`--timeout: "${text}" is not a time from 1 to 600 seconds`)
}

/** Of the options, else of the URL, else of the environment. */
function login(
  said: ReadonlyMap<string, string>,
  url: ProxyLogin | undefined,
  env: NcDeps['env'],
): ProxyLogin | undefined {
  const file = said.get('proxy-password-file')
  if (url !== undefined && file === undefined && !said.has('proxy-user')) return checked(url)
  const user = said.get('proxy-user') ?? env.SSTP_PROXY_USER
  if (!user) {
    if (file !== undefined) throw usage('--proxy-password-file: needs --proxy-user too')
    return undefined
  }
  const password = file === undefined ? env.SSTP_PROXY_PASSWORD : firstLine(file)
  if (!password) throw usage('no password: give --proxy-password-file FILE or SSTP_PROXY_PASSWORD')
  return checked({ user, password })
}

function checked(login: ProxyLogin): ProxyLogin {
  for (const [what, value] of [
    ['user name', login.user],
    ['password', login.password],
  ] as const) {
    if (Buffer.byteLength(value) > 255)
      throw usage(`the ${what} has more than the 255 octets that SOCKS5 knows`)
  }
  return login
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    throw usage('ALL_PROXY: a % that stands for nothing')
  }
}

function firstLine(file: string): string {
  const refused = (why: string): NcFailure => usage(`--proxy-password-file: ${file}: ${why}`)
  try {
    const stats = statSync(file)
    // A device may have no end. A pipe is what a shell makes of <(command).
    if (!stats.isFile() && !stats.isFIFO()) throw refused('it is neither a file nor a pipe')
    if (stats.size > MAX_PASSWORD_FILE) throw refused(`it is larger than ${MAX_PASSWORD_FILE / 1024} KiB`)
    return (readFileSync(file, 'utf8').split('\n', 1)[0] ?? '').replace(/\r$/, '')
  } catch (error) {
    if (error instanceof NcFailure) throw error
    throw refused(error instanceof Error && 'code' in error ? String(error.code) : 'it cannot be read')
  }
}

function usage(message: string): NcFailure {
  return new NcFailure(`${message} (see sstp-socks nc --help)`, STATUS.usage)
}

// ---------------------------------------------------------------- connection

/** Resolves when the far end is connected; what it has said already is in the socket again. */
function dial(
  { host, port, via, login, timeout }: NcSettings,
  setTimer: NonNullable<NcDeps['setTimer']>,
): Promise<Socket> {
  const { at, protocol } = via
  const target = endpoint(host, port)
  const where = 'path' in at ? `unix:${at.path}` : endpoint(at.host, at.port)
  const conversation: Conversation =
    protocol === 'socks' ? new SocksConversation(host, port, login) : new HttpConversation(target, login)
  const socket = connect({ ...at, allowHalfOpen: true, noDelay: true })
  return new Promise((resolve, reject) => {
    const settle = (error?: NcFailure): void => {
      stopTimer()
      socket.off('data', onData).off('end', onEnd).off('error', onError)
      if (error === undefined) resolve(socket)
      else {
        socket.on('error', () => {})
        socket.destroy()
        reject(error)
      }
    }
    const onError = (error: NodeJS.ErrnoException): void => {
      if (socket.connecting || socket.bytesRead === 0) {
        const message = `no bridge on ${where} (${error.code}): start one, or say with --via where its SOCKS proxy is`
        settle(new NcFailure(message, STATUS.unreachable))
      } else settle(new NcFailure(`the proxy on ${where} broke off (${error.code})`, STATUS.lost))
    }
    const onEnd = (): void =>
      settle(new NcFailure(`the proxy on ${where} hung up without an answer`, STATUS.protocol))
    const onData = (chunk: Buffer): void => {
      let step: ReturnType<Conversation['push']>
      try {
        step = conversation.push(chunk)
        // An answer may have come with the one before it.
        while (step.type === 'send') {
          socket.write(step.data)
          step = conversation.push(EMPTY)
        }
      } catch (error) {
        const failure = error instanceof NcFailure ? error : new NcFailure(String(error), 1)
        settle(new NcFailure(`${target}: ${failure.message}`, failure.status))
        return
      }
      if (step.type !== 'connected') return
      socket.pause()
      if (step.rest.length > 0) socket.unshift(Buffer.from(step.rest))
      settle()
    }
    // A proxy that has begun to talk is alive, and waits itself.
    const onTimeout = (): void => {
      const within = `within ${timeout / 1000} s (--timeout)`
      if (socket.bytesRead > 0) {
        const message = `${target}: the proxy on ${where} has not made a connection ${within}`
        settle(new NcFailure(message, STATUS.reply + 6))
      } else {
        const message = `the proxy on ${where} does not answer ${within}: say with --via where the SOCKS proxy is`
        settle(new NcFailure(message, STATUS.unreachable))
      }
    }
    const stopTimer = setTimer(onTimeout, timeout)
    socket.on('data', onData).on('end', onEnd).on('error', onError)
    socket.write(conversation.first)
  })
}

function endpoint(host: string, port: number): string {
  return `${isIPv6(host) ? `[${host}]` : host}:${port}`
}

/** Passes on what comes until both directions have ended. */
function join(socket: Socket, { stdio, stderr }: NcDeps): Promise<number> {
  const { input, output } = stdio
  return new Promise((resolve) => {
    let ended = false
    let finished = false
    const settle = (status: number): void => {
      socket.destroy()
      input.unpipe(socket)
      input.pause()
      resolve(status)
    }
    const over = (): void => {
      if (finished && socket.writableFinished) settle(0)
    }
    socket.on('error', (error: NodeJS.ErrnoException) => {
      // The end of what we say may meet a side that has gone already.
      if (ended && error.code === 'EPIPE') return
      stderr(`sstp-socks nc: the connection was broken off (${error.code})\n`)
      settle(STATUS.lost)
    })
    socket.once('finish', over)
    socket.once('end', () => {
      ended = true
      output.end(() => {
        stdio.closeOutput()
        finished = true
        over()
      })
    })
    // Whoever reads our output has gone.
    output.on('error', () => settle(0))
    input.on('error', () => socket.end())
    input.pipe(socket)
    socket.pipe(output, { end: false })
  })
}

function setTimer(callback: () => void, ms: number): () => void {
  const timer = setTimeout(callback, ms)
  return () => clearTimeout(timer)
}

const DEFAULT_VIA = '127.0.0.1:1080'
/** Longer than a bridge waits for its tunnel and for the host behind it, so that its answer comes first. */
const DEFAULT_TIMEOUT = '60'
/** Octets: as of the other commands' files. */
const MAX_PASSWORD_FILE = 65_536
const EMPTY = new Uint8Array(0)
