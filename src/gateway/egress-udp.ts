import { createSocket, type Socket } from 'node:dgram'
import type { Datagram, NetStack, SocketAddress, UdpSocket } from '../../stack/index.js'
import { type DnsForwarder, truncated } from './dns-forward.js'
import { socketError } from './egress-tcp.js'
import type { Policy } from './policy.js'

/** RFC 4787 4.3, REQ-5: at least two minutes. */
const IDLE = 120_000
const SWEEP = 15_000
/** Flows of one client: each costs a socket of the host. */
const MAX_FLOWS = 256
/** When there are as many, a new one takes the place of whichever has been quiet longest, and for so long. */
const SPARED = 10_000
/** Octets that wait until a socket is connected: what one turn of the event loop brings. */
const MAX_WAITING = 65_536
/** Octets that wait in a socket for the host to take them; Node itself knows no bound. */
const MAX_QUEUED = 262_144
const DNS_PORT = 53

interface UdpFlowState {
  readonly socket: Socket
  readonly client: SocketAddress
  readonly remote: SocketAddress
  readonly key: number
  /** For every datagram of the flow the same one. */
  readonly sent: (error: Error | null) => void
  /** Until the socket is connected. */
  waiting: Uint8Array[] | undefined
  waitingSize: number
  lastUsed: number
}

export interface EgressUdpHost {
  now(): number
  wake(): void
}

/** A client's datagrams, each pair of ends continued by an ordinary socket until it is idle. */
export class EgressUdp {
  private readonly stack: NetStack
  private readonly any: UdpSocket
  private readonly policy: Policy
  private readonly dns: DnsForwarder
  private readonly host: EgressUdpHost
  /** By a hash of both ends; flows of the same hash side by side. */
  private readonly flows = new Map<number, UdpFlowState[]>()
  private count = 0
  private sweepAt = Number.POSITIVE_INFINITY
  /** Before that no flow has been quiet for {@link SPARED}. */
  private roomAt = 0
  private closed = false

  constructor(stack: NetStack, any: UdpSocket, policy: Policy, dns: DnsForwarder, host: EgressUdpHost) {
    this.stack = stack
    this.any = any
    this.policy = policy
    this.dns = dns
    this.host = host
  }

  get size(): number {
    return this.count
  }

  /** Takes what has come from the client. */
  ready(now: number): void {
    for (let d = this.any.receive(); d !== undefined; d = this.any.receive()) this.forward(d, now)
  }

  nextTimeout(): number {
    return this.sweepAt
  }

  handleTimeout(now: number): void {
    if (now < this.sweepAt) return
    for (const flow of this.all()) if (now - flow.lastUsed >= IDLE) this.drop(flow)
    this.sweepAt = this.count > 0 ? now + SWEEP : Number.POSITIVE_INFINITY
  }

  close(): void {
    this.closed = true
    for (const flow of this.all()) this.drop(flow)
  }

  private all(): UdpFlowState[] {
    return [...this.flows.values()].flat()
  }

  private forward(d: Datagram, now: number): void {
    const to = this.policy.judge(d.to.address, d.to.port)
    if (to.kind === 'dns') {
      this.dns.query(d.data, (answer) => this.back(answer, d.from, d.to))
      return
    }
    if (to.kind === 'refused') {
      this.stack.refuseDatagram(d.from, d.to, 'refused', now)
      return
    }
    const key = hash(d.from, d.to)
    let flow = this.find(key, d)
    if (flow === undefined) {
      if (this.count >= MAX_FLOWS && !this.makeRoom(now)) {
        this.stack.counters.datagramsDropped++
        return
      }
      flow = this.open(d, to.endpoint.address, to.endpoint.port, key, now)
    }
    flow.lastUsed = now
    this.send(flow, d.data)
  }

  /** A client that asks each of its questions from another port (DNS) must not wait until the first is forgotten. */
  private makeRoom(now: number): boolean {
    if (now < this.roomAt) return false
    let quietest: UdpFlowState | undefined
    for (const flows of this.flows.values()) {
      for (const flow of flows) if (flow.lastUsed < (quietest?.lastUsed ?? now)) quietest = flow
    }
    this.roomAt = (quietest?.lastUsed ?? now) + SPARED
    if (quietest === undefined || now < this.roomAt) return false
    this.drop(quietest)
    return true
  }

