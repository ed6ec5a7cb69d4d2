/**
 * What the bridge is held against: plain Node, a few lines each. A relay from TCP to TLS, a SOCKS5 relay over
 * the kernel's TCP, and sockets that are only held.
 */
import { connect as connectTcp, createServer } from 'node:net'
import { connect as connectTls } from 'node:tls'
import { answer } from '../lib/worker.mjs'

/** @param {(socket: import('node:net').Socket) => void} serve @returns {Promise<number>} */
function listen(serve) {
  return new Promise((resolve) => {
    const server = createServer({ allowHalfOpen: true, noDelay: true }, serve)
    server.listen(0, '127.0.0.1', 4096, () => resolve(/** @type {any} */ (server.address()).port))
  })
}

/** @param {import('node:net').Socket} a @param {import('node:net').Socket} b */
function join(a, b) {
  a.pipe(b)
  b.pipe(a)
  a.on('error', () => b.destroy())
  b.on('error', () => a.destroy())
  a.on('close', () => b.destroy())
  b.on('close', () => a.destroy())
}

/** @param {import('node:net').Socket} socket */
function socks(socket) {
  let held = Buffer.alloc(0)
  let greeted = false
  socket.on('error', () => {})
  const onData = (/** @type {Buffer} */ chunk) => {
    held = Buffer.concat([held, chunk])
    if (!greeted && held.length >= 2 && held.length >= 2 + held[1]) {
      greeted = true
      held = held.subarray(2 + held[1])
      socket.write(Buffer.of(5, 0))
    }
    if (!greeted || held.length < 10) return
    socket.off('data', onData)
    const host = held.subarray(4, 8).join('.')
    const target = connectTcp({ host, port: held.readUInt16BE(8), allowHalfOpen: true, noDelay: true })
    target.once('connect', () => {
      socket.write(Buffer.of(5, 0, 0, 1, 0, 0, 0, 0, 0, 0))
      if (held.length > 10) target.write(held.subarray(10))
      join(socket, target)
    })
    target.once('error', () => socket.destroy())
  }
  socket.on('data', onData)
}

/** @type {Set<import('node:net').Socket>} */
const kept = new Set()

answer({
  /** @param {number} port of the TLS side */
  tls: (port) =>
    listen((socket) => {
      join(socket, connectTls({ host: '127.0.0.1', port, rejectUnauthorized: false, noDelay: true }))
    }),
  socks: () => listen(socks),
  hold: () =>
    listen((socket) => {
      kept.add(socket)
      socket.on('data', () => {})
      socket.on('error', () => {})
      socket.on('close', () => kept.delete(socket))
    }),
})
