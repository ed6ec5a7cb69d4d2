import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { type IncomingMessage, type RequestOptions, request } from 'node:http'
import { connect, type Socket } from 'node:net'

// A user of the proxies who knows nothing of this project but the protocols: what `demo --once` tries.

/** How to get to a web page. */
export type Way = 'socks5' | 'http' | 'connect'

export interface Fetched {
  readonly status: number
  readonly body: Buffer
  /** In hex. */
  readonly sha256: string
  readonly ms: number
}

/** Gets a page through a proxy. Rejects if the proxy or the server refuses, or nothing moves for 20 s. */
export async function fetchThrough(
  way: Way,
  proxy: { readonly address: string; readonly port: number },
  url: string,
): Promise<Fetched> {
  const began = performance.now()
  const { hostname, port, pathname, host } = new URL(url)
  const target = { host: hostname, port: port === '' ? 80 : Number(port) }
  const common = { headers: { Host: host, Connection: 'close' } } as const
  let response: IncomingMessage
  if (way === 'http') {
    response = await send({ ...common, agent: false, host: proxy.address, port: proxy.port, path: url })
  } else {
    const socket = await (way === 'socks5' ? dialSocks(proxy, target) : dialConnect(proxy, host))
    // No `agent`, not even false: with one, Node does not ask for the connection.
    response = await send({ ...common, path: pathname, createConnection: () => socket })
  }
  const chunks: Buffer[] = []
  for await (const chunk of response) chunks.push(chunk)
  const body = Buffer.concat(chunks)
  return {
    status: response.statusCode ?? 0,
    body,
    sha256: createHash('sha256').update(body).digest('hex'),
    ms: performance.now() - began,
  }
}

async function send(options: RequestOptions): Promise<IncomingMessage> {
  const sent = request({ ...options, timeout: PATIENCE })
  sent.on('timeout', () => sent.destroy(new Error('nothing came for 20 s')))
  // A socket that was paused when it was handed over stays so until told.
  sent.on('socket', (socket) => socket.resume())
  sent.end()
  const [response]: IncomingMessage[] = await once(sent, 'response')
  if (response === undefined) throw new Error('no response')
  return response
}

async function dialConnect(
  proxy: { readonly address: string; readonly port: number },
  authority: string,
): Promise<Socket> {
  const asked = request({
    agent: false,
    host: proxy.address,
    port: proxy.port,
    method: 'CONNECT',
    path: authority,
    timeout: PATIENCE,
  })
  asked.on('timeout', () => asked.destroy(new Error('nothing came for 20 s')))
  asked.end()
  const [response, socket, rest]: [IncomingMessage, Socket, Buffer] = await new Promise((done, fail) => {
    asked.once('connect', (...all: [IncomingMessage, Socket, Buffer]) => done(all))
    asked.once('response', (refusal) => fail(new Error(`the proxy answered ${refusal.statusCode}`)))
    asked.once('error', fail)
  })
  if (response.statusCode !== 200) throw new Error(`the proxy answered ${response.statusCode}`)
  if (rest.length > 0) socket.unshift(rest)
  return socket
}

/** RFC 1928: no authentication, CONNECT, the host as a name. */
async function dialSocks(
  proxy: { readonly address: string; readonly port: number },
  target: { readonly host: string; readonly port: number },
): Promise<Socket> {
  const socket = connect({ host: proxy.address, port: proxy.port })
  socket.setTimeout(PATIENCE, () => socket.destroy(new Error('nothing came for 20 s')))
  try {
    await once(socket, 'connect')
    const reader = new Reader(socket)
    socket.write(Uint8Array.of(5, 1, 0))
    const method = await reader.take(2)
    if (method[0] !== 5 || method[1] !== 0) throw new Error('the proxy wants authentication')
    const name = Buffer.from(target.host)
    const port = Uint8Array.of(target.port >>> 8, target.port & 0xff)
    socket.write(Buffer.concat([Uint8Array.of(5, 1, 0, 3, name.length), name, port]))
    const head = await reader.take(4)
    if (head[1] !== 0) throw new Error(`the proxy answered with code ${head[1]}`)
    // The bound address, which nobody needs, and its port.
    const length = head[3] === 1 ? 4 : head[3] === 4 ? 16 : ((await reader.take(1))[0] ?? 0)
    await reader.take(length + 2)
    reader.release()
    return socket
  } catch (error) {
    socket.destroy()
    throw error
  }
}

/** Reads exact numbers of octets from a socket; what follows them stays in it. */
class Reader {
  readonly #socket: Socket
  #held = Buffer.alloc(0)
  #wake: () => void = () => {}

  constructor(socket: Socket) {
    this.#socket = socket
    socket.on('data', this.#onData).on('close', this.#onClose).on('error', this.#onClose)
  }

  async take(size: number): Promise<Buffer> {
    while (this.#held.length < size) {
      if (this.#socket.errored) throw this.#socket.errored
      if (this.#socket.readableEnded || this.#socket.destroyed) throw new Error('the proxy hung up')
      await new Promise<void>((wake) => {
        this.#wake = wake
      })
    }
    const taken = this.#held.subarray(0, size)
    this.#held = this.#held.subarray(size)
    return taken
  }

  /** Hands the socket on. */
  release(): void {
    this.#socket.off('data', this.#onData).off('close', this.#onClose).off('error', this.#onClose).pause()
    if (this.#held.length > 0) this.#socket.unshift(this.#held)
  }

  readonly #onData = (chunk: Buffer): void => {
    this.#held = Buffer.concat([this.#held, chunk])
    this.#wake()
  }

  readonly #onClose = (): void => this.#wake()
}

const PATIENCE = 20_000
