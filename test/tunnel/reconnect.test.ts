/** The supervisor over real sockets: a server that goes and comes back, with proxies that stay. */
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import t from 'tap'
import { createDialer } from '../../src/dns/dialer.js'
import { type Gateway, listenGateway } from '../../src/gateway/gateway.js'
import { monotonicNow } from '../../src/link/driver.js'
import { openForward } from '../../src/proxy/forward.js'
import type { SupervisorEvent } from '../../src/tunnel/events.js'
import { openTunnel } from '../../src/tunnel/session.js'
import { Supervisor } from '../../src/tunnel/supervisor.js'
import { waitingDialer } from '../../src/tunnel/waiting-dialer.js'
import { IpAddress } from '../../stack/index.js'
import { inTime } from '../helpers/in-time.js'
import { until } from '../helpers/proxy.js'
import { relayPort } from '../helpers/relay-port.js'
import { download, ECHO, SOURCE } from '../helpers/routing-server.js'
import { MSCHAPV2, packet, text } from '../helpers/scripted-server.js'
import { tcpServer } from '../helpers/servers.js'
import { certificate, PASSWORD, Scene, Sink } from '../helpers/tunnel-scene.js'

t.test('the same address again: a download and an exchange go on as if nothing had been', async (t) => {
  const scene = await Scene.start(t)
  const size = (scene.server.host.size = 12_000_000)
  const { socket, reply } = await scene.socks(SOURCE)
  t.equal(reply, 0)
  const sink = new Sink(socket)
  const echo = await scene.socks(ECHO)
  const echoed = new Sink(echo.socket)
  const question = download(300_000)
  await sink.at(1_000_000)
  echo.socket.write(question)
  const gone = scene.next('disconnected')
  await scene.server.kill()
  await gone
  const before = sink.size
  t.ok(before < size, `killed at ${before} of ${size}`)
  const ready = scene.next('ready')
  await scene.server.listen()
  await ready
  t.match(scene.last('ready'), { again: true, kept: true })
  t.equal(await sink.end, 'end')
  t.ok(sink.whole.equals(download(size)), 'whole')
  await echoed.at(question.length)
  t.ok(echoed.whole.equals(question))
  t.equal(scene.server.ups, 2)
  echo.socket.end()
  t.equal(await echoed.end, 'end', 'and it ends properly')
})

t.test('another address: open connections are reset at once, new ones work', async (t) => {
  const scene = await Scene.start(t)
  const { socket } = await scene.socks(ECHO)
  const sink = new Sink(socket)
  socket.write('before')
  await sink.at(6)
  scene.server.address = '10.77.0.9'
  const ready = scene.next('ready')
  await scene.server.kill()
  await scene.server.listen()
  await ready
  t.match(scene.last('ready'), { again: true, kept: false, info: { ipv4: '10.77.0.9' } })
  t.equal(await sink.end, 'error', 'reset, not closed')
  const again = await scene.socks(ECHO)
  t.equal(again.reply, 0)
  const answer = new Sink(again.socket)
  again.socket.write('after')
  await answer.at(5)
  t.equal(answer.whole.toString(), 'after')
  const [open] = scene.server.host.open
  t.equal([...scene.server.host.open].at(-1)?.tuple.remote.toString(), '10.77.0.9')
  t.equal(open?.tuple.remote.toString(), '10.77.0.2', 'the old one was told nothing: it could not be')
  again.socket.destroy()
})

