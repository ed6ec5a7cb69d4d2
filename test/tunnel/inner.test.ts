import t from 'tap'
import { DialError, type Flow } from '../../src/tunnel/dialer.js'
import type { TcpConnection } from '../../stack/index.js'
import { HOST, OTHER, OWN, InnerPair as Pair } from '../helpers/inner-pair.js'

t.test('what was sent while there was no call goes out with the next one, at once', async (t) => {
  const p = new Pair()
  const flow = await p.connect()
  p.takeAway()
  const { packets } = p
  flow.write(Buffer.from('hello'))
  await p.pass(20_000)
  t.equal(p.packets, packets, 'nothing can go')
  p.giveBack()
  await p.pass(1)
  t.equal(Buffer.from(p.accepted[0]?.peek() ?? []).toString(), 'hello')
})

t.test('what was lost with the old call is repeated at once, and its timer has not backed off', async (t) => {
  const p = new Pair()
  const flow = await p.connect()
  // It goes out, and the connection to the server breaks with it.
  const { input } = p.host
  p.host.input = () => {}
  flow.write(Buffer.from('hello'))
  await p.pass(1)
  p.host.input = input
  p.takeAway()
  await p.pass(50_000)
  p.giveBack()
  await p.pass(1)
  t.equal(Buffer.from(p.accepted[0]?.peek() ?? []).toString(), 'hello')
})

t.test('time-outs of connects go on without a call', async (t) => {
  const p = new Pair()
  p.takeAway()
  const waiting = p.inner.sockets.connect({ address: HOST.toString(), port: 80 }, { timeout: 5000 })
  const over = t.rejects(waiting, { code: 'timed-out' })
  await p.pass(4990)
  await p.pass(20)
  await over
  t.equal(p.inner.nextTimeout(), Number.POSITIVE_INFINITY, 'TCP stands still')
})

t.test('a flow that is given up without a call is told of its end', async (t) => {
  const p = new Pair()
  const flow = await p.connect()
  let told: DialError | undefined
  flow.handler = {
    onReadable() {},
    onWritable() {},
    onClose: (error) => {
      told = error
    },
  }
  p.takeAway()
  flow.reset()
  await p.pass(1)
  t.equal(told?.code, 'aborted')
})

t.test('another address: what had the old one ends, silently', async (t) => {
  const p = new Pair()
  const flow = await p.connect()
  const ends: (DialError | undefined)[] = []
  flow.handler = { onReadable() {}, onWritable() {}, onClose: (error) => ends.push(error) }
  p.takeAway()
  const opening = p.inner.sockets.connect({ address: HOST.toString(), port: 80 })
  const udp = p.inner.sockets.openUdp({ remote: { address: HOST.toString(), port: 53 } })
  const errors: string[] = []
  udp.handler = { onDatagram() {}, onError: (error) => errors.push(error.code) }
  const open = p.inner.sockets.openUdp()
  const { packets } = p
  p.inner.setIpv4(OWN)
  t.equal(ends.length, 0, 'the same one changes nothing')
  p.inner.setIpv4(OTHER)
  t.match(ends, [{ code: 'tunnel-down', message: /another address/ }])
  t.same(errors, ['tunnel-down'])
  await Promise.all([t.rejects(opening, { code: 'tunnel-down' }), p.pass(1)])
  t.equal(p.inner.stack.held.connections, 0)
  p.giveBack()
  await p.pass(100)
  t.equal(p.packets, packets, 'no packet goes out from an address that is not ours')
  open.send(Buffer.from('?'), { address: HOST.toString(), port: 9 })
  await p.pass(1)
  t.equal(p.packets, packets + 1, 'a socket of no address in particular stays')
  const again = await p.connect()
  t.equal(again.local.address, '10.9.0.3')
})

t.test('reset ends all, and what follows works', async (t) => {
  const p = new Pair()
  const flow = await p.connect()
  let told: DialError | undefined
  flow.handler = {
    onReadable() {},
    onWritable() {},
    onClose: (error) => {
      told = error
    },
  }
  p.inner.reset()
  t.equal(told?.code, 'tunnel-down')
  t.equal(p.inner.ipv4, undefined)
  await t.rejects(p.inner.sockets.connect({ address: HOST.toString(), port: 80 }), {
    code: 'network-unreachable',
  })
  p.inner.setIpv4(OWN)
  t.ok(await p.connect())
})

t.test('the end', async (t) => {
  const p = new Pair()
  await p.connect()
  p.takeAway()
  const waiting = p.inner.sockets.connect({ address: HOST.toString(), port: 80 })
  p.inner.close(new DialError('tunnel-down', 'over'))
  await t.rejects(waiting, { code: 'tunnel-down' })
  await t.rejects(p.inner.sockets.connect({ address: HOST.toString(), port: 80 }), { code: 'tunnel-down' })
  p.inner.resume(p.carrier)
  t.equal(p.inner.hasOutput, false)
  t.equal(p.inner.nextTimeout(), Number.POSITIVE_INFINITY)
})

/** A flow whose handler reads nothing by itself, and what it has been told. */
async function unread(p: Pair) {
  const flow = await p.connect()
  const told: string[] = []
  flow.handler = {
    onReadable: () => void told.push('readable'),
    onWritable: () => void told.push('writable'),
    onClose: (error) => void told.push(`closed: ${error?.code}`),
  }
  const [far] = p.accepted
  if (far === undefined) throw new Error('nobody has accepted it')
  far.write(Buffer.from('413 and why'))
  return { flow, told, far }
}

t.test('what came in front of a reset is read first; then the flow is told of it', async (t) => {
  const p = new Pair()
  const { flow, told, far } = await unread(p)
  far.abortBehind()
  await p.pass(100)
  t.same(told, ['readable'])
  t.equal(flow.readable, 11)
  t.ok(flow.write(Buffer.from('the rest of an upload')), 'nobody waits for room that never comes')
  await p.pass(100)
  t.equal(Buffer.from(flow.peek()).toString(), '413 and why')
  flow.consume(4)
  await p.pass(100)
  t.same(told, ['readable'])
  flow.consume(7)
  await p.pass(100)
  t.same(told, ['readable', 'closed: reset'])
  t.equal(p.inner.stack.held.bytes, 0)
})

t.test('an end that waits for its reader is told at once when nobody reads any more', async (t) => {
  const ends: [string, (far: TcpConnection, flow: Flow) => void][] = [
    ['reset', (far) => far.abortBehind()],
    [
      'undefined',
      (far, flow) => {
        far.end()
        flow.end()
      },
    ],
  ]
  for (const [code, end] of ends) {
    const p = new Pair()
    const { flow, told, far } = await unread(p)
    end(far, flow)
    await p.pass(100)
    t.same(told, ['readable'])
    flow.reset()
    await p.pass(100)
    t.same(told, ['readable', `closed: ${code}`])
    t.equal(p.inner.stack.held.bytes, 0)

    const q = new Pair()
    const gone = await unread(q)
    end(gone.far, gone.flow)
    await q.pass(100)
    q.inner.setIpv4(OTHER)
    await q.pass(100)
    t.same(gone.told, ['readable', 'closed: tunnel-down'], 'nor when the tunnel goes')
    t.equal(q.inner.stack.held.bytes, 0)
  }
})
