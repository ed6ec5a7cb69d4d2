import { createServer, request } from 'node:http'
import {
  type AddressInfo,
  connect,
  createServer as createTcpServer,
  type Server,
  type Socket,
} from 'node:net'
import type { Listener } from '../../src/cli/deps.js'

/**
 * A proxy of Node's own parts and not of ours, that a client can be tried against: SOCKS5 CONNECT to a
 * name, or HTTP with CONNECT. Whatever the host, this machine is meant, as behind the demo's server.
 */
export async function openMiniProxy(socks: boolean, http: boolean): Promise<Listener> {
  if (socks === http) throw new Error('one of both')
  const sockets = new Set<Socket>()
  const server = socks ? createTcpServer(serveSocks) : httpProxy()
  server.on('connection', (socket: Socket) => {
    sockets.add(socket.on('close', () => sockets.delete(socket)))
    socket.on('error', () => socket.destroy())
  })
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  const { address, port } = server.address() as AddressInfo
  return {
    address,
    port,
    close: () =>
      new Promise((done) => {
        server.close(() => done())
        for (const socket of sockets) socket.destroy()
      }),
  }
}

function httpProxy(): Server {
  const server = createServer((from, to) => {
    const onward = request(here(from.url ?? ''), { method: from.method, headers: from.headers }, (answer) => {
      to.writeHead(answer.statusCode ?? 500, answer.headers)
      answer.pipe(to)
    })
    onward.on('error', () => to.destroy())
    from.pipe(onward)
  })
  server.on('connect', (asked, socket) => {
    const [, port = ''] = (asked.url ?? '').split(':')
    const onward = connect(Number(port), '127.0.0.1', () => {
      socket.write('HTTP/1.1 200 Connection established\r\n\r\n')
      socket.pipe(onward).pipe(socket)
    })
    onward.on('error', () => socket.end('HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n'))
  })
  return server
}

/** The same URL on this machine. */
function here(text: string): URL {
  return Object.assign(new URL(text), { hostname: '127.0.0.1' })
}

/** Octets come one at a time from here, so that a client must wait for each. */
function serveSocks(socket: Socket): void {
  let got = Buffer.alloc(0)
  const answer = (...octets: number[]) => {
    for (const octet of octets) socket.write(Uint8Array.of(octet))
  }
  let greeted = false
  const onData = (chunk: Buffer) => {
    got = Buffer.concat([got, chunk])
    if (!greeted && got.length >= 3) {
      greeted = true
      got = got.subarray(3)
      answer(5, 0)
    }
    const length = got[4] ?? 0
    if (!greeted || got.length < 5 || got.length < 7 + length) return
    socket.off('data', onData).pause()
    const onward = connect(got.readUInt16BE(5 + length), '127.0.0.1', () => {
      answer(5, 0, 0, 1, 0, 0, 0, 0, 0, 0)
      socket.pipe(onward).pipe(socket)
    })
    onward.on('error', () => {
      answer(5, 5, 0, 1, 0, 0, 0, 0, 0, 0)
      socket.end()
    })
  }
  socket.on('data', onData)
}
