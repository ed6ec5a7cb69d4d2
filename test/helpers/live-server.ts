/**
 * A scripted server on a real TLS socket: it answers the request's head with the octets that a test gives it, and then
 * speaks just enough SSTP and PPP (PAP, an address) for a call, in the lines of scripted-server.ts.
 */
import { X509Certificate } from 'node:crypto'
import type { TLSSocket, TlsOptions } from 'node:tls'
import { AUTH, ack, linesOf, packet } from './scripted-server.js'
import { type TestServer, tlsServer } from './servers.js'

export interface LiveOptions {
  /** What is answered to the head, octet for octet; nothing: the connection is closed. */
  readonly head: string
  /** Lines in the same write. */
  readonly behind?: readonly string[]
  /** The answer, and what follows, is written in pieces of that many octets. */
  readonly piece?: number
  readonly tls?: TlsOptions
}

export interface LiveServer extends TestServer {
  /** Heads of the requests that came. */
  readonly heads: string[]
  /** Lines that clients said. */
  readonly heard: string[]
  /** What TLS knew of each connection. */
  readonly connections: {
    readonly sni: string
    readonly alpn: string
    readonly resumed: boolean
    readonly version: string
  }[]
}

export const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551615\r\n\r\n'

export async function liveServer(
  certificate: { readonly cert: string; readonly key: string },
  options: LiveOptions,
): Promise<LiveServer> {
  const der = new X509Certificate(certificate.cert).raw
  const heads: string[] = []
  const heard: string[] = []
  const connections: LiveServer['connections'] = []
  const server = await tlsServer({ ...certificate, ...options.tls }, (socket) => {
    const { servername, alpnProtocol } = socket as TLSSocket & { servername?: string | false }
    connections.push({
      sni: servername === false ? '' : (servername ?? ''),
      alpn: alpnProtocol === false || alpnProtocol === null ? '' : alpnProtocol,
      resumed: (socket as TLSSocket).isSessionReused(),
      version: (socket as TLSSocket).getProtocol() ?? '',
    })
    let held = Buffer.alloc(0)
    let open = false
    const say = (...octets: Buffer[]): void => {
      const all = Buffer.concat(octets)
      const step = options.piece ?? Math.max(1, all.length)
      for (let at = 0; at < all.length; at += step) socket.write(all.subarray(at, at + step))
    }
    socket.on('data', (data: Buffer) => {
      held = Buffer.concat([held, data])
      if (!open) {
        const end = held.indexOf('\r\n\r\n')
        if (end < 0) return
        heads.push(held.toString('latin1', 0, end + 4))
        held = held.subarray(end + 4)
        open = true
        if (options.head === '') socket.end()
        else say(Buffer.from(options.head, 'latin1'), ...(options.behind ?? []).map(packet))
      }
      let whole = 0
      while (held.length - whole >= 4 && held.length - whole >= held.readUInt16BE(whole + 2)) {
        whole += held.readUInt16BE(whole + 2)
      }
      const lines = linesOf(held.subarray(0, whole), der)
      held = Buffer.from(held.subarray(whole))
      heard.push(...lines)
      for (const line of lines) say(...answers(line, (options.behind ?? []).length > 0).map(packet))
      if (lines.some((line) => line.startsWith('CALL_DISCONNECT 1'))) socket.end()
    })
  })
  return { port: server.port, close: () => server.close(), heads, heard, connections }
}

function answers(line: string, acked: boolean): string[] {
  const [what = '', code = '', id = '', body = ''] = line.split(' ')
  switch (`${what} ${code}`) {
    case 'CALL_CONNECT_REQUEST 1':
      return acked ? [] : [ack(3)]
    case 'ECHO_REQUEST 0':
      return ['ECHO_RESPONSE 0']
    case 'CALL_DISCONNECT 1':
      return ['CALL_DISCONNECT_ACK 0']
    case 'lcp request':
      return [`lcp ack ${id} ${body}`, `lcp request 1 ${AUTH.pap}`]
    case 'lcp echo':
      return [`lcp echo-reply ${id} 00000000`]
    case 'lcp terminate':
      return [`lcp terminate-ack ${id}`]
    case 'pap request':
      return [`pap ack ${id}`, 'ipcp request 1 0306 0a000001']
    case 'ipcp request':
      return body.startsWith('030600000000') ? [`ipcp nak ${id} 0306 0a000005`] : [`ipcp ack ${id} ${body}`]
    case 'ipv6cp request':
      return ['lcp protocol-reject 9 8057']
    default:
      return []
  }
}
