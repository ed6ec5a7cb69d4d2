import t from 'tap'
import { openUdpPort } from '../../../src/gateway/radius/port.js'

t.test('a server that no socket may be connected to is told of, once, and nothing is thrown', async (t) => {
  const reasons: string[] = []
  let port: ReturnType<typeof openUdpPort> | undefined
  await new Promise<void>((resolve) => {
    const server = { host: '255.255.255.255', port: 1812, secret: Uint8Array.of(1) }
    port = openUdpPort(server, {
      received: () => t.fail('an answer'),
      failed(reason) {
        reasons.push(reason)
        resolve()
      },
    })
    port.send(Uint8Array.of(1))
    port.send(Uint8Array.of(2))
  })
  port?.send(Uint8Array.of(3))
  port?.close()
  await new Promise((resolve) => setImmediate(resolve))
  t.equal(reasons.length, 1)
  t.match(reasons[0], /^\S/)
})
