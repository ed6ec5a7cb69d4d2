/** Two stacks of the product in one process, joined by two queues in memory: what the other stacks' `bench` does. */
import { DIST } from '../lib/setting.mjs'
import { answer } from '../lib/worker.mjs'

const { IpAddress, NetStack } = await import(new URL('stack/index.js', DIST).href)

const MTU = 1400
/** Packets handed over at a time. */
const BATCH = 32
/** Virtual milliseconds that pass with each turn. */
const STEP = 0.1
const SMALL = 64
const PERIOD = 65_521

/** Twice, so that PERIOD octets from anywhere lie in one piece. */
const pattern = makePattern(7)

/** @param {number} seed */
function makePattern(seed) {
  const block = Buffer.alloc(2 * PERIOD)
  let x = seed
  for (let i = 0; i < PERIOD; i++) {
    x ^= x << 13
    x ^= x >>> 17
    x ^= x << 5
    block[i] = block[i + PERIOD] = x >>> 8
  }
  return block
}

/** Packets in slots that are made once. */
class Queue {
  slots = new Uint8Array(BATCH * MTU)
  lengths = new Int32Array(BATCH)
  count = 0
}

/** A generator that a run can repeat; mulberry32. */
function seeded(/** @type {number} */ seed) {
  let state = seed
  return (/** @type {Uint8Array} */ dst) => {
    for (let i = 0; i < dst.length; i++) {
      state = (state + 0x6d2b79f5) >>> 0
      let t = Math.imul(state ^ (state >>> 15), state | 1)
      t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
      dst[i] = (t ^ (t >>> 14)) >>> 0
    }
  }
}

function address(/** @type {string} */ text) {
  const found = IpAddress.parse(text)
  if (found === undefined) throw new Error(`${text} is no address`)
  return found
}

class World {
  ab = new Queue()
  ba = new Queue()
  now = 0
  packets = 0
  began = process.cpuUsage()
  wall = performance.now()

  /** @param {number} window */
  constructor(window) {
    const limits = {
      receiveBuffer: window,
      receiveBufferMax: window,
      sendBuffer: window,
      sendBufferMax: window,
    }
    // TIME-WAIT ends with the turn in which its last ACK goes out, as it is made to end in the others.
    const times = { timeWait: STEP * 1.5 }
    this.a = new NetStack({ mtu: MTU, random: seeded(1), limits, times })
    this.b = new NetStack({ mtu: MTU, random: seeded(2), limits, times })
    this.a.addAddress(address('10.0.0.1'))
    this.b.addAddress(address('10.0.0.2'))
    this.server = { address: address('10.0.0.2'), port: 80 }
    this.listener = this.b.listen({ port: 80 })
  }

  /** Fills the queue with what a stack has to send. */
  fill(/** @type {any} */ stack, /** @type {Queue} */ queue) {
    while (queue.count < BATCH) {
      const n = stack.output(queue.slots, queue.count * MTU, this.now)
      if (n === 0) return
      queue.lengths[queue.count++] = n
    }
  }

  /** Hands over what a queue has. */
  empty(/** @type {Queue} */ queue, /** @type {any} */ stack) {
    for (let i = 0; i < queue.count; i++) stack.input(queue.slots, i * MTU, queue.lengths[i], this.now)
    this.packets += queue.count
    queue.count = 0
    while (stack.nextReady() !== undefined) {}
  }

  /** Both ways once; time passes, and where nothing moved it jumps to the next time-out. */
  turn() {
    const { a, b, ab, ba } = this
    this.now += STEP
    if (a.nextTimeout() <= this.now) a.handleTimeout(this.now)
    if (b.nextTimeout() <= this.now) b.handleTimeout(this.now)
    const before = this.packets
    this.fill(a, ab)
    this.empty(ab, b)
    this.fill(b, ba)
    this.empty(ba, a)
    if (this.packets === before) {
      const next = Math.min(a.nextTimeout(), b.nextTimeout())
      if (next < Number.POSITIVE_INFINITY) this.now = Math.max(this.now, next)
    }
  }

