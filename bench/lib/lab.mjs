/** The processes of a run and how they are joined. */
import { PORT } from '../replay.mjs'
import { Child } from './child.mjs'
import { PEER } from './setting.mjs'

/** @typedef {{ port: number, to?: { host: string, port: number } }} Way */

/**
 * Something that is measured.
 *
 * @typedef {object} Subject
 * @property {string} name
 * @property {Child} process the one whose cost counts
 * @property {Child} peer who sends or takes at the far end
 * @property {Child} [server] a process between the two whose cost is told too
 * @property {Record<string, Way>} ways by service
 */

const CONNECTIONS = 20_000

export class Lab {
  /** @type {Map<string, Promise<Subject>>} */
  #subjects = new Map()

  /** @param {Child} client @param {Child} replay @param {Child} peer */
  constructor(client, replay, peer) {
    this.client = client
    this.replay = replay
    this.peer = peer
    /** @type {{ cert: string, key: string }} */
    this.identity = { cert: '', key: '' }
    /** @type {Record<'large' | 'small', number>} */
    this.sstp = { large: 0, small: 0 }
    /** @type {Record<'tls' | 'tcp', Record<string, number>>} */
    this.ports = { tls: {}, tcp: {} }
  }

  static async open() {
    const { makeCertificate } = await import('../../dist/src/gateway/certificate.js')
    const { cert, key } = await makeCertificate()
    const lab = new Lab(new Child('client'), new Child('replay'), new Child('peer'))
    lab.identity = { cert, key }
    lab.sstp = await lab.replay.ask('listen', lab.identity)
    lab.ports = await lab.peer.ask('listen', lab.identity)
    return lab
  }

  /** One that lives as long as the run. @param {string} name @param {() => Promise<Subject>} make */
  once(name, make) {
    const made = this.#subjects.get(name) ?? make()
    this.#subjects.set(name, made)
    return made
  }

  /**
   * The product in front of the replaying server.
   *
   * @param {'large' | 'small'} records
   * @param {string} [dist] another build of it
   * @returns {Promise<Subject>}
   */
  async bridge(records, dist) {
    const process = new Child('bridge', dist === undefined ? {} : { BENCH_DIST: dist })
    const { port } = await process.ask('connect', this.sstp[records], CONNECTIONS)
    const way = (/** @type {number} */ service) => ({ port, to: { host: PEER, port: service } })
    return {
      name: dist === undefined ? 'bridge' : 'bridge (other build)',
      process,
      peer: this.replay,
      ways: {
        source: way(PORT.SOURCE),
        sink: way(PORT.SINK),
        verify: way(PORT.VERIFY),
        answer: way(PORT.ANSWER),
        hold: way(PORT.HOLD),
      },
    }
  }

  /** The relay from TCP to TLS. @param {'large' | 'small'} records @returns {Promise<Subject>} */
  async relay(records) {
    const process = new Child('relay')
    const { tls } = this.ports
    const to = async (/** @type {number | undefined} */ port) => ({ port: await process.ask('tls', port) })
    return {
      name: 'Node relay',
      process,
      peer: this.peer,
      ways: { source: await to(tls[records]), sink: await to(tls.sink), verify: await to(tls.verify) },
    }
  }

  /** A plain SOCKS5 relay over the kernel's TCP. @returns {Promise<Subject>} */
  async socks() {
    const process = new Child('relay')
    const port = await process.ask('socks')
    return { name: 'Node SOCKS5', process, peer: this.peer, ways: this.#tcp(port, '127.0.0.1') }
  }

  /**
   * The product in front of the product's own server.
   *
   * @param {number} [many] connections that will be open at once; they are not watched one by one then
   * @returns {Promise<Subject>}
   */
  async endToEnd(many) {
    const server = new Child('gateway')
    const listening = await server.ask('listen', this.identity, many)
    const process = new Child('bridge')
    const { port, peer } = await process.ask('connect', listening, CONNECTIONS, many === undefined)
    return { name: 'bridge + serve', process, server, peer: this.peer, ways: this.#tcp(port, peer) }
  }

  /** @param {number} port @param {string} host */
  #tcp(port, host) {
    const entries = Object.entries(this.ports.tcp)
    return Object.fromEntries(entries.map(([name, p]) => [name, { port, to: { host, port: p } }]))
  }
}

/** @param {number} ms */
export function pause(ms) {
  return new Promise((resolve) => {
    setTimeout(resolve, ms)
  })
}
