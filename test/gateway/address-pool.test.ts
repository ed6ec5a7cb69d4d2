import fc from 'fast-check'
import t from 'tap'
import { AddressPool, PoolError } from '../../src/gateway/address-pool.js'

t.test('the first host is the gateway, network and broadcast stay out', async (t) => {
  const pool = new AddressPool('192.168.30.0/29')
  t.equal(pool.gateway, '192.168.30.1')
  t.equal(pool.cidr, '192.168.30.0/29')
  t.equal(pool.prefix, 29)
  t.equal(pool.size, 5)
  const taken = Array.from({ length: 5 }, () => pool.take())
  t.same(taken, ['192.168.30.2', '192.168.30.3', '192.168.30.4', '192.168.30.5', '192.168.30.6'])
  t.equal(pool.used, 5)
  t.equal(pool.take(), undefined, 'exhausted')
  t.equal(pool.release('192.168.30.4'), true)
  t.equal(pool.take(), '192.168.30.4')
})

t.test('addresses are handed out in turn: one given back rests', async (t) => {
  const pool = new AddressPool('10.0.0.0/29')
  t.equal(pool.take(), '10.0.0.2')
  t.equal(pool.release('10.0.0.2'), true)
  t.same(
    [pool.take(), pool.take(), pool.take(), pool.take(), pool.take(), pool.take()],
    ['10.0.0.3', '10.0.0.4', '10.0.0.5', '10.0.0.6', '10.0.0.2', undefined],
  )
})

t.test('small ranges', async (t) => {
  const four = new AddressPool('10.9.8.4/30')
  t.same([four.gateway, four.size, four.take(), four.take()], ['10.9.8.5', 1, '10.9.8.6', undefined])
  const two = new AddressPool('10.9.8.4/31')
  t.same([two.gateway, two.size, two.take(), two.take()], ['10.9.8.4', 1, '10.9.8.5', undefined])
  t.throws(() => new AddressPool('10.9.8.4/32'), { name: 'PoolError', code: 'POOL_TOO_SMALL' })
})

t.test('a wide range near the top of the address space', async (t) => {
  const pool = new AddressPool('223.0.0.0/8')
  t.equal(pool.gateway, '223.0.0.1')
  t.equal(pool.size, 2 ** 24 - 3)
  t.equal(pool.take(), '223.0.0.2')
})

t.test('release of what was not handed out', async (t) => {
  const pool = new AddressPool('10.0.0.0/24')
  for (const address of ['10.0.0.1', '10.0.0.2', '10.0.1.2', '', 'x', '::1', '010.0.0.2']) {
    t.equal(pool.release(address), false, address)
  }
  pool.take()
  t.equal(pool.release('10.0.0.2'), true)
  t.equal(pool.release('10.0.0.2'), false, 'twice')
})

t.test('what is no pool', async (t) => {
  const cases = {
    POOL_INVALID: [
      '',
      '10.0.0.0',
      '10.0.0.0/',
      '10.0.0.0/33',
      '10.0.0.0/7',
      '10.0.0.0/024',
      '10.0.0.0/24/1',
      '10.0.0.0/-1',
      '10.0.0/24',
      '10.0.0.0/ 24',
      '0x0a.0.0.0/24',
      '10.0.0.256/24',
      'fd00::/64',
      '10.0.0.5/24',
    ],
    POOL_NOT_UNICAST: ['0.0.0.0/24', '127.0.0.0/24', '224.0.0.0/24', '255.255.255.0/24'],
  }
  for (const [code, texts] of Object.entries(cases)) {
    for (const text of texts) {
      t.throws(() => new AddressPool(text), { name: 'PoolError', code }, JSON.stringify(text))
    }
  }
  t.throws(() => new AddressPool('10.0.0.5/24'), { message: /did you mean 10\.0\.0\.0\/24\?/ })
  t.ok(new PoolError('POOL_INVALID', 'x') instanceof Error)
})

t.test('agrees with a naive twin', async (t) => {
  const operation = fc.oneof(
    fc.constant({ type: 'take' as const }),
    fc.record({ type: fc.constant('release' as const), host: fc.integer({ min: 0, max: 17 }) }),
  )
  fc.assert(
    fc.property(
      fc.integer({ min: 28, max: 31 }),
      fc.array(operation, { maxLength: 60 }),
      (prefix, operations) => {
        const pool = new AddressPool(`10.1.2.16/${prefix}`)
        const twin = new Twin(16, prefix)
        if (pool.gateway !== twin.gateway) return false
        for (const operation of operations) {
          if (operation.type === 'take') {
            if (pool.take() !== twin.take()) return false
          } else {
            const address = `10.1.2.${16 + operation.host}`
            if (pool.release(address) !== twin.release(address)) return false
          }
          if (pool.used !== twin.taken.length) return false
        }
        return true
      },
    ),
    { seed: 20240501, numRuns: 500 },
  )
  t.pass('500 runs')
})

/** A queue of everything, walked from the front: slow and plain. */
class Twin {
  readonly gateway: string
  readonly order: string[]
  readonly taken: string[] = []
  constructor(from: number, prefix: number) {
    const all = Array.from({ length: 2 ** (32 - prefix) }, (_, index) => `10.1.2.${from + index}`)
    const hosts = prefix === 31 ? all : all.slice(1, -1)
    this.gateway = hosts[0] ?? ''
    this.order = hosts.slice(1)
  }
  take(): string | undefined {
    for (let tries = 0; tries < this.order.length; tries++) {
      const address = this.order.shift() ?? ''
      this.order.push(address)
      if (!this.taken.includes(address)) {
        this.taken.push(address)
        return address
      }
    }
    return undefined
  }
  release(address: string): boolean {
    const index = this.taken.indexOf(address)
    if (index >= 0) this.taken.splice(index, 1)
    return index >= 0
  }
}

t.test('a certain address', (t) => {
  const pool = new AddressPool('10.1.2.0/29')
  t.equal(pool.claim('10.1.2.3'), 'claimed')
  t.equal(pool.claim('10.1.2.3'), 'taken')
  t.same([pool.take(), pool.take()], ['10.1.2.2', '10.1.2.4'], 'it is not given out in turn')
  t.equal(pool.used, 3)
  for (const other of ['10.1.2.0', '10.1.2.1', '10.1.2.7', '10.1.2.8', '10.1.1.255', '::1', '']) {
    t.equal(pool.claim(other), 'outside', other)
  }
  t.ok(pool.release('10.1.2.3'))
  t.equal(pool.claim('10.1.2.3'), 'claimed')
  t.end()
})
