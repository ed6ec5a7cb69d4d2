import { createHash } from 'node:crypto'
import { createServer, type RequestListener } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import { type AddressInfo, connect, type Server, type Socket } from 'node:net'
import { join } from 'node:path'
import { must } from './process.js'
import type { Endpoint } from './product.js'

export interface Certificate {
  /** PEM files; `cert` is its own authority. */
  readonly cert: string
  readonly key: string
}

/** Makes a self-signed certificate for these names, as `DNS:x,IP:y`. */
export async function certificate(dir: string, name: string, names: string): Promise<Certificate> {
  const cert = join(dir, `${name}.pem`)
  const key = join(dir, `${name}.key`)
  const kind = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2']
  const about = ['-subj', `/CN=${name}`, '-addext', `subjectAltName=${names}`]
  await must('openssl', ['req', '-x509', ...kind, ...about, '-keyout', key, '-out', cert])
  return { cert, key }
}

async function listening(server: Server, address: string): Promise<Endpoint & { close(): void }> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject).listen(0, address, resolve)
  })
  const { port } = server.address() as AddressInfo
  return { address, port, close: () => void server.close() }
}

/** An ordinary web server with TLS that knows nothing of SSTP: 404 to all. */
export function plainWebServer(pem: { cert: Buffer; key: Buffer }) {
  return listening(
    createTlsServer(pem, (_request, response) => void response.writeHead(404).end('not found\n')),
    '127.0.0.1',
  )
}

/** Serves GET /file with these bytes, and answers anything else with the SHA-256 of the request's body. */
export function fileServer(address: string, file: Buffer) {
  const answer: RequestListener = (request, response) => {
    if (request.method === 'GET') {
      response.writeHead(200, { 'content-length': file.length }).end(file)
      return
    }
    const hash = createHash('sha256')
    request.on('data', (chunk: Buffer) => void hash.update(chunk))
    request.on('end', () => void response.end(hash.digest('hex')))
  }
  return listening(createServer(answer), address)
}

/** A port of 127.0.0.1 on which nobody listens. */
export async function closedPort(): Promise<number> {
  const { port, close } = await listening(createServer(), '127.0.0.1')
  close()
  return port
}

/** SOCKS5 CONNECT (RFC 1928) by hand: the reply code, and the socket behind it. A silence of 30 s is an error. */
export async function socksConnect(proxy: Endpoint, host: string, port: number) {
  const socket = connect({ port: proxy.port, host: proxy.address, allowHalfOpen: true })
  socket.setTimeout(30_000, () => socket.destroy(new Error('SOCKS: silence')))
  socket.write(Buffer.from([5, 1, 0]))
  const [, method] = await octets(socket, 2)
  if (method !== 0) throw new Error(`SOCKS: method ${method}`)
  const name = Buffer.from(host)
  socket.write(Buffer.from([5, 1, 0, 3, name.length, ...name, port >> 8, port & 255]))
  const [, reply = -1, , type] = await octets(socket, 4)
  // the bound address, of the family that the name was reached by, and the port
  await octets(socket, (type === 4 ? 16 : 4) + 2)
  return { reply, socket }
}

/** Takes exactly so many octets from a socket; what comes behind them stays in it. */
export function octets(socket: Socket, n: number): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const ended = () => reject(new Error('SOCKS: the proxy hung up'))
    const take = () => {
      const taken: Buffer | null = socket.read(n)
      if (taken?.length !== n) return
      socket.off('readable', take).off('error', reject).off('end', ended)
      resolve(taken)
    }
    socket.on('readable', take).once('error', reject).once('end', ended)
    take()
  })
}
