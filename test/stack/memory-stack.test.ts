/** The budget of a whole stack, with peers that fill what they are promised and an application that reads nothing. */
import t from 'tap'
import { READY_READABLE, type TcpConnection, takeReady } from '../../stack/index.js'
import { ADDRESS_B, Pair } from '../helpers/pair.js'

const MIB = 1 << 20

t.test('a peer with very many connections makes a stack hold no more than its budget', async (t) => {
  const memory = 16 * MIB
  const connections = 512
  const pair = new Pair({ delay: 10 }, 3, {
    limits: { backlog: connections, sendBuffer: 4 * MIB },
    b: { limits: { memory, connections, backlog: connections } },
  })
  const listener = pair.b.listen({ port: 80 })
  if (listener === undefined) throw new Error('no listener')
  const ends: TcpConnection[] = []
  const accepted: TcpConnection[] = []
  const chunk = new Uint8Array(65536)
  let reading = true
  let most = 0
  pair.onReady = (s, stack) => {
    const bits = takeReady(s)
    if (s === listener) {
      for (let c = pair.b.accept(listener); c !== undefined; c = pair.b.accept(listener)) accepted.push(c)
    } else if (stack === pair.b && reading && bits & READY_READABLE && s.kind === 'tcp') {
      s.consume(s.readable)
    } else if (stack === pair.a && s.kind === 'tcp' && s.writable) {
      s.write(chunk)
    }
  }
  const more = (): void => {
    const c = pair.a.connect({ address: ADDRESS_B, port: 80 }, pair.now)
    if (typeof c === 'string') throw new Error(c)
    ends.push(c)
  }
  // A few that grow first, while everything is read.
  for (let i = 0; i < 4; i++) more()
  pair.pass(150)
  const grown = Math.max(...accepted.map((c) => Number(c.info().receiveWindow)))
  t.ok(grown >= 100_000, `${grown} after a beginning with less`)
  reading = false
  for (let i = 4; i < connections; i++) more()
  for (let i = 0; i < 60; i++) {
    pair.pass(50)
    for (const c of ends) if (c.writable && c.queued < 65536) c.write(chunk)
    most = Math.max(most, pair.b.held.bytes)
  }
  t.equal(accepted.length, connections)
  const full = accepted.filter((c) => Number(c.info().receiveWindow) < 1400).length
  t.equal(full, connections, 'all windows are closed')
  t.ok(most <= memory, `${most} octets at most`)
  t.ok(most > memory / 8, `and not few: ${most}`)
  // Reading goes on, and everything moves again.
  const before = accepted.reduce((n, c) => n + c.readable, 0)
  for (const c of accepted) c.consume(c.readable)
  pair.pass(100)
  t.ok(accepted.filter((c) => c.readable > 0).length > connections / 2, `${before} octets were read`)
  pair.a.close()
  pair.b.close()
  t.equal(pair.b.held.bytes, 0)
  t.equal((pair.b.held as unknown as { accounted: number }).accounted, 0)
  t.equal((pair.b.held as unknown as { granted: number }).granted, 0)
})