t.test(
  'ports opened for the remote network (-R) are there again, with the same address and another',
  async (t) => {
    const scene = await Scene.start(t)
    const { host } = scene.server
    const dialer = waitingDialer(scene.supervisor, createDialer({ network: () => scene.supervisor.network }))
    // What the inner host hears it sends back, so that a greeting comes back to whoever greets.
    const greeted: string[] = []
    const service = await tcpServer((socket) => {
      socket.setEncoding('latin1').on('data', (text) => void greeted.push(String(text)))
      socket.write('hello')
    })
    t.teardown(() => service.close())
    const received: string[] = []
    const udp = createSocket('udp4', (data) => void received.push(data.toString()))
    t.teardown(() => udp.close())
    udp.bind(0, '127.0.0.1')
    await once(udp, 'listening')
    const options = { dialer }
    const to = (port: number) => ({ host: '127.0.0.1', port })
    const tcp = await openForward({ kind: 'remote', protocol: 'tcp', port: 0, to: to(service.port) }, options)
    const datagrams = await openForward(
      { kind: 'remote', protocol: 'udp', port: 514, to: to(udp.address().port) },
      options,
    )
    t.teardown(() => Promise.all([tcp.close(), datagrams.close()]))
    const port = tcp.locals[0]?.port ?? 0
    const sender = host.stack.openUdp({ port: 5140 })
    let rounds = 0
    const knock = async (): Promise<void> => {
      rounds++
      const address = IpAddress.parse(scene.server.address) as IpAddress
      t.same(tcp.locals, [{ address: address.toString(), port }])
      host.stack.connect({ address, port }, monotonicNow())
      sender?.send(Buffer.from(`line ${rounds}`), { address, port: 514 })
      host.carrier?.wake()
      await until(() => greeted.length === rounds && received.length === rounds, `round ${rounds}`)
      t.equal(greeted.at(-1), 'hello')
      t.equal(received.at(-1), `line ${rounds}`)
    }
    await knock()
    for (const address of ['10.77.0.2', '10.77.0.9']) {
      scene.server.address = address
      const ready = scene.next('ready')
      await scene.server.kill()
      await scene.server.listen()
      await ready
      await knock()
    }
    const gone = scene.next('disconnected')
    const ready = scene.next('ready')
    await scene.server.kill()
    await gone
    const late = await openForward(
      { kind: 'remote', protocol: 'tcp', port: 81, to: to(service.port) },
      options,
    )
    t.teardown(() => late.close())
    await scene.server.listen()
    await ready
    t.match(late.locals, [{ address: '10.77.0.9', port: 81 }], 'also one that was opened in between')
    await scene.supervisor.close()
    t.same(tcp.locals, [])
  },
)

t.test(
  'a server that ends its clients’ connections itself: what it has forgotten is reset soon',
  async (t) => {
    const own = (port: number): Promise<Gateway> =>
      listenGateway({
        ...certificate,
        address: '127.0.0.1',
        port,
        accounts: { password: () => PASSWORD },
        allowLoopback: true,
      })
    const gateway = await own(0)
    const far = await tcpServer((socket) => socket.pipe(socket))
    const heard: SupervisorEvent[] = []
    let ready = (): void => {}
    const supervisor = new Supervisor({
      tunnel: {
        host: '127.0.0.1',
        port: gateway.port,
        user: 'alice',
        password: PASSWORD,
        trust: { insecure: true },
      },
      open: openTunnel,
      backoff: { first: 20, most: 100 },
      networks: () => '',
      onEvent: (event) => {
        heard.push(event)
        if (event.type === 'ready') ready()
      },
    })
    await supervisor.start()
    const to = { address: '192.168.30.1', port: far.port }
    const flow = await supervisor.network?.connect(to)
    const over = new Promise<unknown>((resolve) => {
      if (flow !== undefined) flow.handler = { onReadable() {}, onWritable() {}, onClose: resolve }
    })
    const again = new Promise<void>((resolve) => {
      ready = resolve
    })
    await gateway.close()
    const next = await own(gateway.port)
    await again
    t.match(heard.at(-1), { type: 'ready', again: true, kept: true })
    flow?.write(Buffer.from('who are you'))
    t.match(await over, { code: 'reset' })
    const fresh = await supervisor.network?.connect(to)
    t.ok(fresh)
    await supervisor.close()
    await next.close()
    await far.close()
  },
)

t.test('a refused password on a reconnect is the end', async (t) => {
  const scene = await Scene.start(t)
  const { socket } = await scene.socks(ECHO)
  const sink = new Sink(socket)
  scene.server.password = 'another'
  scene.server.throwOut()
  const error = await scene.supervisor.stopped
  t.match(error, { kind: 'refused', code: 'AUTH_REFUSED', step: 'auth' })
  t.equal(await sink.end, 'error')
  t.equal(scene.events.filter((e) => e.type === 'connecting').length, 2, 'it was tried once')
  await t.rejects(scene.supervisor.whenUp(), { code: 'tunnel-down' })
})

t.test('a password refused in the open link is the end too', async (t) => {
  const scene = await Scene.start(t)
  const stopped = scene.next('stopped')
  const refusal = text('E=691 R=0 V=3 M=Access denied')
  scene.server.say(packet(`chap challenge 77 10 ${MSCHAPV2.challenge}`), packet(`chap failure 77 ${refusal}`))
  await stopped
  t.match(scene.last('stopped')?.error, {
    code: 'AUTH_REFUSED',
    kind: 'refused',
    message: /wrong user name or/,
  })
  t.equal(scene.server.ups, 1)
  t.equal(scene.events.filter(({ type }) => type === 'connecting').length, 1, 'no other call')
})

