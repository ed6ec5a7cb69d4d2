import { randomFillSync, X509Certificate } from 'node:crypto'
import { connect } from 'node:tls'
import { Call } from '../../src/link/call.js'
import { Driver } from '../../src/link/driver.js'
import { PppLink } from '../../src/ppp/link.js'
import { SstpClient } from '../../src/sstp/client.js'
import { HeadReader, requestHead } from '../../src/transport/http-handshake.js'
import { NetStack } from '../../stack/index.js'
import { Owner } from './call-pair.js'

export interface Ipv6ClientOptions {
  readonly port: number
  readonly user: string
  readonly password: string
  readonly cert: string
}

/** A client that rejects IPCP: ours always asks for IPv4. @returns what ends its connection */
export function ipv6Client(options: Ipv6ClientOptions): () => Promise<void> {
  const { port, user, password, cert } = options
  const random = (dst: Uint8Array): void => void randomFillSync(dst)
  const socket = connect({ host: '127.0.0.1', port, rejectUnauthorized: false })
  socket.on('error', () => {})
  const ppp = new PppLink({ role: 'client', random, auth: ['pap'], user, password, ipv4: false, ipv6: true })
  const sstp = new SstpClient({ certificate: new X509Certificate(cert).raw })
  const owner = new Owner()
  const call = new Call(sstp, ppp, new NetStack({ mtu: 1400, random }), owner)
  const driver = new Driver(socket, call)
  const head = new HeadReader()
  let begun = false
  socket.on('data', (chunk: Buffer) => {
    if (begun) driver.received(chunk, 0, chunk.length)
    else if (head.push(chunk, 0, chunk.length) !== 'more') {
      begun = true
      call.start(driver.now())
      if (head.rest.length > 0) driver.received(head.rest, 0, head.rest.length)
      driver.wake()
    }
  })
  const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()))
  socket.once('close', () => driver.stop())
  socket.write(requestHead('127.0.0.1', port, new Uint8Array(16)))
  return async () => {
    call.close(driver.now())
    driver.wake()
    await closed
  }
}
