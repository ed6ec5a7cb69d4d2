/** RFC 8305 in virtual time: who is dialled when, who wins, who is called off. */
import type { LookupAddress } from 'node:dns'
import t from 'tap'
import { AddressesError, interleave, raceAddresses, type Timers } from '../../src/transport/happy-eyeballs.js'
import { explainConnect } from '../../src/transport/network-errors.js'
import { dialTcp } from '../../src/transport/tcp.js'
import { SeededRandom } from '../helpers/random.js'
import { closedPort, tcpServer } from '../helpers/servers.js'

const six = (n: number): LookupAddress => ({ address: `2001:db8::${n}`, family: 6 })
const four = (n: number): LookupAddress => ({ address: `192.0.2.${n}`, family: 4 })
const failed = (code: string): NodeJS.ErrnoException => Object.assign(new Error(code), { code })

/** What an address does: answers, or fails with a code, after so many milliseconds; or never does. */
type Fate = { readonly after: number; readonly code?: string } | undefined

class Race implements Timers {
  now = 0
  readonly log: string[] = []
  live = 0
  private readonly due = new Map<number, { readonly at: number; readonly callback: () => void }>()
  private next = 0
  private readonly fates: ReadonlyMap<string, Fate>

  constructor(fates: Readonly<Record<string, Fate>>) {
    this.fates = new Map(Object.entries(fates))
  }

  set(callback: () => void, ms: number): number {
    this.due.set(++this.next, { at: this.now + ms, callback })
    return this.next
  }

  clear(timer: unknown): void {
    this.due.delete(timer as number)
  }

  get timers(): number {
    return this.due.size
  }

  /** The attempts as the race sees them. */
  readonly dial = (to: LookupAddress, done: (e: NodeJS.ErrnoException | undefined, c?: string) => void) => {
    this.log.push(`${this.now} dial ${to.address}`)
    this.live++
    const fate = this.fates.get(to.address)
    const end = (): void => {
      this.live--
      const code = fate?.code
      this.log.push(`${this.now} ${code ?? 'up'} ${to.address}`)
      done(code === undefined ? undefined : failed(code), to.address)
    }
    const timer = fate === undefined ? undefined : this.set(end, fate.after)
    return () => {
      this.live--
      this.log.push(`${this.now} off ${to.address}`)
      this.clear(timer)
    }
  }

  /** Lets time pass until nothing is due. */
  async run<T>(race: Promise<T>): Promise<T> {
    let over = false
    const done = (): void => {
      over = true
    }
    race.then(done, done)
    for (;;) {
      for (let i = 0; i < 5; i++) await Promise.resolve()
      const [first] = [...this.due].sort(([i, a], [j, b]) => a.at - b.at || i - j)
      if (over || first === undefined) return race
      this.due.delete(first[0])
      this.now = first[1].at
      first[1].callback()
    }
  }
}

function race(
  addresses: LookupAddress[],
  fates: Record<string, Fate>,
  signal = new AbortController().signal,
): { world: Race; result: Promise<string> } {
  const world = new Race(fates)
  const { dial } = world
  return { world, result: world.run(raceAddresses<string>({ addresses, dial, signal, timers: world })) }
}

t.test('families take turns, beginning with the favourite; doubles are left out', async (t) => {
  const order = (list: LookupAddress[]) =>
    interleave(list).map((a) => a.address.replace(/^.*[.:]/, `${a.family}-`))
  t.same(order([six(1), six(2), four(1), four(2)]), ['6-1', '4-1', '6-2', '4-2'])
  t.same(order([four(1), six(1), six(2), six(3)]), ['4-1', '6-1', '6-2', '6-3'])
  t.same(order([six(1), six(1), four(1), six(1)]), ['6-1', '4-1'])
  t.same(order([]), [])
  t.equal(interleave(Array.from({ length: 300 }, (_, i) => four(i))).length, 16)
})

t.test('the favourite answers in time: nobody else is bothered', async (t) => {
  const { world, result } = race([six(1), four(1)], {
    '2001:db8::1': { after: 249 },
    '192.0.2.1': { after: 1 },
  })
  t.equal(await result, '2001:db8::1')
  t.same(world.log, ['0 dial 2001:db8::1', '249 up 2001:db8::1'])
  t.equal(world.timers, 0)
})

t.test('a favourite that is silent is overtaken after 250 ms, and called off', async (t) => {
  const { world, result } = race([six(1), four(1), six(2)], { '192.0.2.1': { after: 30 } })
  t.equal(await result, '192.0.2.1')
  t.same(world.log, ['0 dial 2001:db8::1', '250 dial 192.0.2.1', '280 up 192.0.2.1', '280 off 2001:db8::1'])
  t.equal(world.timers, 0)
  t.equal(world.live, 0)
})

t.test('a slow one stays in the race', async (t) => {
  const { world, result } = race([six(1), four(1)], {
    '2001:db8::1': { after: 900 },
    '192.0.2.1': { after: 5000 },
  })
  t.equal(await result, '2001:db8::1')
  t.equal(world.now, 900)
  t.ok(world.log.includes('900 off 192.0.2.1'))
})

t.test('one that fails lets the next begin at once', async (t) => {
  const { world, result } = race([six(1), four(1), six(2), four(2)], {
    '2001:db8::1': { after: 3, code: 'ENETUNREACH' },
    '192.0.2.1': { after: 4, code: 'ECONNREFUSED' },
    '192.0.2.2': { after: 10 },
  })
  t.equal(await result, '192.0.2.2')
  t.same(world.log, [
    '0 dial 2001:db8::1',
    '3 ENETUNREACH 2001:db8::1',
    '3 dial 192.0.2.1',
    '7 ECONNREFUSED 192.0.2.1',
    '7 dial 2001:db8::2',
    '257 dial 192.0.2.2',
    '267 up 192.0.2.2',
    '267 off 2001:db8::2',
  ])
})

