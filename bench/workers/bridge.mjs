/** The product as `connect` runs it, with a window for whoever measures. */
import { ACCOUNT, DIST } from '../lib/setting.mjs'
import { answer, now } from '../lib/worker.mjs'

const { openTunnel } = await import(new URL('src/tunnel/session.js', DIST).href)
const { createDialer } = await import(new URL('src/dns/dialer.js', DIST).href)
const { listenProxy } = await import(new URL('src/proxy/server.js', DIST).href)

/** @type {Set<import('../../dist/src/link/flow.js').Flow>} */
const flows = new Set()
/** @type {import('../../dist/src/tunnel/session.js').Tunnel | undefined} */
let tunnel
/** @type {import('../../dist/src/proxy/server.js').ProxyServer | undefined} */
let server

answer({
  /** @param {number} port @param {number} connections @param {boolean} [watch] for `held` */
  async connect(port, connections, watch = true) {
    const up = await openTunnel({ host: '127.0.0.1', port, ...ACCOUNT, trust: { insecure: true } })
    tunnel = up
    const dialer = createDialer({ network: () => up })
    const proxy = await listenProxy({
      address: '127.0.0.1',
      port: 0,
      protocols: { socks: true, http: true },
      limits: { connections },
      dialer: {
        ...dialer,
        async dial(to, options) {
          const flow = await dialer.dial(to, options)
          if (watch) flows.add(flow)
          return flow
        },
      },
    })
    server = proxy
    return { port: proxy.port, peer: up.info.peer, mtu: up.info.mtu }
  },

  /** What lies in the stack: received and not taken by the local reader, sent and not acknowledged. */
  held() {
    let readable = 0
    let queued = 0
    for (const flow of flows) {
      readable += flow.readable
      queued += flow.queued
    }
    return { at: now(), readable, queued }
  },

  forget: () => flows.clear(),
  /** What clients that have gone have left behind. */
  left: () => ({ ...server?.usage(), stack: /** @type {any} */ (tunnel).stack.held.connections }),
  counters: () => tunnel?.counters(),
})
