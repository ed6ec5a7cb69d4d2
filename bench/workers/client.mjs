/** The user's side: one process that reads, writes and asks, the same for all that is measured. */
import { connect } from 'node:net'
import { ANSWER, matches, pump, send } from '../lib/pattern.mjs'
import { answer, now } from '../lib/worker.mjs'

/**
 * @typedef {{ port: number, to?: { host: string, port: number } }} Way a local port, and whom to ask SOCKS for
 */

const buffer = Buffer.allocUnsafeSlow(65_536)
const GREETING = Buffer.of(5, 1, 0)
/** Of a reply with an IPv4 address. */
const REPLY = 10

/**
 * A connection that is through to the far end, read by `onBytes` (false: pause).
 *
 * @param {Way} way
 * @param {(length: number) => boolean} onBytes
 * @param {Buffer} [into]
 * @returns {Promise<import('node:net').Socket>}
 */
function open({ port, to }, onBytes, into = buffer) {
  return new Promise((resolve, reject) => {
    /** Octets of SOCKS that are still to come. */
    let before = to === undefined ? 0 : 2 + REPLY
    let asked = to === undefined
    const callback = (/** @type {number} */ n) => {
      if (before === 0) return onBytes(n)
      if (!asked && to !== undefined) {
        asked = true
        const host = to.host.split('.').map(Number)
        socket.write(Buffer.of(5, 1, 0, 1, ...host, to.port >>> 8, to.port & 0xff))
      } else if (into[1] !== 0 && before <= REPLY) {
        socket.destroy(new Error(`SOCKS answers ${into[1]}`))
        return true
      }
      const rest = n - before
      before = Math.max(0, -rest)
      if (before > 0) return true
      resolve(socket)
      if (rest === 0) return true
      into.copyWithin(0, n - rest, n)
      return onBytes(rest)
    }
    const socket = connect({ port, host: '127.0.0.1', noDelay: true, onread: { buffer: into, callback } })
    socket.once('error', reject)
    socket.once('close', () => reject(new Error('closed before it was open')))
    socket.once('connect', () => {
      if (asked) resolve(socket)
      else socket.write(GREETING)
    })
  })
}

const closed = (/** @type {import('node:net').Socket} */ socket) =>
  new Promise((resolve) => {
    if (socket.destroyed) resolve(undefined)
    else socket.once('close', resolve)
  })

/** @type {import('node:net').Socket | undefined} */
let current
let received = 0
/** @type {import('node:net').Socket[]} */
let held = []
/** @type {NodeJS.Timeout | undefined} */
let pace

/** Milliseconds; one that takes that long has failed. */
const PATIENCE = 4000

/** One new connection, a short request and its answer. @param {Way} way @returns microseconds */
async function request(way) {
  /** @type {NodeJS.Timeout | undefined} */
  let timer
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer within ${PATIENCE} ms`)), PATIENCE)
  })
  try {
    return await Promise.race([ask(way), late])
  } finally {
    clearTimeout(timer)
  }
}

/** @param {Way} way */
async function ask(way) {
  const began = now()
  const into = Buffer.allocUnsafe(2048)
  let got = 0
  let took = 0
  const socket = await open(
    way,
    (n) => {
      got += n
      if (got >= ANSWER && took === 0) took = now() - began
      return true
    },
    into,
  )
  socket.write('give me the answer, please\r\n')
  await closed(socket)
  if (got !== ANSWER) throw new Error(`${got} octets instead of ${ANSWER}`)
  return took * 1000
}

answer({
  /** @param {Way} way */
  async download(way) {
    received = 0
    current = await open(way, (n) => {
      received += n
      return true
    })
  },

  /** @param {Way} way */
  async upload(way) {
    current = await open(way, () => true)
    pump(current)
  },

  count: () => ({ at: now(), bytes: received }),

  async stop() {
    clearInterval(pace)
    current?.destroy()
    if (current !== undefined) await closed(current)
    current = undefined
  },

  /** Reads `bytes` octets. @param {Way} way @param {number} bytes @returns how many were right */
  async verifyDownload(way, bytes) {
    let at = 0
    let right = 0
    const done = new Promise((resolve) => {
      open(way, (n) => {
        if (matches(buffer, 0, n, at)) right += n
        at += n
        if (at >= bytes) resolve(undefined)
        return at < bytes
      }).then((socket) => {
        current = socket
        socket.once('close', resolve)
      })
    })
    await done
    current?.destroy()
    return { bytes: right, faults: at - right }
  },

  /** @param {Way} way @param {number} bytes */
  async verifyUpload(way, bytes) {
    const socket = await open(way, () => true)
    send(socket, bytes)
    await closed(socket)
  },

  /** @param {Way} way @param {number} count @param {number} atOnce */
  async requests(way, count, atOnce) {
    /** @type {number[]} */
    const times = []
    let left = count
    const began = now()
    const worker = async () => {
      while (left-- > 0) times.push(/** @type {number} */ (await request(way)))
    }
    try {
      await Promise.all(Array.from({ length: atOnce }, worker))
    } catch (error) {
      left = 0
      return { times, failure: error instanceof Error ? error.message : String(error) }
    }
    return { times, seconds: (now() - began) / 1000 }
  },

  /** @param {Way} way @param {number} count */
  async hold(way, count) {
    const small = Buffer.allocUnsafe(64)
    for (let i = 0; i < count; i += 50) {
      const some = Array.from({ length: Math.min(50, count - i) }, () => open(way, () => true, small))
      held.push(...(await Promise.all(some)))
    }
  },

  /** So many one after the other, `atOnce` at a time, each opened and reset. @param {Way} way @param {number} count @param {number} atOnce */
  async churn(way, count, atOnce) {
    let left = count
    const one = async () => {
      const into = Buffer.allocUnsafe(64)
      while (left-- > 0) {
        const socket = await open(way, () => true, into)
        socket.resetAndDestroy()
        await closed(socket)
      }
    }
    await Promise.all(Array.from({ length: atOnce }, one))
  },

  /** @param {boolean} [abruptly] by RST */
  async release(abruptly = false) {
    for (const socket of held) {
      if (abruptly) socket.resetAndDestroy()
      else socket.destroy()
    }
    await Promise.all(held.map(closed))
    held = []
  },

  /** Reads at `rate` octets a second. @param {Way} way @param {number} rate */
  async slow(way, rate) {
    received = 0
    const TICKS = 20
    let budget = 0
    const socket = await open(way, (n) => {
      received += n
      budget -= n
      return budget > 0
    })
    current = socket
    pace = setInterval(() => {
      budget = Math.min(budget + rate / TICKS, rate / 4)
      if (budget > 0) socket.resume()
    }, 1000 / TICKS)
  },
})
