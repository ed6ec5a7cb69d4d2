import t from 'tap'
import { IpAddress, type TcpConnection, TcpState, takeReady } from '../../stack/index.js'
import { CallPair, GATEWAY_ADDRESS } from '../helpers/call-pair.js'

const GATEWAY = IpAddress.parse(GATEWAY_ADDRESS) as IpAddress

for (const auth of ['mschapv2', 'chap', 'pap'] as const) {
  t.test(`a call with ${auth} comes up, whatever the cuts of the stream`, (t) => {
    for (const piece of [1, 7, 100, 3000, Number.POSITIVE_INFINITY]) {
      const pair = new CallPair({ auth: [auth], piece }).start()
      t.ok(pair.up(), `pieces up to ${piece}`)
      t.match(pair.clientOwner.told, ['ack', 'connected'])
      const up = pair.clientOwner.ppp.find((e) => e.type === 'ipv4-up')
      t.same(up?.type === 'ipv4-up' && [...up.local], [10, 9, 0, 2])
      t.same(up?.type === 'ipv4-up' && up.peer && [...up.peer], [10, 9, 0, 1])
      t.same(up?.type === 'ipv4-up' && up.dns.map((d) => [...d]), [[10, 9, 0, 1]])
    }
    t.end()
  })
}

/** Sends `total` octets from the client to the gateway and back; true if they came back the same. */
function echo(pair: CallPair, total: number): boolean {
  const listener = pair.serverStack.listen({ port: 7 })
  t.ok(listener)
  const client = pair.clientStack.connect({ address: GATEWAY, port: 7 }, pair.now) as TcpConnection
  const data = pair.random.bytes(total)
  let sent = 0
  let got = 0
  let same = true
  pair.serverOwner.onReady = () => {
    for (let s = pair.serverStack.nextReady(); s !== undefined; s = pair.serverStack.nextReady()) {
      takeReady(s)
      if (s.kind === 'listener') pair.serverStack.accept(s)
      if (s.kind !== 'tcp') continue
      while (s.readable > 0 && s.writable) {
        const piece = Uint8Array.from(s.peek())
        s.consume(piece.length)
        s.write(piece)
      }
      if (s.ended && s.readable === 0) s.end()
    }
  }
  pair.clientOwner.onReady = () => {
    for (let s = pair.clientStack.nextReady(); s !== undefined; s = pair.clientStack.nextReady()) takeReady(s)
    while (client.readable > 0) {
      const piece = client.peek()
      for (let i = 0; i < piece.length; i++) if (piece[i] !== data[got + i]) same = false
      got += piece.length
      client.consume(piece.length)
    }
    if (client.state < TcpState.ESTABLISHED) return
    while (sent < total && client.queued < 100_000) {
      const piece = data.subarray(sent, sent + 5000)
      client.write(piece)
      sent += piece.length
    }
    if (sent === total) client.end()
  }
  return pair.run(() => got === total && client.ended, 120_000) && same
}

t.test('TCP runs through both stacks and comes back octet for octet', (t) => {
  for (const piece of [13, 2000, Number.POSITIVE_INFINITY]) {
    const pair = new CallPair({ piece }).start()
    t.ok(pair.up())
    t.ok(echo(pair, 300_000), `pieces up to ${piece}`)
    t.equal(pair.clientStack.counters.retransmissions, 0, 'nothing is lost inside, so nothing is sent twice')
    t.equal(pair.client.counters.dropped, 0)
  }
  t.end()
})

t.test('IP packets before CALL_CONNECTED are dropped by the server', (t) => {
  const pair = new CallPair().start()
  pair.clientStack.addAddress(IpAddress.parse('10.9.0.2') as IpAddress)
  const packet = Buffer.alloc(100)
  pair.clientStack.openPing()?.send(GATEWAY, 1, new Uint8Array(8))
  const n = pair.clientStack.output(packet, 8, pair.now)
  packet.set([0x10, 0, 0, 8 + n, 0xff, 0x03, 0, 0x21])
  pair.server.input(packet, 0, 8 + n, pair.now)
  t.equal(pair.server.counters.dropped, 1)
  t.equal(pair.serverStack.counters.packetsIn, 0)
  t.end()
})

t.test('the wrong password ends both sides, without an address', (t) => {
  const pair = new CallPair({ password: 'wrong' }).start()
  t.ok(pair.run(() => pair.client.finished && pair.server.finished, 20_000))
  t.equal(pair.client.ppp.error?.code, 'AUTH_REFUSED')
  t.notOk(pair.clientOwner.told.includes('connected'))
  t.notOk(pair.clientOwner.told.includes('ipv4-up'))
  t.end()
})

t.test('a certificate other than the one shown fails the crypto binding, with or without a key', (t) => {
  for (const auth of ['mschapv2', 'pap'] as const) {
    const pair = new CallPair({ auth: [auth], seen: new TextEncoder().encode('another') }).start()
    t.ok(pair.run(() => pair.server.finished, 20_000))
    const end = pair.serverOwner.sstp.at(-1)
    t.equal(end?.type === 'closed' && end.error?.code, 'SSTP_CRYPTO_BINDING', auth)
    t.notOk(pair.server.sstp.mayData)
  }
  t.end()
})

t.test('either end leaves in order: LCP first, then CALL_DISCONNECT', (t) => {
  for (const who of ['client', 'server'] as const) {
    const pair = new CallPair().start()
    t.ok(pair.up())
    pair[who].close(pair.now)
    t.ok(
      pair.run(() => pair.client.finished && pair.server.finished, 10_000),
      who,
    )
    for (const owner of [pair.clientOwner, pair.serverOwner]) {
      const end = owner.sstp.at(-1)
      t.equal(end?.type, 'closed')
      t.equal(end?.type === 'closed' && end.error, undefined)
    }
    const leaver = who === 'client' ? pair.clientOwner : pair.serverOwner
    t.ok(leaver.told.indexOf('terminated') > 0, 'LCP was ended in order')
  }
  t.end()
})

t.test('ten minutes of silence keep a call up, and a dead peer does not', (t) => {
  const pair = new CallPair().start()
  t.ok(pair.up())
  pair.run(() => false, 600_000)
  t.notOk(pair.client.finished)
  t.notOk(pair.server.finished)
  const alone = new CallPair().start()
  t.ok(alone.up())
  // Only the client's clock runs: nothing is carried any more.
  const start = alone.now
  while (!alone.client.finished && alone.now < start + 600_000) {
    alone.now = alone.client.nextTimeout()
    alone.client.handleTimeout(alone.now)
    alone.client.output(Buffer.alloc(8192), 0, alone.now)
  }
  t.ok(alone.client.finished)
  t.ok(alone.now - start <= 150_000, `noticed after ${(alone.now - start) / 1000} s`)
  t.end()
})

t.test('a stream that is not SSTP any more ends the call without a word', (t) => {
  const pair = new CallPair().start()
  t.ok(pair.up())
  pair.server.input(Buffer.from('GET / HTTP/1.1\r\n\r\n'), 0, 18, pair.now)
  t.ok(pair.server.finished)
  t.notOk(pair.server.hasOutput)
  t.end()
})
