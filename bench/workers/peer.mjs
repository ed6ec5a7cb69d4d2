/** Sources, sinks and answers of plain Node: over TLS for the relay, over TCP behind a gateway. */
import { createServer as createTcp } from 'node:net'
import { createServer as createTls } from 'node:tls'
import { ANSWER, block, matches, pump } from '../lib/pattern.mjs'
import { SMALL_RECORD } from '../lib/setting.mjs'
import { answer, now } from '../lib/worker.mjs'

let received = 0
let verified = 0
let faults = 0

/** @param {import('node:net').Socket} socket */
function sink(socket) {
  socket.on('data', (chunk) => {
    received += chunk.length
  })
}

/** @param {import('node:net').Socket} socket */
function verify(socket) {
  let at = 0
  socket.on('data', (chunk) => {
    if (matches(chunk, 0, chunk.length, at)) verified += chunk.length
    else faults++
    at += chunk.length
  })
}

/** @param {import('node:net').Socket} socket */
function source(socket) {
  socket.resume()
  pump(socket)
}

/** @param {import('node:net').Socket} socket */
function reply(socket) {
  socket.once('data', () => socket.end(block.subarray(0, ANSWER)))
}

/** @param {import('node:net').Socket} socket */
function hold(socket) {
  socket.on('data', () => {})
}

/** @param {import('node:net').Server} server @param {(socket: import('node:net').Socket) => void} serve @returns {Promise<number>} */
function open(server, serve) {
  server.on('setSecureContext' in server ? 'secureConnection' : 'connection', (socket) => {
    socket.on('error', () => {})
    serve(socket)
  })
  return new Promise((resolve) => {
    server.listen(0, '127.0.0.1', 4096, () => resolve(/** @type {any} */ (server.address()).port))
  })
}

answer({
  /** @param {{ cert: string, key: string }} identity */
  async listen({ cert, key }) {
    const tls = () => createTls({ cert, key, noDelay: true })
    const tcp = () => createTcp({ noDelay: true })
    return {
      tls: {
        large: await open(tls(), source),
        small: await open(tls(), (socket) => {
          socket.setMaxSendFragment(SMALL_RECORD)
          source(socket)
        }),
        sink: await open(tls(), sink),
        verify: await open(tls(), verify),
      },
      tcp: {
        source: await open(tcp(), source),
        sink: await open(tcp(), sink),
        verify: await open(tcp(), verify),
        answer: await open(tcp(), reply),
        hold: await open(tcp(), hold),
      },
    }
  },
  count: () => ({ at: now(), bytes: received }),
  checked: () => ({ bytes: verified, faults }),
})
