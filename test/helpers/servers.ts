import { type AddressInfo, createServer as createTcp, type Server, type Socket } from 'node:net'
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

/** A port on which nobody listens (for the moment). */
export async function closedPort(): Promise<number> {
  const server = await tcpServer(() => {})
  await server.close()
  return server.port
}
