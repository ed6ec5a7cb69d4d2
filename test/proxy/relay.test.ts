import t from 'tap'
import { type MemoryFlow, WINDOW } from '../helpers/memory-network.js'
import { NOTHING_LEFT, ORIGIN, Remote, remotes, startProxy, type Talk, until } from '../helpers/proxy.js'
import { SeededRandom } from '../helpers/random.js'

const MIB = 1_048_576

async function joined() {
  const p = await startProxy()
  const list = remotes(p.network, 80)
  const client = await p.client()
  await client.socks(ORIGIN, 80)
  const remote = list[0]
  const [flow] = [...p.network.flows]
  if (remote === undefined || flow === undefined) throw new Error('not joined')
  return { p, client, remote, flow }
}

t.test('half-close by the client', async (t) => {
  const { p, client, remote } = await joined()
  client.say('question')
  client.socket.end()
  await until(() => remote.flow.ended)
  t.equal(remote.text, 'question')
  remote.say('answer, long after')
  await until(() => client.text === 'answer, long after')
  t.notOk(client.ended)
  remote.flow.end()
  await until(() => client.closed)
  t.ok(client.ended)
  t.equal(client.error, undefined)
  await until(() => remote.closed !== undefined && p.server.usage().connections === 0)
  t.same(remote.closed, { code: undefined }, 'a proper end')
  t.match(
    p.events.find((e) => e.type === 'done'),
    { protocol: 'socks5', up: 8, down: 18, error: undefined },
  )
  t.same(p.server.usage(), { connections: 0, flows: 0, timers: 0 }, 'nothing is left even before close')
  t.same(await p.stop(), NOTHING_LEFT)
})

t.test('half-close by the remote side', async (t) => {
  const { p, client, remote } = await joined()
  remote.say('banner')
  remote.flow.end()
  await until(() => client.ended)
  t.equal(client.text, 'banner')
  client.say('still talking')
  await until(() => remote.text === 'still talking')
  client.socket.end()
  await until(() => client.closed && remote.closed !== undefined)
  t.same(remote.closed, { code: undefined })
  t.equal(client.error, undefined)
  await until(() => p.server.usage().connections === 0)
  t.same(p.server.usage(), { connections: 0, flows: 0, timers: 0 })
  t.same(await p.stop(), NOTHING_LEFT)
})

t.test('a reset of the remote side reaches the client', async (t) => {
  const { p, client, remote } = await joined()
  remote.flow.reset()
  await until(() => client.closed)
  t.equal(client.error?.code, 'ECONNRESET')
  await until(() => p.server.usage().connections === 0)
  t.match(
    p.events.find((e) => e.type === 'done'),
    { error: /reset/ },
  )
  t.same(await p.stop(), NOTHING_LEFT)
})

t.test('a reset of the client reaches the remote side', async (t) => {
  const { p, client, remote } = await joined()
  client.socket.resetAndDestroy()
  await until(() => remote.closed !== undefined)
  t.same(remote.closed, { code: 'reset' })
  await until(() => p.server.usage().flows === 0)
  t.match(
    p.events.find((e) => e.type === 'done'),
    { error: /client/ },
  )
  t.same(await p.stop(), NOTHING_LEFT)
})

t.test('the tunnel goes down', async (t) => {
  const { p, client } = await joined()
  p.network.down()
  await until(() => client.closed)
  t.equal(client.error?.code, 'ECONNRESET')
  t.match(
    p.events.find((e) => e.type === 'done'),
    { error: /tunnel-down/ },
  )
  t.same(await p.stop(), NOTHING_LEFT)
})

t.test('close with connections open', async (t) => {
  const { p, client, remote } = await joined()
  await p.server.close()
  await until(() => client.closed && remote.closed !== undefined)
  t.same(p.server.usage(), { connections: 0, flows: 0, timers: 0 })
  t.same(await p.stop(), NOTHING_LEFT)
})

/** No period of the window: what is overwritten in the ring must not be overwritten by its like. */
const PERIOD = 60_013
const block = new SeededRandom(4).bytes(PERIOD)
function check(received: Buffer, at: number): boolean {
  for (let i = 0; i < received.length; ) {
    const from = (at + i) % PERIOD
    const n = Math.min(received.length - i, PERIOD - from)
    if (received.compare(block, from, from + n, i, i + n) !== 0) return false
    i += n
  }
  return true
}

