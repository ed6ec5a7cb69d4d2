import t from 'tap'
import { SstpClient } from '../../src/sstp/client.js'
import { Framer } from '../../src/sstp/framer.js'
import { SstpServer } from '../../src/sstp/server.js'
import { hex, seededBytes, Talk } from '../helpers/sstp.js'

const certificate = hex('308201')
const hlak = hex('2a'.repeat(32))

/** Client and server with a wire of framers between them, in one virtual time. */
class Pair {
  readonly client: Talk<SstpClient>
  readonly server: Talk<SstpServer>
  /** All that went over the wire, `>` from the client. */
  readonly lines: string[] = []
  cut = { up: false, down: false }
  private readonly up = new Framer()
  private readonly down = new Framer()

  constructor(options: { hashes?: number; helloInterval?: number } = {}) {
    this.client = new Talk(new SstpClient({ certificate, ...options }))
    this.server = new Talk(new SstpServer({ certificate, random: seededBytes(5), ...options }))
  }

  /** Carries packets both ways until nobody has any. */
  drive(): this {
    for (let n = 0; n < 100; n += 1) {
      const moved = this.carry(this.client, this.server, this.up, '>', this.cut.up)
      if (!this.carry(this.server, this.client, this.down, '<', this.cut.down) && !moved) return this
    }
    throw new Error('the two talk for ever')
  }

  /** Lets time pass in steps, carrying what timers make. */
  wait(ms: number, step = 100): this {
    for (let left = ms; left > 0; left -= step) {
      this.client.wait(Math.min(step, left))
      this.server.wait(Math.min(step, left))
      this.drive()
    }
    return this
  }

  up_(): this {
    this.client.call.start(this.client.now)
    this.server.call.start(this.server.now)
    this.drive()
    this.client.call.authenticated(hlak, this.client.now)
    this.server.call.authenticated(hlak, this.server.now)
    this.drive()
    this.lines.length = 0
    this.client.events()
    this.server.events()
    return this
  }

  told(): [string[], string[]] {
    return [this.client.told(), this.server.told()]
  }

  states(): [string, string] {
    return [this.client.call.state, this.server.call.state]
  }

  private carry(
    from: Talk<SstpClient> | Talk<SstpServer>,
    to: Talk<SstpClient> | Talk<SstpServer>,
    framer: Framer,
    arrow: string,
    cut: boolean,
  ): boolean {
    const lines = from.packets()
    for (const packet of lines) {
      const { call, now } = to
      this.lines.push(`${arrow}${cut ? 'x' : ''} ${packet[5]}`)
      if (cut) continue
      const sink = {
        onPacket(b: Uint8Array, off: number, len: number, control: boolean) {
          if (control) call.inputControl(b, off, len, now)
          else call.packetReceived(now)
        },
      }
      framer.push(packet, 0, 3, sink)
      framer.push(packet, 3, packet.length - 3, sink)
    }
    return lines.length > 0
  }
}

t.test('up and properly down', (t) => {
  for (const hashes of [1, 2, 3]) {
    const pair = new Pair({ hashes })
    pair.client.call.start(pair.client.now)
    pair.server.call.start(pair.server.now)
    pair.drive()
    const hash = hashes === 1 ? 1 : 2
    t.same(pair.told(), [[`ack ${hashes} ${hash}`], [`ack ${hashes} -`]])
    pair.server.call.authenticated(hlak, pair.server.now)
    pair.client.call.authenticated(hlak, pair.client.now)
    pair.drive()
    t.same(pair.told(), [[`connected ${hash}`], [`connected ${hash}`]])
    t.same(pair.states(), ['Client_Call_Connected', 'Server_Call_Connected'])
    pair.client.call.disconnect(pair.client.now)
    pair.drive()
    t.same(pair.lines, ['> 1', '< 2', '> 4', '> 6', '< 7'])
    t.same(pair.told(), [
      ['closing', 'closed by local'],
      ['peer-disconnect 0', 'closing'],
    ])
    pair.server.call.closed(pair.server.now)
    t.same(pair.told(), [[], ['closed by remote']])
  }
  t.end()
})

t.test('the client is quicker than the server to know of the log-in', (t) => {
  const pair = new Pair()
  pair.client.call.start(pair.client.now)
  pair.server.call.start(pair.server.now)
  pair.drive()
  pair.client.call.authenticated(hlak, pair.client.now)
  pair.drive()
  t.same(pair.states(), ['Client_Call_Connected', 'Server_Call_Connected_Pending'])
  pair.server.call.authenticated(hlak, pair.server.now)
  t.same(pair.states(), ['Client_Call_Connected', 'Server_Call_Connected'])
  t.end()
})

t.test('a server that knows two keys', (t) => {
  const other = hex('2b'.repeat(32))
  for (const [theirs, good] of [
    [hlak, true],
    [other, true],
    [hex('2c'.repeat(32)), false],
  ] as const) {
    for (const early of [false, true]) {
      const pair = new Pair()
      pair.client.call.start(pair.client.now)
      pair.server.call.start(pair.server.now)
      pair.drive()
      if (!early) pair.server.call.authenticated(hlak, pair.server.now, other)
      pair.client.call.authenticated(theirs, pair.client.now)
      pair.drive()
      if (early) pair.server.call.authenticated(hlak, pair.server.now, other)
      t.equal(pair.states()[1] === 'Server_Call_Connected', good)
    }
  }
  t.throws(() => new Pair().server.call.authenticated(hlak, 0, hex('2b')), RangeError)
  t.end()
})