  open() {
    const client = this.a.connect(this.server, this.now)
    if (typeof client === 'string') throw new Error(client)
    let server = this.b.accept(this.listener)
    for (let i = 0; server === undefined || client.stateName !== 'ESTABLISHED'; i++) {
      if (i > 1000) throw new Error('no connection')
      this.turn()
      server ??= this.b.accept(this.listener)
    }
    return { client, server }
  }

  begin() {
    this.packets = 0
    this.began = process.cpuUsage()
    this.wall = performance.now()
  }

  cpu() {
    const { user, system } = process.cpuUsage(this.began)
    return (user + system) / 1e6
  }

  /** Every so many turns; a look at the clock costs something too. */
  isOver(/** @type {number} */ turns, /** @type {number} */ seconds) {
    return turns % 256 === 0 && this.cpu() >= seconds
  }

  /** @param {number} count */
  end(count) {
    const result = {
      count,
      packets: this.packets,
      cpu: this.cpu(),
      wall: (performance.now() - this.wall) / 1000,
    }
    this.a.close()
    this.b.close()
    const bad = this.a.counters.checksumErrors + this.b.counters.checksumErrors
    const again = this.a.counters.retransmissions + this.b.counters.retransmissions
    if (bad + again > 0)
      throw new Error(`${bad} bad checksums, ${again} retransmissions on a link without loss`)
    return result
  }
}

answer({
  /** Octets of one stream; those of the first `checked` are compared. */
  bulk(/** @type {number} */ window, /** @type {number} */ seconds, /** @type {number} */ checked) {
    const world = new World(window)
    const { client, server } = world.open()
    let sent = 0
    let received = 0
    world.begin()
    for (let turns = 1; ; turns++) {
      while (client.writable) {
        const from = sent % PERIOD
        client.write(pattern.subarray(from, from + PERIOD))
        sent += PERIOD
      }
      world.turn()
      for (let piece = server.peek(); piece.length > 0; piece = server.peek()) {
        if (received < checked && !matches(piece, received)) throw new Error('wrong octets')
        received += piece.length
        server.consume(piece.length)
      }
      if (world.isOver(turns, seconds) && received >= checked) return world.end(received)
    }
  },

  /** Segments of 64 octets, each of a write of its own. */
  small(/** @type {number} */ window, /** @type {number} */ seconds) {
    const world = new World(window)
    const { client, server } = world.open()
    const { a, ab } = world
    const chunk = pattern.subarray(0, SMALL)
    let segments = 0
    let received = 0
    world.begin()
    for (let turns = 1; ; turns++) {
      world.fill(a, ab)
      while (ab.count < BATCH && client.writable) {
        const before = ab.count
        client.write(chunk)
        world.fill(a, ab)
        if (ab.count === before) break
      }
      segments += ab.count
      world.turn()
      for (let piece = server.peek(); piece.length > 0; piece = server.peek()) {
        received += piece.length
        server.consume(piece.length)
      }
      if (world.isOver(turns, seconds)) break
    }
    if (received < (segments - BATCH) * SMALL) throw new Error('the segments did not carry the octets')
    return world.end(segments)
  },

  /** Connections, one after the other: an octet each way, then both close. */
  connect(/** @type {number} */ window, /** @type {number} */ seconds) {
    const world = new World(window)
    const octet = Uint8Array.of(1)
    let count = 0
    world.begin()
    do {
      const { client, server } = world.open()
      client.write(octet)
      while (server.readable === 0) world.turn()
      server.consume(1)
      server.write(octet)
      while (client.readable === 0) world.turn()
      client.consume(1)
      client.end()
      while (!server.ended) world.turn()
      server.end()
      while (server.stateName !== 'CLOSED') world.turn()
      count++
    } while (!world.isOver(count, seconds))
    return world.end(count)
  },
})

/** @param {Uint8Array} octets @param {number} at */
function matches(octets, at) {
  for (let i = 0, n = 0; i < octets.length; i += n) {
    const place = (at + i) % PERIOD
    n = Math.min(PERIOD, octets.length - i)
    if (pattern.compare(octets, i, i + n, place, place + n) !== 0) return false
  }
  return true
}
