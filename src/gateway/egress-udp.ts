import { createSocket, type Socket } from 'node:dgram'
import type { Datagram, NetStack, SocketAddress, UdpSocket } from '../../stack/index.js'
import type { DnsForwarder } from './dns-forward.js'
import { socketError } from './egress-tcp.js'
import type { Policy } from './policy.js'

/** RFC 4787 4.3, REQ-5: at least two minutes. */
const IDLE = 120_000
const SWEEP = 15_000
/** Flows of one client: each costs a socket of the host. */
const MAX_FLOWS = 256

interface UdpFlowState {
  readonly socket: Socket
  readonly client: SocketAddress
  readonly remote: SocketAddress
  readonly key: number
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
  /** By remote address, then by both ports. */
  private readonly flows = new Map<number, Map<number, UdpFlowState>>()
  private count = 0
  private sweepAt = Number.POSITIVE_INFINITY
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
    for (const byPorts of [...this.flows.values()]) {
      for (const flow of [...byPorts.values()]) if (now - flow.lastUsed >= IDLE) this.drop(flow)
    }
    this.sweepAt = this.count > 0 ? now + SWEEP : Number.POSITIVE_INFINITY
  }

  close(): void {
    this.closed = true
    for (const byPorts of [...this.flows.values()]) for (const flow of [...byPorts.values()]) this.drop(flow)
  }

  private forward(d: Datagram, now: number): void {
    const to = this.policy.judge(d.to.address, d.to.port)
    if (to.kind === 'dns') {
      this.dns.query(d.data, (answer) => {
        if (this.closed) return
        this.any.send(answer, d.from, d.to)
        this.host.wake()
      })
      return
    }
    if (to.kind === 'refused') {
      this.stack.refuseDatagram(d.from, d.to, 'refused', now)
      return
    }
    const key = d.from.port * 65_536 + d.to.port
    let byPorts = this.flows.get(d.to.address.w3)
    let flow = byPorts?.get(key)
    if (flow === undefined || !flow.remote.address.equals(d.to.address)) {
      if (this.count >= MAX_FLOWS) {
        this.stack.counters.datagramsDropped++
        return
      }
      flow = this.open(d, to.endpoint.address, key, now)
      byPorts ??= new Map()
      byPorts.set(key, flow)
      this.flows.set(d.to.address.w3, byPorts)
      this.count++
      if (this.sweepAt === Number.POSITIVE_INFINITY) this.sweepAt = now + SWEEP
    }
    flow.lastUsed = now
    // The socket keeps datagrams until it is connected to the far side.
    flow.socket.send(d.data, to.endpoint.port, to.endpoint.address, (error) => {
      if (error) this.failed(flow, error)
    })
  }

  private open(d: Datagram, address: string, key: number, now: number): UdpFlowState {
    const socket = createSocket(d.to.address.family === 4 ? 'udp4' : 'udp6')
    const flow: UdpFlowState = { socket, client: d.from, remote: d.to, key, lastUsed: now }
    socket.on('error', (error: NodeJS.ErrnoException) => this.failed(flow, error))
    socket.on('message', (data, from) => {
      // Only the far side that the client asked; the host's socket would take anybody.
      if (this.closed || from.port !== remotePort(d) || from.address !== address) return
      flow.lastUsed = this.host.now()
      this.any.send(data, flow.client, flow.remote)
      this.host.wake()
    })
    return flow
  }

  private failed(flow: UdpFlowState, error: NodeJS.ErrnoException): void {
    if (this.closed) return
    this.stack.refuseDatagram(flow.client, flow.remote, socketError(error), this.host.now())
    this.drop(flow)
    this.host.wake()
  }

  private drop(flow: UdpFlowState): void {
    const byPorts = this.flows.get(flow.remote.address.w3)
    if (byPorts?.get(flow.key) !== flow) return
    byPorts.delete(flow.key)
    if (byPorts.size === 0) this.flows.delete(flow.remote.address.w3)
    this.count--
    flow.socket.removeAllListeners('message')
    flow.socket.close()
  }
}

function remotePort(d: Datagram): number {
  return d.to.port
}
