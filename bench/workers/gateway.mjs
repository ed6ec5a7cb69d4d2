/** The product's own server, as `serve --allow-loopback` runs it. */
import { ACCOUNT, DIST } from '../lib/setting.mjs'
import { answer } from '../lib/worker.mjs'

const { listenGateway } = await import(new URL('src/gateway/gateway.js', DIST).href)

answer({
  /** @param {{ cert: string, key: string }} identity @param {number} [maxConnections] */
  async listen({ cert, key }, maxConnections) {
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
      ...(maxConnections === undefined ? {} : { maxConnections }),
    })
    return port
  },

  /** Sockets of the far side that are open. */
  left: () => ({
    sockets: process.getActiveResourcesInfo().filter((name) => name === 'TCPSocketWrap').length,
  }),
})