t.test('keys that differ', (t) => {
  const pair = new Pair()
  pair.client.call.start(pair.client.now)
  pair.server.call.start(pair.server.now)
  pair.drive()
  pair.client.call.authenticated(new Uint8Array(32), pair.client.now)
  pair.server.call.authenticated(hlak, pair.server.now)
  pair.drive()
  t.same(pair.told(), [
    ['ack 3 2', 'connected 2', 'peer-abort 7', 'closing: SSTP_PEER_ABORT'],
    ['ack 3 -', 'closing: SSTP_CRYPTO_BINDING'],
  ])
  t.same(pair.states(), ['Call_Abort_Timeout_Pending', 'Call_Abort_Timeout_Pending'])
  pair.wait(1_000)
  t.same(pair.told(), [['closed by remote: SSTP_PEER_ABORT'], ['closed by local: SSTP_CRYPTO_BINDING']])
  t.end()
})

t.test('the server leaves', (t) => {
  const pair = new Pair().up_()
  pair.server.call.disconnect(pair.server.now)
  pair.drive()
  t.same(pair.told(), [
    ['peer-disconnect 0', 'closing'],
    ['closing', 'closed by local'],
  ])
  pair.wait(1_000)
  t.same(pair.told(), [['closed by remote'], []])
  t.end()
})

t.test('both leave at once', (t) => {
  const pair = new Pair().up_()
  pair.client.call.disconnect(pair.client.now)
  pair.server.call.disconnect(pair.server.now)
  const fromClient = pair.client.packets()
  const fromServer = pair.server.packets()
  for (const p of fromClient) pair.server.hear(p)
  for (const p of fromServer) pair.client.hear(p)
  t.same(pair.states(), ['Call_Disconnect_Timeout_Pending', 'Call_Disconnect_Timeout_Pending'])
  pair.drive()
  t.same(pair.states(), ['Call_Disconnect_Timeout_Pending', 'Call_Disconnect_Timeout_Pending'])
  pair.wait(1_000)
  t.same(pair.told(), [
    ['closing', 'peer-disconnect 0', 'closed by local'],
    ['closing', 'peer-disconnect 0', 'closed by local'],
  ])
  t.end()
})

t.test('abort both ways, and both at once', (t) => {
  for (const who of ['client', 'server'] as const) {
    const pair = new Pair().up_()
    pair[who].call.abort(7, pair[who].now)
    pair.drive()
    t.same(pair.states(), ['Call_Abort_Timeout_Pending', 'Call_Abort_Timeout_Pending'])
    pair.wait(1_000)
    const ours = ['closing: SSTP_LOCAL_ABORT', 'closed by local: SSTP_LOCAL_ABORT']
    const theirs = ['peer-abort 7', 'closing: SSTP_PEER_ABORT', 'closed by remote: SSTP_PEER_ABORT']
    t.same(pair.told(), who === 'client' ? [ours, theirs] : [theirs, ours])
  }
  const pair = new Pair().up_()
  pair.client.call.abort(7, pair.client.now)
  pair.server.call.abort(7, pair.server.now)
  pair.drive()
  t.same(pair.lines, ['> 5', '< 5'], 'neither answers')
  pair.wait(1_000)
  t.same(pair.states(), ['Client_Call_Disconnected', 'Server_Call_Disconnected'])
  t.end()
})

t.test('an abort crosses a disconnect', (t) => {
  const pair = new Pair().up_()
  pair.client.call.disconnect(pair.client.now)
  pair.server.call.abort(7, pair.server.now)
  pair.drive()
  t.same(pair.lines, ['> 6', '< 5', '> 5'])
  pair.wait(1_000)
  t.same(pair.told(), [
    ['closing', 'peer-abort 7', 'closed by local'],
    ['closing: SSTP_LOCAL_ABORT', 'closed by local: SSTP_LOCAL_ABORT'],
  ])
  t.end()
})

t.test('an idle call lives on echoes', (t) => {
  const pair = new Pair({ helloInterval: 10_000 }).up_()
  pair.wait(600_000, 1_000)
  t.same(pair.states(), ['Client_Call_Connected', 'Server_Call_Connected'])
  t.ok(pair.lines.length >= 60 * 2 && pair.lines.length <= 60 * 4 + 4, `${pair.lines.length} packets`)
  t.same(pair.told(), [[], []])
  t.end()
})

t.test('a wire that is cut one way is noticed at both ends', (t) => {
  for (const way of ['up', 'down'] as const) {
    const pair = new Pair({ helloInterval: 10_000 }).up_()
    pair.cut = { up: way === 'up', down: way === 'down' }
    pair.wait(21_000)
    const deaf = way === 'up' ? pair.server : pair.client
    const other = way === 'up' ? pair.client : pair.server
    t.same(deaf.told(), ['closed by local: SSTP_HELLO_TIMEOUT'])
    t.notOk(
      pair.lines.some((line) => line.endsWith(' 5')),
      'no CALL_ABORT',
    )
    t.match(other.call.state, /Connected/, 'the other end still hears')
    other.call.closed(other.now)
    t.same(other.told(), ['closed by remote: SSTP_CONNECTION_CLOSED'])
  }
  t.end()
})