t.test('when all fail, all are told', async (t) => {
  const { world, result } = race([six(1), four(1), four(2)], {
    '2001:db8::1': { after: 400, code: 'ENETUNREACH' },
    '192.0.2.1': { after: 1, code: 'ECONNREFUSED' },
    '192.0.2.2': { after: 1000, code: 'ETIMEDOUT' },
  })
  const error = await result.then(
    () => undefined,
    (e: unknown) => e,
  )
  t.type(error, AddressesError)
  t.same(
    (error as AddressesError).failures.map((f) => [f.address, f.error.code]),
    [
      ['192.0.2.1', 'ECONNREFUSED'],
      ['2001:db8::1', 'ENETUNREACH'],
      ['192.0.2.2', 'ETIMEDOUT'],
    ],
  )
  t.equal(world.timers, 0)
  const told = explainConnect(error, 'vpn.example:443')
  t.match(told, { code: 'TCP_REFUSED', kind: 'unreachable', step: 'tcp' })
  t.equal(
    told.message,
    'nobody listens on vpn.example:443 (192.0.2.1: nobody listens; 2001:db8::1: no way there; 192.0.2.2: no answer)',
  )
  const one = new AddressesError([{ address: '192.0.2.1', error: failed('EHOSTUNREACH') }])
  t.equal(explainConnect(one, 'a:1').message, 'there is no way to a:1 (EHOSTUNREACH)')
  t.match(explainConnect(failed('EWHATEVER'), 'a:1'), {
    code: 'TCP_FAILED',
    message: 'cannot connect to a:1 (EWHATEVER)',
  })
  t.match(explainConnect(failed('ETIMEDOUT'), 'a:1'), { code: 'TCP_TIMEOUT', message: 'a:1 does not answer' })
  for (const code of ['ECONNREFUSED', 'ETIMEDOUT', 'EHOSTUNREACH', 'EACCES']) {
    t.match(explainConnect(failed(code), 'a:1').hint, /check/, `${code}: what helps is said`)
  }
})

t.test('giving up calls all off; no address is an error', async (t) => {
  const abort = new AbortController()
  const { world, result } = race([six(1), four(1)], { x: undefined }, abort.signal)
  await Promise.resolve()
  abort.abort(new Error('enough'))
  await t.rejects(result, { message: 'enough' })
  t.same(world.log, ['0 dial 2001:db8::1', '0 off 2001:db8::1'])
  t.equal(world.live, 0)
  t.equal(world.timers, 0)
  await t.rejects(race([six(1)], {}, AbortSignal.abort(new Error('late'))).result, { message: 'late' })
  await t.rejects(race([], {}).result, { name: 'AddressesError' })
})

t.test('an attempt that ends at once, before it can be called off', async (t) => {
  const signal = new AbortController().signal
  const timers = new Race({})
  const all = { addresses: [six(1), four(1)], signal, timers }
  const first = raceAddresses<string>({
    ...all,
    dial: (a, done) => {
      done(a.family === 6 ? failed('EINVAL') : undefined, 'four')
      return () => t.fail('it is over already')
    },
  })
  t.equal(await first, 'four')
  const dial = (_address: LookupAddress, done: (error: NodeJS.ErrnoException) => void) => {
    done(failed('EINVAL'))
    return () => {}
  }
  const both = await raceAddresses({ ...all, dial }).catch((error: unknown) => error)
  t.equal(both instanceof AddressesError && both.failures.length, 2)
  t.equal(timers.timers, 0)
})

t.test('any fates: the race ends, and nothing of it is left', async (t) => {
  const random = new SeededRandom(8305)
  for (let round = 0; round < 300; round++) {
    const addresses = Array.from({ length: 1 + random.below(6) }, (_, i) =>
      random.chance(0.5) ? six(i) : four(i),
    )
    const fates: Record<string, Fate> = {}
    for (const { address } of addresses) {
      const after = random.below(1000)
      fates[address] = random.chance(0.4) ? { after } : { after, code: 'ECONNREFUSED' }
    }
    const { world, result } = race(addresses, fates)
    const winner = await result.catch(() => undefined)
    const good = addresses.some(({ address }) => fates[address]?.code === undefined)
    t.equal(winner !== undefined, good)
    t.equal(world.live, 0)
    t.equal(world.timers, 0)
    const dials = world.log.filter((l) => l.includes('dial')).map((l) => l.split(' ')[2])
    t.equal(new Set(dials).size, dials.length, 'nobody is dialled twice')
  }
})

t.test('with real sockets: the one that listens is found', async (t) => {
  const server = await tcpServer(() => {})
  const signal = new AbortController().signal
  // 127.0.0.2 is this machine too, and nobody listens there.
  const addresses = [
    { address: '127.0.0.2', family: 4 },
    { address: '127.0.0.1', family: 4 },
  ]
  const socket = await dialTcp(addresses, server.port, signal)
  t.equal(socket.remoteAddress, '127.0.0.1')
  socket.destroy()
  await server.close()
  await t.rejects(dialTcp(addresses, await closedPort(), signal), {
    name: 'AddressesError',
    message: /^127\.0\.0\.2: .*ECONNREFUSED.*; 127\.0\.0\.1: /,
  })
})