  private find(key: number, d: Datagram): UdpFlowState | undefined {
    const flows = this.flows.get(key)
    if (flows === undefined) return undefined
    for (const f of flows) if (sameEnd(f.client, d.from) && sameEnd(f.remote, d.to)) return f
    return undefined
  }

  private send(flow: UdpFlowState, data: Uint8Array): void {
    if (flow.waiting !== undefined) {
      if (flow.waitingSize + data.length > MAX_WAITING) {
        this.stack.counters.datagramsDropped++
        return
      }
      flow.waitingSize += data.length
      flow.waiting.push(data)
      return
    }
    if (flow.socket.getSendQueueSize() > MAX_QUEUED) this.stack.counters.datagramsDropped++
    else flow.socket.send(data, flow.sent)
  }

  private open(d: Datagram, address: string, port: number, key: number, now: number): UdpFlowState {
    const socket = createSocket(address.includes(':') ? 'udp6' : 'udp4')
    const flow: UdpFlowState = {
      socket,
      client: d.from,
      remote: d.to,
      key,
      sent: (error) => {
        if (error) this.failed(flow, error)
      },
      waiting: [],
      waitingSize: 0,
      lastUsed: now,
    }
    socket.on('error', (error: NodeJS.ErrnoException) => this.failed(flow, error))
    socket.on('message', (data, from) => {
      // Before it is connected, the host's socket takes anybody's.
      if (from.port !== port || from.address !== address || !this.has(flow)) return
      flow.lastUsed = this.host.now()
      this.back(data, flow.client, flow.remote)
    })
    socket.once('connect', () => {
      const { waiting } = flow
      flow.waiting = undefined
      for (const data of waiting ?? []) if (this.has(flow)) this.send(flow, data)
    })
    // Only a connected socket hears of ICMP errors.
    socket.connect(port, address)
    const others = this.flows.get(key)
    if (others === undefined) this.flows.set(key, [flow])
    else others.push(flow)
    this.count++
    if (this.sweepAt === Number.POSITIVE_INFINITY) this.sweepAt = now + SWEEP
    return flow
  }

  /** Sends the client an answer. */
  private back(data: Uint8Array, client: SocketAddress, remote: SocketAddress): void {
    if (this.closed) return
    // A resolver that is told to come by TCP gets there sooner than fragments do.
    const headers = client.address.family === 4 ? 28 : 48
    const cut = remote.port === DNS_PORT && data.length + headers > this.stack.mtu
    const error = this.any.send((cut ? truncated(data) : undefined) ?? data, client, remote)
    if (error === undefined) this.host.wake()
    else this.stack.counters.datagramsDropped++
  }

  private failed(flow: UdpFlowState, error: NodeJS.ErrnoException): void {
    if (this.closed || !this.has(flow)) return
    this.stack.refuseDatagram(flow.client, flow.remote, socketError(error), this.host.now())
    this.drop(flow)
    this.host.wake()
  }

  private has(flow: UdpFlowState): boolean {
    return this.flows.get(flow.key)?.includes(flow) ?? false
  }

  private drop(flow: UdpFlowState): void {
    const others = this.flows.get(flow.key)
    const at = others?.indexOf(flow) ?? -1
    if (others === undefined || at < 0) return
    others.splice(at, 1)
    if (others.length === 0) this.flows.delete(flow.key)
    this.count--
    flow.waiting = []
    flow.waitingSize = 0
    flow.socket.removeAllListeners('message')
    flow.socket.close()
  }
}

function sameEnd(a: SocketAddress, b: SocketAddress): boolean {
  return a.port === b.port && a.address.equals(b.address)
}

function hash({ address: c, port: cp }: SocketAddress, { address: r, port: rp }: SocketAddress): number {
  return mix(mix(mix(mix((cp << 16) | rp, c.w3), c.w2), r.w3), r.w2)
}

function mix(h: number, word: number): number {
  return Math.imul(h ^ word, 0x9e3779b1) ^ (h >>> 15)
}
