/**
 * A server on a real TLS socket with a call, a stack and a router of its own: what it says to solicitations and to
 * DHCP is a test's to say.
 */
import { X509Certificate } from 'node:crypto'
import { Call, type CallOwner } from '../../src/link/call.js'
import { Driver } from '../../src/link/driver.js'
import { linkLocal } from '../../src/link/packet.js'
import { type PppEvent, PppLink, type PppServerOptions } from '../../src/ppp/link.js'
import { SstpServer } from '../../src/sstp/server.js'
import { NetStack, takeReady } from '../../stack/index.js'
import { address, type ReadPacket, readIp } from './ip-packet.js'
import { OK } from './live-server.js'
import { SeededRandom } from './random.js'
import { type TestServer, tlsServer } from './servers.js'

export interface AddressGatewayOptions {
  readonly ppp?: Partial<PppServerOptions>
  /** What the router says to a packet about the link; undefined: nothing. */
  readonly answer?: (p: ReadPacket, gateway: AddressGateway) => Uint8Array | undefined
  /** Said as soon as IPV6CP is open. */
  readonly hastyRouter?: Uint8Array
  /** Frames of that protocol are never read. */
  readonly deafTo?: number
  /** Addresses that the server's own stack has; TCP connections to port 7 get their octets back. */
  readonly own?: readonly string[]
}

export interface AddressGateway extends TestServer {
  /** Packets about the link that clients sent. */
  readonly heard: ReadPacket[]
  readonly events: PppEvent[]
  /** Sends a packet to the client of the last call. */
  say(packet: Uint8Array): void
}

export const PASSWORD = 'correct horse'

export async function addressGateway(
  certificate: { readonly cert: string; readonly key: string },
  options: AddressGatewayOptions = {},
): Promise<AddressGateway> {
  const der = new X509Certificate(certificate.cert).raw
  const heard: ReadPacket[] = []
  const events: PppEvent[] = []
  let say: (packet: Uint8Array) => void = () => {}
  const random = new SeededRandom(5).fill
  const server = await tlsServer(certificate, (socket) => {
    const stack = new NetStack({ mtu: 1400, random })
    for (const own of options.own ?? ['10.9.0.1', '2001:db8::1']) stack.addAddress(address(own))
    stack.listen({ port: 7 })
    const ppp = new PppLink({
      role: 'server',
      random,
      auth: ['mschapv2'],
      lookup: () => PASSWORD,
      ownIpv4: Uint8Array.from([10, 9, 0, 1]),
      assign: () => Uint8Array.from([10, 9, 0, 2]),
      dns: [Uint8Array.from([10, 9, 0, 1])],
      ...options.ppp,
    })
    const { deafTo } = options
    if (deafTo !== undefined) {
      const input = ppp.input.bind(ppp)
      ppp.input = (protocol, b, off, len, now) => {
        if (protocol !== deafTo) input(protocol, b, off, len, now)
      }
    }
    const owner: CallOwner = {
      onSstp: () => {},
      onPpp: (event) => {
        events.push(event)
        if (event.type !== 'ipv6-up') return
        stack.addAddress(linkLocal(event.local))
        if (options.hastyRouter !== undefined) stack.send(options.hastyRouter)
      },
      dispatch: () => echo(stack),
      nextTimeout: () => Number.POSITIVE_INFINITY,
      handleTimeout: () => {},
    }
    const call = new Call(new SstpServer({ random, certificate: der }), ppp, stack, owner)
    const driver = new Driver(socket, call)
    say = (packet) => {
      stack.send(packet)
      driver.wake()
    }
    stack.unclaimed = (b, off, len) => {
      const packet = readIp(new Uint8Array(b.subarray(off, off + len)))
      heard.push(packet)
      const answer = options.answer?.(packet, gateway)
      if (answer !== undefined) stack.send(answer)
      return true
    }
    let open = false
    socket.on('data', (data: Buffer) => {
      if (open) {
        driver.received(data, 0, data.length)
        return
      }
      open = true
      socket.write(OK)
      call.start(driver.now())
      driver.wake()
    })
    socket.once('close', () => driver.stop())
  })
  const gateway: AddressGateway = { ...server, heard, events, say: (packet) => say(packet) }
  return gateway
}

function echo(stack: NetStack): void {
  for (let s = stack.nextReady(); s !== undefined; s = stack.nextReady()) {
    takeReady(s)
    if (s.kind === 'listener') stack.accept(s)
    if (s.kind !== 'tcp') continue
    while (s.readable > 0 && s.writable) {
      const piece = Uint8Array.from(s.peek())
      s.consume(piece.length)
      s.write(piece)
    }
    if (s.ended && s.readable === 0) s.end()
  }
}
