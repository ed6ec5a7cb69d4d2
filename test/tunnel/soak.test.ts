/**
 * A server that is killed, frozen and restarted at random, with downloads through the proxy all the while. Each event
 * comes when so much has arrived, so that it takes as long as it takes. SOAK_SECONDS=300 makes a long one of it,
 * SOAK_SEED repeats one.
 */
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import t from 'tap'
import type { InnerNetwork } from '../../src/tunnel/inner.js'
import { openTunnel } from '../../src/tunnel/session.js'
import { SeededRandom } from '../helpers/random.js'
import { relayPort } from '../helpers/relay-port.js'
import { download, SOURCE } from '../helpers/routing-server.js'
import { Scene, Sink } from '../helpers/tunnel-scene.js'

const SECONDS = Number(process.env.SOAK_SECONDS ?? 0)
const SEED = Number(process.env.SOAK_SEED ?? 7)
const LEAST_EVENTS = 5
const SIZE = 600_000
const DOWNLOADERS = 3
const MIB = 2 ** 20
/** Milliseconds: SSTP's closing timers (3 s and 1 s), and whatever the machine has to do besides. */
const FAREWELLS = 15_000

setFlagsFromString('--expose-gc')
const gc = runInNewContext('gc') as () => void

/** Until what has ended is also closed: local ends and shutdowns take the system some turns. */
const settled = async (): Promise<void> => {
  for (let turn = 0; turn < 50; turn++) await new Promise((resolve) => setImmediate(resolve))
}

/** What this process holds: kinds of handles and timers, and octets. */
function held(): { readonly resources: Record<string, number>; readonly heap: number } {
  gc()
  const resources: Record<string, number> = {}
  for (const kind of process.getActiveResourcesInfo()) resources[kind] = (resources[kind] ?? 0) + 1
  const { heapUsed, arrayBuffers } = process.memoryUsage()
  return { resources, heap: heapUsed + arrayBuffers }
}

t.test('nothing leaks, and each download that ends is whole', async (t) => {
  t.comment(`SOAK_SEED=${SEED}`)
  const random = new SeededRandom(SEED)
  const before = held()
  let inner: InnerNetwork | undefined
  const scene = await Scene.start(
    t,
    {
      // Patient enough for a machine that has much else to do.
      keepAlive: { idle: 400, unanswered: 300, patience: 1200, probe: 800 },
      flapping: { times: Number.POSITIVE_INFINITY },
      open: (options, network) => {
        inner = network
        return openTunnel(options, network)
      },
    },
    (server) => relayPort(() => server.port),
  )
  const { server } = scene
  server.host.size = SIZE
  const whole = download(SIZE)
  let finished = 0
  let interrupted = 0
  let broken = 0
  let arrived = 0
  let wanted = 0
  let tell = (): void => {}
  let over = false

  async function downloads(): Promise<void> {
    while (!over) {
      const { socket, reply } = await scene.socks(SOURCE)
      const sink = new Sink(socket)
      if (reply !== 0) {
        socket.destroy()
        interrupted++
        continue
      }
      socket.on('data', (chunk: Buffer) => {
        arrived += chunk.length
        if (arrived >= wanted) tell()
      })
      if ((await sink.end) === 'error') interrupted++
      else if (sink.whole.equals(whole)) finished++
      else broken++
      socket.destroy()
    }
  }

  async function restart(): Promise<void> {
    await server.kill()
    while (scene.supervisor.state === 'ready') await scene.next('disconnected')
    const ready = scene.next('ready')
    await server.listen()
    await ready
  }

  const events: Readonly<Record<string, () => Promise<unknown>>> = {
    restart,
    'another address': () => {
      server.address = server.address === '10.77.0.2' ? '10.77.0.3' : '10.77.0.2'
      return restart()
    },
    frozen: () => {
      const ready = scene.next('ready')
      scene.relay?.freeze()
      return ready
    },
    'frozen and probed': () => {
      const ready = scene.next('ready')
      scene.relay?.freeze()
      scene.supervisor.disturb('network')
      return ready
    },
    'thrown out': () => {
      const ready = scene.next('ready')
      server.throwOut()
      return ready
    },
  }
  const names = Object.keys(events)
  const began = performance.now()
  const workers = Array.from({ length: DOWNLOADERS }, downloads)
  const counts: Record<string, number> = {}
  let warm: ReturnType<typeof held> | undefined
  let event = 0
  for (; event < LEAST_EVENTS || performance.now() - began < SECONDS * 1000; event++) {
    wanted = arrived + Math.round(3 * SIZE * random.next())
    await new Promise<void>((resolve) => {
      tell = resolve
    })
    await scene.supervisor.whenUp(Number.POSITIVE_INFINITY)
    // Each kind once at least.
    const name = names[event < names.length ? event : random.below(names.length)] ?? ''
    counts[name] = (counts[name] ?? 0) + 1
    await events[name]?.()
    if (event === 2) {
      await settled()
      warm = held()
    }
  }
  over = true
  await Promise.all(workers)
  await settled()
  const most = (kind: string): number => (warm?.resources[kind] ?? 0) + 2
  let last = held()
  const excess = (): boolean => Object.entries(last.resources).some(([kind, n]) => n > most(kind))
  // The farewell of the last call that was thrown out may still be under way.
  const patience = performance.now() + FAREWELLS
  while (excess() && performance.now() < patience) {
    await new Promise((resolve) => setTimeout(resolve, 50))
    last = held()
  }
  const growth = (last.heap - (warm?.heap ?? 0)) / MIB
  t.comment(`${Math.round((performance.now() - began) / 100) / 10} s: ${JSON.stringify(counts)}`)
  t.comment(`${finished} downloads finished, ${interrupted} were interrupted`)
  t.comment(`memory ${growth.toFixed(1)} MiB; ${JSON.stringify([warm?.resources, last.resources])}`)
  t.equal(broken, 0)
  t.ok(finished >= DOWNLOADERS / 2, 'enough were finished')
  t.ok(scene.events.filter((e) => e.type === 'disconnected').length >= event, 'each event was noticed')
  t.ok(growth < 16, `memory has grown by ${growth.toFixed(1)} MiB`)
  for (const [kind, n] of Object.entries(last.resources)) {
    t.ok(n <= most(kind), `${kind}: ${n}`)
  }
  const stack = inner?.stack
  t.ok(stack !== undefined && stack.held.bytes < MIB, 'what no connection uses is free')
  await scene.close()
  await scene.relay?.close()
  t.same(stack?.held.connections, 0)
  // The farewells of calls whose other end stood still may take their time, which is bounded.
  const farewell = performance.now() + FAREWELLS
  let end = held().resources
  const more = (kind: string): number => (end[kind] ?? 0) - (before.resources[kind] ?? 0)
  while ((more('Timeout') > 0 || more('TCPSocketWrap') > 0) && performance.now() < farewell) {
    await new Promise((resolve) => setTimeout(resolve, 50))
    end = held().resources
  }
  for (const kind of ['Timeout', 'TCPSocketWrap', 'TLSWrap', 'TCPServerWrap']) {
    t.equal(more(kind), 0, `${kind}: none is left`)
  }
})
