/** Proxies that do as a test says, over real sockets. */
import { connect, type Socket } from 'node:net'
import type { TlsOptions } from 'node:tls'
import { type TestServer, tcpServer, tlsServer } from './servers.js'

/** One request head of a client, as text. */
export interface Request {
  readonly text: string
  /** Fields in lower case. */
  readonly fields: ReadonlyMap<string, string>
  /** Requests so far, this one too, and connections so far. */
  readonly count: number
  readonly connection: number
}

/**
 * What a proxy does with a request: answers and goes on listening, tunnels to a port, or does as it likes.
 */
export type Answer = string | { readonly tunnel: number; readonly head?: string } | ((socket: Socket) => void)

export interface ScriptedProxy extends TestServer {
  readonly requests: readonly Request[]
  readonly connections: number
}

/** An HTTP proxy. With `tls` it is an `https` one. */
export async function httpProxy(
  script: (request: Request) => Answer,
  tls?: TlsOptions,
): Promise<ScriptedProxy> {
  const requests: Request[] = []
  let connections = 0
  const serve = (socket: Socket): void => {
    const connection = ++connections
    let held = ''
    socket.on('error', () => {})
    const onData = (chunk: Buffer): void => {
      held += chunk.toString('latin1')
      const end = held.indexOf('\r\n\r\n')
      if (end < 0) return
      const request = { ...parse(held.slice(0, end)), count: requests.length + 1, connection }
      held = held.slice(end + 4)
      requests.push(request)
      const answer = script(request)
      if (typeof answer === 'string') {
        socket.write(answer)
      } else if (typeof answer === 'function') {
        socket.off('data', onData)
        answer(socket)
      } else {
        socket.off('data', onData)
        tunnel(socket, answer.tunnel, answer.head ?? 'HTTP/1.1 200 Connection established\r\n\r\n')
      }
    }
    socket.on('data', onData)
  }
  const server = tls === undefined ? await tcpServer(serve, true) : await tlsServer(tls, serve)
  return {
    port: server.port,
    close: () => server.close(),
    requests,
    get connections() {
      return connections
    },
  }
}

function parse(text: string): { text: string; fields: Map<string, string> } {
  const fields = new Map<string, string>()
  for (const line of text.split('\r\n').slice(1)) {
    const [, name = '', value = ''] = /^([^:]+): ?(.*)$/.exec(line) ?? []
    fields.set(name.toLowerCase(), value)
  }
  return { text, fields }
}

/** Both ends are one from here on. */
export function tunnel(socket: Socket, port: number, head: string | Uint8Array): void {
  const onward = connect(port, '127.0.0.1', () => {
    socket.write(head)
    socket.pipe(onward).pipe(socket)
  })
  onward.on('error', () => socket.destroy())
  onward.on('close', () => socket.destroy())
  socket.on('close', () => onward.destroy())
}

export const CHALLENGE_BODY = '<html>sign in</html>'

/** A 407 whose connection can be used again, unless `close`. */
export function challenge(fields: readonly string[], close = false): string {
  return [
    'HTTP/1.1 407 Proxy Authentication Required',
    ...fields.map((f) => `Proxy-Authenticate: ${f}`),
    `Content-Length: ${CHALLENGE_BODY.length}`,
    close ? 'Connection: close' : 'Connection: keep-alive',
    '',
    CHALLENGE_BODY,
  ].join('\r\n')
}

export interface SocksScript {
  /** The method chosen; default 0, or 2 if there are credentials. */
  readonly method?: number
  /** Who may pass with method 2. */
  readonly user?: string
  readonly password?: string
  /** The reply; 0 by default, which tunnels to `port`. */
  readonly reply?: number
  readonly port?: number
  /** What comes in place of the reply. */
  readonly raw?: Uint8Array
  /** How the proxy names itself in its reply. */
  readonly bound?: Uint8Array
}

export interface SocksProxy extends TestServer {
  /** `atyp:host:port` of each request. */
  readonly targets: readonly string[]
}

/** A SOCKS5 proxy that sends an octet at a time, so that its client has to wait for each. */
export async function socksProxy(script: (target: string) => SocksScript): Promise<SocksProxy> {
  const targets: string[] = []
  const server = await tcpServer((socket) => {
    let held = Buffer.alloc(0)
    let state: 'greeting' | 'password' | 'request' = 'greeting'
    const say = (octets: Iterable<number>): void => {
      for (const octet of octets) socket.write(Uint8Array.of(octet))
    }
    const onData = (chunk: Buffer): void => {
      held = Buffer.concat([held, chunk])
      if (state === 'greeting') {
        if (held.length < 2 || held.length < 2 + (held[1] ?? 0)) return
        const offered = [...held.subarray(2, 2 + (held[1] ?? 0))]
        held = held.subarray(2 + (held[1] ?? 0))
        const { user, method = user === undefined ? 0 : offered.includes(2) ? 2 : 0xff } = script('')
        say([5, method])
        state = method === 2 ? 'password' : 'request'
      } else if (state === 'password') {
        const n = held[1] ?? 0
        const m = held[2 + n] ?? 0
        if (held.length < 3 + n || held.length < 3 + n + m) return
        const { user, password } = script('')
        const good =
          held.toString('utf8', 2, 2 + n) === user && held.toString('utf8', 3 + n, 3 + n + m) === password
        held = held.subarray(3 + n + m)
        say([1, good ? 0 : 1])
        state = 'request'
      } else {
        const target = readTarget(held)
        if (target === undefined) return
        socket.off('data', onData)
        targets.push(target)
        const { raw, reply = 0, port, bound = Uint8Array.of(1, 0, 0, 0, 0, 0, 0) } = script(target)
        if (raw !== undefined) say(raw)
        else if (reply !== 0 || port === undefined) {
          say(Uint8Array.of(5, reply, 0, 1, 0, 0, 0, 0, 0, 0))
          socket.end()
        } else tunnel(socket, port, Uint8Array.of(5, 0, 0, ...bound))
      }
    }
    socket.on('data', onData)
  })
  return { port: server.port, close: () => server.close(), targets }
}

function readTarget(b: Buffer): string | undefined {
  const type = b[3]
  const length = type === 1 ? 4 : type === 4 ? 16 : 1 + (b[4] ?? 0)
  if (b.length < 5 || b.length < 4 + length + 2) return undefined
  const host = b.subarray(4, 4 + length)
  const text = type === 1 ? host.join('.') : type === 4 ? host.toString('hex') : host.toString('latin1', 1)
  return `${type}:${text}:${b.readUInt16BE(4 + length)}`
}
