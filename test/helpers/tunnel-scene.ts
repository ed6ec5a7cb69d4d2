import { once } from 'node:events'
import { connect as dial, type Socket } from 'node:net'
import type { Test } from 'tap'
import { createDialer } from '../../src/dns/dialer.js'
import { makeCertificate } from '../../src/gateway/certificate.js'
import { listenProxy } from '../../src/proxy/server.js'
import type { SupervisorEvent } from '../../src/tunnel/events.js'
import type { KeepAliveTimes } from '../../src/tunnel/keep-alive.js'
import type { TunnelOptions } from '../../src/tunnel/options.js'
import { openTunnel } from '../../src/tunnel/session.js'
import { Supervisor, type SupervisorOptions } from '../../src/tunnel/supervisor.js'
import { waitingDialer } from '../../src/tunnel/waiting-dialer.js'
import type { RelayPort } from './relay-port.js'
import { INNER_HOST, RoutingServer } from './routing-server.js'

export const certificate = await makeCertificate()
export const PASSWORD = 'correct horse'

export type SceneOptions = Partial<Omit<SupervisorOptions, 'tunnel'>> & {
  readonly keepAlive?: Partial<KeepAliveTimes>
  readonly askPassword?: NonNullable<TunnelOptions['askPassword']>
}

/** Server, supervisor and SOCKS proxy, all in this process. */
export class Scene {
  readonly server: RoutingServer
  readonly supervisor: Supervisor
  readonly events: SupervisorEvent[] = []
  proxyPort = 0
  private readonly waiting: { readonly type: SupervisorEvent['type']; readonly tell: () => void }[] = []
  private closeProxy: () => Promise<void> = async () => {}

  private constructor(server: RoutingServer, port: number, options: SceneOptions) {
    this.server = server
    const { keepAlive = {}, askPassword, ...rest } = options
    this.supervisor = new Supervisor({
      tunnel: {
        host: '127.0.0.1',
        port,
        user: 'alice',
        password: PASSWORD,
        trust: { insecure: true },
        ipv6: false,
        keepAlive,
        timeout: 10_000,
        ...(askPassword === undefined ? {} : { askPassword }),
      },
      open: openTunnel,
      backoff: { first: 20, most: 100 },
      networks: () => '',
      onEvent: (event) => this.hear(event),
      ...rest,
    })
  }

  static async start(
    t: Test,
    options: SceneOptions = {},
    via?: (server: RoutingServer) => Promise<RelayPort>,
  ): Promise<Scene & { readonly relay: RelayPort | undefined }> {
    const server = await RoutingServer.start({ ...certificate, password: PASSWORD })
    const relay = await via?.(server)
    const scene = Object.assign(new Scene(server, relay?.port ?? server.port, options), { relay })
    t.teardown(async () => {
      await scene.close()
      await relay?.close()
    })
    await scene.supervisor.start()
    const dialer = createDialer({ network: () => scene.supervisor.network })
    const proxy = await listenProxy({
      address: '127.0.0.1',
      port: 0,
      protocols: { socks: true, http: false },
      dialer: waitingDialer(scene.supervisor, dialer),
    })
    scene.proxyPort = proxy.port
    scene.closeProxy = () => proxy.close()
    return scene
  }

  /** The next event of that type. */
  next(type: SupervisorEvent['type']): Promise<void> {
    return new Promise((tell) => this.waiting.push({ type, tell }))
  }

  last<T extends SupervisorEvent['type']>(
    type: T,
  ): Extract<SupervisorEvent, { readonly type: T }> | undefined {
    return this.events.filter((e) => e.type === type).at(-1) as never
  }

  /** A connection through the proxy; the octet is the reply of RFC 1928 6. */
  async socks(port: number): Promise<{ readonly socket: Socket; readonly reply: number }> {
    const socket = dial({ port: this.proxyPort, host: '127.0.0.1' })
    socket.on('error', () => {})
    socket.write(Uint8Array.of(5, 1, 0))
    await once(socket, 'readable')
    socket.read(2)
    const address = INNER_HOST.split('.').map(Number)
    socket.write(Uint8Array.of(5, 1, 0, 1, ...address, port >>> 8, port & 255))
    let head: Buffer | null = null
    while (head === null) {
      await once(socket, 'readable')
      head = socket.read(10)
    }
    return { socket, reply: head[1] ?? 0xff }
  }

  private hear(event: SupervisorEvent): void {
    this.events.push(event)
    for (let i = this.waiting.length - 1; i >= 0; i--) {
      if (this.waiting[i]?.type === event.type) this.waiting.splice(i, 1)[0]?.tell()
    }
  }

  async close(): Promise<void> {
    await this.closeProxy()
    await this.supervisor.close()
    await this.server.close()
  }
}

/** Gathers what comes; `at(n)` resolves when `n` octets have. */
export class Sink {
  readonly chunks: Buffer[] = []
  size = 0
  readonly end: Promise<'end' | 'error'>
  private readonly marks: { readonly n: number; readonly tell: () => void }[] = []

  constructor(socket: Socket) {
    socket.on('data', (chunk: Buffer) => {
      this.chunks.push(chunk)
      this.size += chunk.length
      for (const mark of this.marks) if (this.size >= mark.n) mark.tell()
    })
    this.end = new Promise((resolve) => {
      socket.once('end', () => resolve('end'))
      socket.once('error', () => resolve('error'))
    })
  }

  at(n: number): Promise<void> {
    return this.size >= n ? Promise.resolve() : new Promise((tell) => this.marks.push({ n, tell }))
  }

  get whole(): Buffer {
    return Buffer.concat(this.chunks)
  }
}
