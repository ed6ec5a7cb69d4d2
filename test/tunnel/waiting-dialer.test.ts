import t from 'tap'
import { DialError, type DialErrorCode, type Dialer } from '../../src/tunnel/dialer.js'
import { waitingDialer } from '../../src/tunnel/waiting-dialer.js'

/** What happens, in order; answers are errors of these codes, or none. */
function scene(gates: (DialErrorCode | undefined)[], answers: (DialErrorCode | undefined)[]) {
  const log: string[] = []
  const settle = (code: DialErrorCode | undefined): Promise<never> =>
    code === undefined ? (Promise.resolve() as Promise<never>) : Promise.reject(new DialError(code, code))
  const dialer: Dialer = {
    dial: (to) => {
      log.push(`dial ${to.host}`)
      return settle(answers.shift())
    },
    resolve: (host) => {
      log.push(`resolve ${host}`)
      return settle(answers.shift())
    },
    reverse: (address) => {
      log.push(`reverse ${address}`)
      return settle(answers.shift())
    },
    openDatagrams: () => {
      log.push('udp')
      throw new DialError('no-resources', 'none')
    },
    listen: ({ port }) => {
      log.push(`listen ${port}`)
      throw new DialError('no-resources', 'taken')
    },
  }
  const gate = {
    whenUp: (limit?: number, signal?: AbortSignal) => {
      log.push(`wait ${limit} ${signal === undefined ? 'plainly' : 'with a signal'}`)
      return settle(gates.shift())
    },
  }
  return { log, dialer: waitingDialer(gate, dialer) }
}

t.test('asks when the tunnel is up', async (t) => {
  const s = scene([], [])
  await s.dialer.dial({ host: 'a', port: 1 }, { signal: new AbortController().signal })
  await s.dialer.resolve('b')
  await s.dialer.reverse('192.0.2.1')
  t.throws(() => s.dialer.openDatagrams(), { code: 'no-resources' }, 'sockets wait for nothing')
  t.throws(() => s.dialer.listen({ port: 7 }), { code: 'no-resources' })
  t.same(s.log, [
    'wait undefined with a signal',
    'dial a',
    'wait undefined plainly',
    'resolve b',
    'wait undefined plainly',
    'reverse 192.0.2.1',
    'udp',
    'listen 7',
  ])
})

t.test('a tunnel that does not come up in time', async (t) => {
  const s = scene(['tunnel-reconnecting'], [])
  await t.rejects(s.dialer.dial({ host: 'a', port: 1 }), { code: 'tunnel-reconnecting' })
  t.same(s.log, ['wait undefined plainly'])
})

t.test('caught by the end of a call: asked once more, and only once', async (t) => {
  const good = scene([], ['tunnel-down'])
  await good.dialer.dial({ host: 'a', port: 1 })
  t.same(good.log, ['wait undefined plainly', 'dial a', 'wait undefined plainly', 'dial a'])
  const bad = scene([], ['tunnel-down', 'tunnel-down', undefined])
  await t.rejects(bad.dialer.resolve('a'), { code: 'tunnel-down' })
  const other = scene([], ['refused', undefined])
  await t.rejects(other.dialer.dial({ host: 'a', port: 1 }), { code: 'refused' }, 'anything else stands')
})