/** Writes `total` octets as fast as they are taken. */
function pour(flow: MemoryFlow, total: number): void {
  let sent = 0
  const fill = () => {
    while (sent < total) {
      sent += block.length
      if (!flow.write(block)) return
    }
    flow.end()
  }
  flow.handler = { onReadable: () => {}, onWritable: fill, onClose: () => {} }
  fill()
}

t.test('a client that stops stops the remote sender, and loses nothing', async (t) => {
  const total = 1100 * PERIOD
  const { p, client, remote, flow } = await joined()
  client.socket.removeAllListeners('data')
  let received = 0
  let wrong = false
  const onData = (chunk: Buffer) => {
    wrong ||= !check(chunk, received)
    received += chunk.length
  }
  client.socket.on('data', onData)
  client.socket.pause()
  pour(remote.flow, total)
  // Until nothing moves any more: kernel buffers and one window are full.
  let last = -1
  let still = 0
  await until(() => {
    still = flow.consumed === last ? still + 1 : 0
    last = flow.consumed
    return still > 2000
  })
  t.ok(flow.consumed > 0 && flow.consumed < 16 * MIB, `taken from the flow: ${flow.consumed}`)
  t.equal(flow.readable, WINDOW, 'the window is shut')
  t.ok(remote.flow.queued <= 2 * WINDOW, 'and the sender stands')
  client.socket.resume()
  await until(() => client.ended)
  t.equal(received, total)
  t.notOk(wrong, 'octet for octet')
  client.socket.end()
  t.same(await p.stop(), NOTHING_LEFT)
})

t.test('a remote side that does not read stops the client', async (t) => {
  const p = await startProxy()
  let theirs: MemoryFlow | undefined
  p.network.listen(ORIGIN, 80, (flow) => {
    theirs = flow
  })
  const client: Talk = await p.client()
  await client.socks(ORIGIN, 80)
  const total = 280 * PERIOD
  for (let sent = 0; sent < total; sent += block.length) client.say(block)
  client.socket.end()
  const [flow] = [...p.network.flows]
  let last = -1
  let still = 0
  await until(() => {
    still = client.socket.bytesWritten - client.socket.writableLength === last ? still + 1 : 0
    last = client.socket.bytesWritten - client.socket.writableLength
    return still > 2000
  })
  t.ok((flow?.queued ?? 0) < 4 * WINDOW, `in the proxy: ${flow?.queued}`)
  t.ok(client.socket.writableLength > MIB, 'the rest waits at the client')
  if (theirs === undefined) throw new Error('not joined')
  const remote = theirs
  let received = 0
  let wrong = false
  const read = () => {
    for (let view = remote.peek(); view.length > 0; view = remote.peek()) {
      wrong ||= !check(Buffer.from(view), received)
      received += view.length
      remote.consume(view.length)
    }
  }
  remote.handler = { onReadable: read, onWritable: () => {}, onClose: () => {} }
  await until(() => remote.ended)
  t.equal(received, total)
  t.notOk(wrong)
  t.same(await p.stop(), NOTHING_LEFT)
})

t.test('many at once, both ways', async (t) => {
  const p = await startProxy()
  p.network.listen(ORIGIN, 7, (flow) => {
    const echo = new Remote(flow)
    const { handler } = flow
    flow.handler = {
      onReadable: () => {
        handler?.onReadable()
        echo.say(echo.received)
        echo.forget()
        if (flow.ended) flow.end()
      },
      onWritable: () => {},
      onClose: () => {},
    }
  })
  const message = block.subarray(0, 50_000)
  await Promise.all(
    Array.from({ length: 40 }, async () => {
      const client = await p.client()
      await client.socks(ORIGIN, 7)
      client.say(message)
      client.socket.end()
      await until(() => client.ended)
      if (client.received.compare(message) !== 0) t.fail('another echo')
    }),
  )
  await until(() => p.server.usage().connections === 0)
  t.same(p.server.usage(), { connections: 0, flows: 0, timers: 0 })
  t.same(await p.stop(), NOTHING_LEFT)
})
