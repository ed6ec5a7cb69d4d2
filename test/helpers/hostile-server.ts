/** A server on real sockets with the machines of a proper one, whose packets are changed, held back or cut off. */
import type { Socket } from 'node:net'
import type { Certificate } from '../../src/gateway/certificate.js'
import { Call } from '../../src/link/call.js'
import { Driver } from '../../src/link/driver.js'
import { PppLink } from '../../src/ppp/link.js'
import { SstpServer } from '../../src/sstp/server.js'
import { acceptHead, HeadReader } from '../../src/transport/http-handshake.js'
import { NetStack } from '../../stack/index.js'
import { Owner } from './call-pair.js'
import { SeededRandom } from './random.js'
import { type TestServer, tlsServer } from './servers.js'

/** What becomes of a packet of the server: itself, another, or nothing; `hang`, `close` and `reset` end it all. */
export type Verdict = Uint8Array | 'drop' | 'hang' | 'close' | 'reset'

export interface HostileServer extends TestServer {
  /** Connections so far, and such that are open. */
  readonly attempts: number
  readonly open: number
}

/** Takes the user alice with the password that is given. */
export async function hostileServer(
  certificate: Pick<Certificate, 'cert' | 'key'> & { readonly der: Uint8Array },
  password: string,
  rule: (packet: Buffer, socket: Socket) => Verdict,
): Promise<HostileServer> {
  let attempts = 0
  let open = 0
  const random = new SeededRandom(3).fill
  const server = await tlsServer({ cert: certificate.cert, key: certificate.key }, (socket) => {
    attempts++
    open++
    const head = new HeadReader()
    let driver: Driver | undefined
    let dead = false
    socket.once('close', () => {
      open--
      driver?.stop()
    })
    const write = (b: Uint8Array, done: () => void): void => {
      const out: Uint8Array[] = []
      let end: 'close' | 'reset' | undefined
      for (let at = 0; at < b.length && !dead; ) {
        const length = (((b[at + 2] ?? 0) << 8) | (b[at + 3] ?? 0)) & 0xfff
        const verdict = rule(Buffer.from(b.subarray(at, at + length)), socket)
        at += length
        if (typeof verdict !== 'string') out.push(verdict)
        else if (verdict !== 'drop') dead = true
        if (verdict === 'close' || verdict === 'reset') end = verdict
      }
      if (end === 'reset') socket.destroy()
      else if (out.length > 0 || end === 'close') socket.write(Buffer.concat(out), () => done())
      else setImmediate(done)
      if (end === 'close') socket.end()
    }
    socket.on('data', (chunk: Buffer) => {
      if (driver !== undefined) {
        driver.received(chunk, 0, chunk.length)
        return
      }
      if (head.push(chunk, 0, chunk.length) !== 'done') return
      const ppp = new PppLink({
        role: 'server',
        random,
        auth: ['mschapv2'],
        lookup: (user) => (user === 'alice' ? password : undefined),
        ownIpv4: Uint8Array.of(10, 9, 0, 1),
        assign: () => Uint8Array.of(10, 9, 0, 2),
        ipv6: false,
      })
      const sstp = new SstpServer({ random, certificate: certificate.der })
      const call = new Call(sstp, ppp, new NetStack({ mtu: 1400, random }), new Owner())
      driver = new Driver({ write, end: () => socket.end() }, call)
      socket.write(acceptHead('Thu, 01 Jan 1970 00:00:00 GMT'))
      call.start(driver.now())
      driver.received(head.rest, 0, head.rest.length)
      driver.wake()
    })
  })
  return {
    port: server.port,
    close: () => server.close(),
    get attempts() {
      return attempts
    },
    get open() {
      return open
    },
  }
}
