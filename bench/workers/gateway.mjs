/** The product's own server, as `serve --allow-loopback` runs it. */
import { ACCOUNT, DIST } from '../lib/setting.mjs'
import { answer } from '../lib/worker.mjs'

const { listenGateway } = await import(new URL('src/gateway/gateway.js', DIST).href)

answer({
  /** @param {{ cert: string, key: string }} identity */
  async listen({ cert, key }) {
    const accounts = {
      password: (/** @type {string} */ user) => (user === ACCOUNT.user ? ACCOUNT.password : undefined),
    }
    const { port } = await listenGateway({
      address: '127.0.0.1',
      port: 0,
      cert,
      key,
      accounts,
      allowLoopback: true,
    })
    return port
  },
})
