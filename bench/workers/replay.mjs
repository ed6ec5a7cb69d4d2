/**
 * An SSTP server in front of a {@link Replay}: TLS, HTTP head, SSTP and PPP are the product's, the far network
 * is not. It listens twice: `large` writes full TLS records, `small` a record for each SSTP packet.
 */
import { randomFillSync, X509Certificate } from 'node:crypto'
import { createServer } from 'node:tls'
import { Call } from '../../dist/src/link/call.js'
import { Driver } from '../../dist/src/link/driver.js'
import { PppLink } from '../../dist/src/ppp/link.js'
import { SstpServer } from '../../dist/src/sstp/server.js'
import { acceptHead, HeadReader } from '../../dist/src/transport/http-handshake.js'
import { ACCOUNT, MTU, PEER, SMALL_RECORD } from '../lib/setting.mjs'
import { answer, now } from '../lib/worker.mjs'
import { Replay } from '../replay.mjs'

/** @type {Set<Replay>} */
const endpoints = new Set()

/** @param {import('node:tls').TLSSocket} socket @param {Uint8Array} certificate */
function greet(socket, certificate) {
  const reader = new HeadReader()
  socket.on('error', () => {})
  const onHead = (/** @type {Buffer} */ chunk) => {
    if (reader.push(chunk, 0, chunk.length) !== 'done') return
    socket.off('data', onHead)
    socket.write(acceptHead(new Date().toUTCString()))
    serve(socket, certificate, reader.rest)
  }
  socket.on('data', onHead)
}

/** @param {import('node:tls').TLSSocket} socket @param {Uint8Array} certificate @param {Buffer} rest */
function serve(socket, certificate, rest) {
  const random = (/** @type {Uint8Array} */ dst) => void randomFillSync(dst)
  const endpoint = new Replay()
  const ppp = new PppLink({
    role: 'server',
    random,
    mru: MTU,
    auth: ['mschapv2'],
    ipv6: false,
    lookup: (user) => (user === ACCOUNT.user ? ACCOUNT.password : undefined),
    ownIpv4: Uint8Array.from(PEER.split('.').map(Number)),
    assign: () => Uint8Array.of(10, 99, 0, 2),
    dns: [],
  })
  const sstp = new SstpServer({ random, certificate })
  const call = new Call(sstp, ppp, endpoint, {
    onSstp() {},
    onPpp() {},
    dispatch() {},
    nextTimeout: () => Number.POSITIVE_INFINITY,
    handleTimeout() {},
  })
  const driver = new Driver(socket, call)
  endpoints.add(endpoint)
  socket.on('data', (chunk) => driver.received(chunk, 0, chunk.length))
  socket.once('close', () => {
    driver.stop()
    endpoints.delete(endpoint)
  })
  call.start(driver.now())
  if (rest.length > 0) driver.received(rest, 0, rest.length)
  driver.wake()
}

const total = (/** @type {(e: Replay) => number} */ of) => [...endpoints].reduce((n, e) => n + of(e), 0)

answer({
  /** @param {{ cert: string, key: string }} identity */
  async listen({ cert, key }) {
    const { raw } = new X509Certificate(cert)
    const open = (/** @type {number} */ fragment) =>
      new Promise((resolve) => {
        const server = createServer({ cert, key, noDelay: true, sessionTimeout: 1 }, (socket) => {
          if (fragment > 0) socket.setMaxSendFragment(fragment)
          greet(socket, raw)
        })
        server.listen(0, '127.0.0.1', () => resolve(/** @type {any} */ (server.address()).port))
      })
    return { large: await open(0), small: await open(SMALL_RECORD) }
  },
  count: () => ({ at: now(), bytes: total((e) => e.received) }),
  checked: () => ({
    bytes: total((e) => e.verified),
    faults: total((e) => e.faults),
    flows: total((e) => e.flows.size),
  }),
})
