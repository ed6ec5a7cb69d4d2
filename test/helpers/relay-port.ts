import { type AddressInfo, connect, createServer, type Socket } from 'node:net'

/** A port that passes everything on to another, until it is frozen. */
export interface RelayPort {
  readonly port: number
  /** Connections that are open now stay open, and nothing comes through them any more. New ones work. */
  freeze(): void
  /** New connections are frozen from the beginning. */
  frozen: boolean
  readonly connections: number
  close(): Promise<void>
}

export async function relayPort(target: () => number): Promise<RelayPort> {
  const sockets = new Set<Socket>()
  const keep = (socket: Socket): void => {
    sockets.add(socket)
    socket.on('error', () => {})
    socket.once('close', () => sockets.delete(socket))
  }
  let connections = 0
  const server = createServer((near) => {
    connections++
    keep(near)
    if (relay.frozen) {
      near.pause()
      return
    }
    const far = connect({ port: target(), host: '127.0.0.1' })
    keep(far)
    near.pipe(far)
    far.pipe(near)
    near.once('close', () => far.destroy())
    far.once('close', () => near.destroy())
    far.once('error', () => near.destroy())
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const relay = {
    port: (server.address() as AddressInfo).port,
    frozen: false,
    get connections() {
      return connections
    },
    freeze() {
      for (const socket of sockets) {
        socket.unpipe()
        socket.removeAllListeners('data')
        socket.pause()
      }
    },
    close: () =>
      new Promise<void>((resolve) => {
        server.close(() => resolve())
        for (const socket of sockets) socket.destroy()
      }),
  }
  return relay
}