t.test('a one-time password refused in the open link: the next call asks for another', async (t) => {
  let asked = 0
  const scene = await Scene.start(t, {
    askPassword: async () => {
      asked++
      return PASSWORD
    },
  })
  const ready = scene.next('ready')
  const refusal = text('E=691 R=0 V=3 M=Access denied')
  scene.server.say(packet(`chap challenge 77 10 ${MSCHAPV2.challenge}`), packet(`chap failure 77 ${refusal}`))
  await ready
  t.match(scene.last('disconnected')?.error, { code: 'AUTH_REFUSED', kind: 'lost' })
  t.equal(asked, 2)
})

t.test('a peer that is frozen is noticed, and connections outlive it', async (t) => {
  const times = { idle: 150, unanswered: 80, patience: 250, probe: 100 }
  const rare = { ...times, idle: 60_000 }
  // Silence is counted from what was heard last, which may be a little before the freeze.
  const stated = { idle: 150 + 250, busy: 110 + 80 + 250, probed: 100 }
  for (const how of ['idle', 'busy', 'probed'] as const) {
    const keepAlive = how === 'idle' ? times : rare
    const scene = await Scene.start(t, { keepAlive }, (server) => relayPort(() => server.port))
    const { socket } = await scene.socks(ECHO)
    const sink = new Sink(socket)
    socket.write('before')
    await sink.at(6)
    const gone = scene.next('disconnected')
    const ready = scene.next('ready')
    const began = performance.now()
    scene.relay?.freeze()
    if (how === 'busy') setTimeout(() => socket.write('behind'), 110)
    if (how === 'probed') scene.supervisor.disturb('network')
    await gone
    const ms = performance.now() - began
    t.match(scene.last('disconnected'), { error: { code: 'PEER_SILENT', kind: 'lost' } })
    t.ok(
      ms > stated[how] - (how === 'idle' ? 150 : 5) && ms < stated[how] + 2000,
      `${how}: ${ms} ms of ${stated[how]}`,
    )
    await ready
    if (how !== 'busy') socket.write('behind')
    await sink.at(12)
    t.equal(sink.whole.toString(), 'beforebehind', how)
    socket.destroy()
    await scene.close()
  }
})

t.test('connections that are asked for in the gap', async (t) => {
  const scene = await Scene.start(t, { reconnectWait: 5000 })
  const gone = scene.next('disconnected')
  await scene.server.kill()
  await gone
  const asked = [scene.socks(ECHO), scene.socks(SOURCE)]
  scene.server.host.size = 1000
  await scene.next('reconnecting')
  const ready = scene.next('ready')
  await scene.server.listen()
  await ready
  for (const { reply, socket } of await Promise.all(asked)) {
    t.equal(reply, 0)
    socket.destroy()
  }

  const short = await Scene.start(t, { reconnectWait: 50 })
  const lost = short.next('disconnected')
  await short.server.kill()
  // Before it is known, a connection would be asked for of the call that is dead.
  await lost
  const { reply } = await short.socks(ECHO)
  t.equal(reply, 3, 'network unreachable')
})

t.test('the end on request while the server does not answer takes less than 3 s', async (t) => {
  // Frozen in the open call: nobody answers the farewell.
  const open = await Scene.start(t, {}, (server) => relayPort(() => server.port))
  open.relay?.freeze()
  t.ok(await inTime(open.supervisor.close(), 3000), 'ready')
  t.equal(await open.supervisor.stopped, undefined)

  // Frozen in an attempt: TCP is there, and nothing else.
  const trying = await Scene.start(t, {}, (server) => relayPort(() => server.port))
  if (trying.relay !== undefined) trying.relay.frozen = true
  const attempt = trying.next('connecting')
  await trying.server.kill()
  await attempt
  t.ok(await inTime(trying.supervisor.close(), 3000), 'connecting')
  t.equal(await trying.supervisor.stopped, undefined)
})

t.test('thrown out again and again: refused with advice', async (t) => {
  const scene = await Scene.start(t)
  const thrown = (async () => {
    for (;;) {
      const ready = scene.next('ready')
      scene.server.throwOut()
      await Promise.race([ready, scene.supervisor.stopped])
      if (scene.supervisor.state === 'stopped') return
    }
  })()
  t.match(await scene.supervisor.stopped, { kind: 'lost', code: 'FLAPPING', hint: /account of its own/ })
  await thrown
  t.equal(scene.server.ups, 4)
})
