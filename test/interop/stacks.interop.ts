/**
 * Our stack with stacks that others wrote: smoltcp and lwIP, each in a process that takes its clock from the
 * test, so that loss and reordering are the same in every run. bench/stacks/README.md has the protocol.
 */
import t, { type Test } from 'tap'
import type { EchoReply } from '../../stack/index.js'
import { build } from './stacks/build.js'
import { pattern } from './stacks/pattern.js'
import { addressOf, World, type WorldOptions } from './stacks/world.js'

const MIB = 2 ** 20
const PORT = 4000

const peers = [
  // It has no fragments of IPv6.
  { name: 'smoltcp', program: await build('smoltcp'), fragments: [4] },
  { name: 'lwIP', program: await build('lwip'), fragments: [4, 6] },
]

/** 2 % of the packets are lost, 3 % overtaken; each way, 10 ms long. */
const rough = { delay: 10, loss: 0.02, reorder: 0.03 }
const clean = { delay: 10 }
const base = {
  family: 4,
  port: PORT,
  bytes: MIB,
  start: 'at-once',
  rate: 0,
  window: MIB,
  ours: { bytes: MIB, start: 'at-once' },
} as const

/** Runs a transfer to its end on both sides and checks that nothing was lost, spoilt or left behind. */
async function transfer(t: Test, options: WorldOptions): Promise<World> {
  const began = performance.now()
  const world = new World(options)
  t.teardown(() => world.foreign.kill())
  const { stack, foreign } = world
  const { status } = foreign
  const finished = await world.run(() => world.ended && status.ended && status.finished)
  t.ok(finished, 'both sides have read all, and the other side’s end')
  t.equal(world.received, options.bytes, 'octets that we read')
  t.equal(status.received, options.ours.bytes, 'octets that the other side read')
  t.notOk(world.corrupt, 'we read what was sent')
  t.notOk(status.corrupt, 'and so did the other side')
  t.ok(await world.run(() => world.closed && status.gone), 'both connections come to their end')
  await world.run(() => stack.held.connections === 0, 120_000)
  const { connections, bytes } = stack.held
  t.strictSame({ connections, bytes }, { connections: 0, bytes: 0 }, 'we hold nothing any more')
  t.equal(world.connection?.error, undefined, 'no error')
  t.notOk(status.reset, 'nor on the other side')
  t.equal(world.resets + stack.counters.resetsReceived, 0, 'without resets')
  t.equal(stack.counters.malformed + stack.counters.unwanted, 0, 'we understood every packet')
  t.equal(await foreign.close(), 0, 'the other side ends well')
  const { retransmissions, timeouts } = stack.counters
  const seconds = (at: number) => ((at - 1000) / 1000).toFixed(1)
  const lost = world.ab.lost + world.ba.lost
  const ms = Math.round(performance.now() - began)
  t.comment(
    `ours took ${seconds(world.oursDone)} s, the other’s ${seconds(world.theirsDone)} s of virtual time;`,
    `${ms} ms, ${foreign.steps} exchanges; of ${lost} packets lost we sent ${retransmissions} again, ${timeouts} time-outs`,
  )
  return world
}

