import { createServer, type Server, type Socket } from 'node:net'
import type { Endpoint, HostPort } from '../tunnel/dialer.js'
import { Client, type Stage } from './client.js'
import { ForwardContext } from './forward-context.js'
import type { Forward, ForwardOptions, LocalForward } from './forward-spec.js'
import { Relay } from './relay.js'
import { listenOnPath } from './unix-socket.js'

/** `-L` for TCP. Rejects with Node's error if the address cannot be listened on. */
export async function listenLocal(spec: LocalForward, options: ForwardOptions): Promise<Forward> {
  const context = new ForwardContext(options)
  const { limits, proxy } = context
  const clients = new Map<Socket, Client>()
  let closing: Promise<void> | undefined

  const server = createServer(
    { allowHalfOpen: true, noDelay: true, keepAlive: true, keepAliveInitialDelay: KEEP_ALIVE },
    (socket) => {
      const client = new Client(context.next(), socket, proxy)
      const { id, from } = client
      clients.set(socket, client)
      socket.once('close', () => void clients.delete(socket))
      const { remoteAddress } = socket
      if (remoteAddress !== undefined && options.allow?.(remoteAddress) === false) {
        const message = `clients at ${remoteAddress} may not use this forward (--allow)`
        proxy.emit({ type: 'rejected', client: id, from, reason: 'forbidden', message })
        client.reset()
        return
      }
      if (clients.size > limits.connections || closing !== undefined) {
        const message = `more than ${limits.connections} connections to one forward`
        proxy.emit({ type: 'rejected', client: id, from, reason: 'limit', message })
        client.reset()
        return
      }
      proxy.emit({ type: 'accepted', client: id, from })
      new Joining(client, spec.to).start()
    },
  )

  const { listen } = spec
  if ('path' in listen) await listenOnPath(server, listen.path)
  else await listenOnPort(server, listen)
  // Too many open files, for one: those who are connected go on.
  server.on('error', () => {})
  const bound = server.address()
  const local: Endpoint =
    typeof bound === 'object' && bound !== null
      ? { address: bound.address, port: bound.port }
      : { address: `unix:${bound ?? ''}`, port: 0 }
  return {
    spec,
    locals: [local],
    usage: () => context.usage(clients.size),
    close: () => {
      closing ??= new Promise((done) => {
        server.close(() => done())
        context.close()
        for (const client of clients.values()) client.reset()
        // Those that only finish their ends, behind connections that are gone already.
        for (const flow of context.flows) flow.reset()
      })
      return closing
    },
  }
}

function listenOnPort(server: Server, { address, port }: Endpoint): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen({ host: address, port }, () => {
      server.off('error', reject)
      resolve()
    })
  })
}

/** A client of a forward while its connection through the tunnel is made. */
class Joining implements Stage {
  readonly #client: Client
  readonly #to: HostPort
  readonly #early: Buffer[] = []
  #size = 0

  constructor(client: Client, to: HostPort) {
    this.#client = client
    this.#to = to
  }

  start(): void {
    const client = this.#client
    const { host, port } = this.#to
    client.enter(this)
    client.dial(
      'forward',
      host,
      port,
      (flow) => new Relay(client, flow, { protocol: 'forward', host, port }).start(this.#early),
      () => client.reset(),
    )
  }

  onLocalData(chunk: Buffer): void {
    this.#early.push(chunk)
    this.#size += chunk.length
    // Many small ones cost more than their octets.
    if (this.#size >= MAX_EARLY || this.#early.length >= MAX_CHUNKS) this.#client.socket.pause()
  }

  onLocalEnd(): void {}

  onLocalClose(): void {}
}

/** Octets that a client may send before there is somebody to send them to. */
const MAX_EARLY = 65_536
/** In so many pieces at the most. */
const MAX_CHUNKS = 1024
/** Milliseconds of silence until the client's kernel is asked whether it is still there. */
const KEEP_ALIVE = 60_000
