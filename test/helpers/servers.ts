import { once } from 'node:events'
import { type AddressInfo, connect, createServer as createTcp, type Server, type Socket } from 'node:net'
import { createServer as createTls, type TlsOptions } from 'node:tls'

/** A listener on loopback that is closed with all its connections. */
export interface TestServer {
  readonly port: number
  close(): Promise<void>
}

async function start(server: Server): Promise<TestServer> {
  const sockets = new Set<Socket>()
  server.on('connection', (socket: Socket) => {
    sockets.add(socket)
    socket.on('error', () => {})
    socket.once('close', () => sockets.delete(socket))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    port: (server.address() as AddressInfo).port,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        for (const socket of sockets) socket.destroy()
      }),
  }
}

export function tcpServer(onSocket: (socket: Socket) => void, allowHalfOpen = false): Promise<TestServer> {
  return start(createTcp({ allowHalfOpen }, onSocket))
}

export function tlsServer(options: TlsOptions, onSocket: (socket: Socket) => void): Promise<TestServer> {
  const server = createTls(options, (socket) => {
    socket.on('error', () => {})
    onSocket(socket)
  })
  server.on('tlsClientError', () => {})
  return start(server)
}

/**
 * A port on which nobody listens. It is one end of a connection that lasts as long as this process, so the system gives
 * it to nobody else, as it may a port that was listened on and closed.
 */
export async function closedPort(): Promise<number> {
  const server = createTcp((socket) => void socket.unref())
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const socket = connect((server.address() as AddressInfo).port, '127.0.0.1')
  await once(socket, 'connect')
  server.unref()
  socket.unref()
  return socket.localPort ?? 0
}