for (const { name, program, fragments } of peers) {
  t.test(name, async (t) => {
    let seed = 41
    for (const family of [4, 6] as const) {
      for (const role of ['listen', 'connect'] as const) {
        t.test(`8 MiB both ways at once, IPv${family}, it ${role}s, with loss and reordering`, async (t) => {
          const ours = { bytes: 8 * MIB, start: 'at-once' } as const
          const bytes = 8 * MIB
          const o = { ...base, program, role, family, bytes, ours, link: rough, seed: seed++ }
          const { stack, ab, ba } = await transfer(t, o)
          t.ok(ab.lost > 100 && ba.lost > 100, 'packets were lost both ways')
          t.ok(stack.counters.retransmissions >= 100, 'and sent again')
        })
      }
    }

    for (const role of ['listen', 'connect'] as const) {
      t.test(`half-close, it ${role}s: the answer goes out when the question has ended`, async (t) => {
        const link = rough
        await t.test('we ask', (t) =>
          transfer(t, { ...base, program, role, start: 'after', link, seed: seed++ }),
        )
        const ours = { bytes: MIB, start: 'after' } as const
        await t.test('it asks', (t) => transfer(t, { ...base, program, role, ours, link, seed: seed++ }))
      })

      t.test(`nothing but ends, it ${role}s`, async (t) => {
        const ours = { bytes: 0, start: 'at-once' } as const
        await transfer(t, { ...base, program, role, bytes: 0, ours, link: rough, seed: seed++ })
      })
    }

    t.test('small windows', async (t) => {
      const limits = { receiveBuffer: 4096, receiveBufferMax: 4096 }
      const o = {
        ...base,
        program,
        role: 'listen',
        window: 4096,
        limits,
        bytes: MIB / 4,
        seed: seed++,
      } as const
      const ours = { bytes: MIB / 4, start: 'at-once' } as const
      await t.test('clean', (t) => transfer(t, { ...o, ours, link: clean }))
      await t.test('with loss', (t) => transfer(t, { ...o, ours, link: rough }))
    })

    t.test('slow readers: windows close and open again', async (t) => {
      const slow = { bytes: MIB, start: 'at-once', rate: 100 } as const
      const o = { ...base, program, role: 'connect' } as const
      await t.test('ours', (t) => transfer(t, { ...o, ours: slow, link: rough, seed: seed++ }))
      await t.test('the other', (t) => transfer(t, { ...o, rate: 100, link: rough, seed: seed++ }))
      const bytes = 192 * 1024
      const limits = { receiveBuffer: 8192, receiveBufferMax: 8192 }
      const both = {
        ...o,
        bytes,
        rate: 20,
        window: 8192,
        limits,
        ours: { bytes, start: 'at-once', rate: 20 },
      } as const
      const link = { delay: 10, loss: 0.1 }
      await t.test('both, 10 % loss', (t) => transfer(t, { ...both, link, seed: seed++ }))
    })

    t.test('a window that opens when nobody hears it: probes find out', async (t) => {
      const limits = { receiveBuffer: 8192, receiveBufferMax: 8192 }
      const link = { delay: 10, deaf: 30_000 }
      const o = { ...base, program, role: 'connect', window: 8192, limits, link } as const
      await t.test('ours', async (t) => {
        const ours = { bytes: 0, start: 'at-once', pause: 20_000 } as const
        const { ab } = await transfer(t, { ...o, ours, seed: seed++ })
        t.ok(ab.closed < 15_000 && ab.lost > 0, 'the window was closed, and what opened it was lost')
      })
      await t.test('the other', async (t) => {
        const { ba } = await transfer(t, { ...o, bytes: 0, pause: 20_000, seed: seed++ })
        t.ok(ba.closed < 15_000 && ba.lost > 0, 'the window was closed, and what opened it was lost')
      })
    })

    t.test('an hour of silence, with keep-alive probes', async (t) => {
      const ours = { bytes: 1000, start: 'at-once', delay: 3_600_000 } as const
      const o = { ...base, program, role: 'listen', start: 'after', ours, link: clean, seed: seed++ } as const
      const { stack } = await transfer(t, { ...o, keepAlive: 60_000 })
      t.ok(stack.counters.segmentsOut > 60, 'probes went out')
      t.equal(stack.counters.timeouts, 0, 'and were answered')
    })

    t.test('echoes, whole and in fragments', async (t) => {
      for (const family of [4, 6] as const) {
        const o = { ...base, program, family, role: 'listen', link: { delay: 10, reorder: 0.5 } } as const
        const world = new World({ ...o, seed: seed++, dial: false })
        t.teardown(() => world.foreign.kill())
        const ping = world.stack.openPing()
        const to = addressOf(family === 4 ? '10.0.0.2' : 'fd00::2')
        const whole = [0, 1, 1000, family === 4 ? 1372 : 1352]
        const large = fragments.includes(family) ? [1353, 1373, 2000, 4001, 6000] : []
        for (const [sequence, length] of [...whole, ...large].entries()) {
          const data = pattern(world.now).subarray(0, length)
          t.equal(ping?.send(to, sequence, data), undefined)
          let reply: EchoReply | undefined
          await world.run(() => (reply = ping?.receive()) !== undefined, 2000)
          t.equal(reply?.sequence, sequence, `${length} octets, IPv${family}: an answer`)
          t.ok(Buffer.compare(reply?.data ?? Buffer.of(), data) === 0, 'with the same octets')
        }
        const { fragmented, reassembled } = world.stack.counters
        t.strictSame([fragmented > 0, reassembled > 0], Array(2).fill(large.length > 0), 'some in fragments')
        t.equal(world.stack.held.bytes, 0, 'nothing is left')
        t.equal(await world.foreign.close(), 0)
      }
    })

    t.test('packets twice, out of order and spoilt', async (t) => {
      const link = { delay: 10, reorder: 0.05, duplicate: 0.05, corrupt: 0.02 }
      const world = new World({ ...base, program, role: 'listen', link, seed: seed++ })
      t.teardown(() => world.foreign.kill())
      const { status } = world.foreign
      t.ok(await world.run(() => world.ended && status.ended), 'the transfer ends')
      t.notOk(world.corrupt || status.corrupt, 'and nothing of the damage came through')
      t.strictSame([world.received, status.received], [MIB, MIB], 'whole')
      t.ok(world.stack.counters.checksumErrors > 10, 'though packets were spoilt')
      t.equal(await world.foreign.close(), 0)
    })

    t.test('aborts', async (t) => {
      const o = { ...base, program, role: 'listen', bytes: 64 * MIB, link: clean, seed: seed++ } as const
      await t.test('ours', async (t) => {
        const world = new World(o)
        t.teardown(() => world.foreign.kill())
        await world.run(() => world.received > MIB / 2)
        world.connection?.abort()
        t.ok(await world.run(() => world.foreign.status.reset, 1000), 'the other side sees the reset')
        t.strictSame(world.stack.held.connections, 0, 'nothing is left')
        t.equal(await world.foreign.close(), 0)
      })
      await t.test('the other', async (t) => {
        const world = new World(o)
        t.teardown(() => world.foreign.kill())
        await world.run(() => world.received > MIB / 2)
        await world.abort()
        t.ok(await world.run(() => world.closed, 1000), 'we see the reset')
        t.equal(world.connection?.error, 'reset')
        t.strictSame(world.stack.held.connections, 0, 'nothing is left')
        t.equal(await world.foreign.close(), 0)
      })
    })

    t.test('a port where nobody listens', async (t) => {
      for (const family of [4, 6] as const) {
        const o = { ...base, program, family, link: clean, seed: seed++, ourPort: PORT + 1 }
        const there = new World({ ...o, role: 'listen' })
        t.teardown(() => there.foreign.kill())
        t.ok(await there.run(() => there.closed, 1000), 'there: the connection ends')
        t.equal(there.connection?.error, 'refused')
        t.notOk(there.foreign.status.connected)
        const here = new World({ ...o, role: 'connect' })
        t.teardown(() => here.foreign.kill())
        t.ok(await here.run(() => here.foreign.status.reset, 1000), 'here: the other side is refused')
        t.equal(here.stack.counters.resetsSent, 1)
        for (const world of [there, here]) {
          t.equal(world.stack.held.connections, 0, 'nothing is left')
          t.equal(await world.foreign.close(), 0)
        }
      }
    })
  })
}
