/**
 * The slow reader once more, without waiting: the product's stack alone in front of the replaying server, with
 * a clock of its own. A GiB at 1 MiB/s takes seconds, and what the stack holds is known at every step.
 */
import { randomFillSync } from 'node:crypto'
import { IpAddress, NetStack } from '../../dist/stack/index.js'
import { matches } from '../lib/pattern.mjs'
import { MTU, PEER } from '../lib/setting.mjs'
import { digits, table } from '../lib/stats.mjs'
import { PORT, Replay } from '../replay.mjs'

const GIB = 2 ** 30
const MIB = 2 ** 20
const STEP = 50

/** @param {unknown} _lab @param {{ note(text: string): void }} options */
export async function virtual(_lab, { note }) {
  const stack = new NetStack({ mtu: MTU, random: (dst) => void randomFillSync(dst) })
  const replay = new Replay()
  const own = IpAddress.parse('10.99.0.2')
  const peer = IpAddress.parse(PEER)
  if (own === undefined || peer === undefined) throw new Error('an address is not one')
  stack.addAddress(own)
  let now = 0
  const connection = stack.connect({ address: peer, port: PORT.SOURCE }, now)
  if (typeof connection === 'string') throw new Error(connection)
  const packet = Buffer.alloc(4096)
  const began = performance.now()
  const idle = process.memoryUsage().rss
  let read = 0
  let held = 0
  let window = 0
  let rss = 0
  while (read < GIB) {
    now += STEP
    if (stack.nextTimeout() <= now) stack.handleTimeout(now)
    for (let moved = true; moved; ) {
      moved = false
      for (let n = stack.output(packet, 0, now); n > 0; n = stack.output(packet, 0, now)) {
        replay.input(packet, 0, n, now)
        moved = true
      }
      for (let n = replay.output(packet, 0, now); n > 0; n = replay.output(packet, 0, now)) {
        stack.input(packet, 0, n, now)
        moved = true
      }
    }
    while (stack.nextReady() !== undefined) {}
    held = Math.max(held, stack.held.bytes + stack.held.pooled)
    window = Math.max(window, connection.readable)
    let budget = (MIB * STEP) / 1000
    while (budget >= 1 && connection.readable > 0) {
      const piece = connection.peek()
      const n = Math.min(piece.length, Math.floor(budget))
      if (!matches(Buffer.from(piece.buffer, piece.byteOffset, n), 0, n, read))
        throw new Error('wrong octets')
      connection.consume(n)
      read += n
      budget -= n
    }
    if (now % 10_000 === 0) {
      rss = Math.max(rss, process.memoryUsage().rss)
      note(`virtual: ${digits(read / MIB)} MiB`)
    }
  }
  const { retransmissions, checksumErrors } = stack.counters
  if (checksumErrors > 0 || replay.faults > 0) throw new Error(`${checksumErrors} bad checksums`)
  stack.close()
  return {
    bytes: read,
    virtualSeconds: now / 1000,
    seconds: (performance.now() - began) / 1000,
    held,
    window,
    rss,
    idle,
    retransmissions,
  }
}

/** @param {Awaited<ReturnType<typeof virtual>>} s */
export function virtualTable(s) {
  const mb = (/** @type {number} */ n) => digits(n / 1e6)
  const name = `${digits(s.bytes / MIB)} MiB in ${digits(s.virtualSeconds)} s of virtual time (${digits(s.seconds)} s), MB`
  const head = [
    'the stack alone, reader of 1 MiB/s',
    'unread, most',
    'memory of the stack, most',
    'RSS before',
    'RSS most',
  ]
  return table(head, [[name, mb(s.window), mb(s.held), mb(s.idle), mb(s.rss)]])
}
