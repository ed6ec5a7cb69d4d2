import t from 'tap'
import { Debts, LoginGuard } from '../../src/gateway/login-guard.js'

const MINUTE = 60_000

t.test('an address has ten tries, then one a minute', (t) => {
  const guard = new LoginGuard()
  const outcomes = Array.from({ length: 12 }, (_, i) => guard.tried('192.0.2.1', `user${i}`, 1000))
  t.same(outcomes.slice(0, 10), new Array(10).fill(undefined))
  t.same(outcomes.slice(10), ['address', 'address'])
  t.notOk(guard.mayConnect('192.0.2.1', 1000), 'it need not come at all')
  t.ok(guard.mayConnect('192.0.2.2', 1000), 'others may')
  t.notOk(guard.mayConnect('192.0.2.1', 1000 + MINUTE - 1))
  t.ok(guard.mayConnect('192.0.2.1', 1000 + MINUTE))
  t.equal(guard.tried('192.0.2.1', 'x', 1000 + MINUTE), undefined)
  t.equal(guard.tried('192.0.2.1', 'x', 1000 + MINUTE), 'address')
  t.equal(guard.tried('192.0.2.1', 'x', 1000 + 20 * MINUTE), undefined, 'nothing lasts for ever')
  t.end()
})

t.test('right passwords cost nothing', (t) => {
  const guard = new LoginGuard(2)
  for (let i = 0; i < 100; i++) {
    t.equal(guard.tried('192.0.2.1', `user${i}`, 5), undefined)
    guard.succeeded('192.0.2.1', `user${i}`, 5)
  }
  t.end()
})

t.test('a success does not wipe out the failures before it', (t) => {
  const guard = new LoginGuard(3)
  t.equal(guard.tried('192.0.2.1', 'mallory', 0), undefined)
  guard.succeeded('192.0.2.1', 'mallory', 0)
  for (let i = 0; i < 3; i++) {
    t.equal(guard.tried('192.0.2.1', 'alice', 0), undefined)
    t.equal(guard.tried('192.0.2.1', 'mallory', 0), undefined)
    guard.succeeded('192.0.2.1', 'mallory', 0)
  }
  t.equal(guard.tried('192.0.2.1', 'alice', 0), 'address')
  t.equal(guard.tried('192.0.2.1', 'mallory', 0), undefined, 'who has signed in from there still does')
  t.end()
})

t.test(
  'many addresses share the tries at one account; where its user has been before he still gets in',
  (t) => {
    const guard = new LoginGuard(10)
    guard.tried('198.51.100.1', 'alice', 0)
    guard.succeeded('198.51.100.1', 'alice', 0)
    let seen = 0
    for (let i = 0; i < 500; i++)
      if (guard.tried(`192.0.2.${i}`, i % 2 ? 'Alice' : 'ALICE', 0) === undefined) seen++
    t.equal(seen, 20)
    t.equal(guard.tried('203.0.113.1', 'alice', 0), 'account')
    t.equal(guard.tried('203.0.113.1', 'bob', 0), undefined)
    t.equal(guard.tried('198.51.100.1', 'alice', 0), undefined, 'her own address')
    guard.succeeded('198.51.100.1', 'alice', 0)
    for (let i = 0; i < 30; i++) {
      // The attack goes on for an hour; hers is let in all the time.
      t.equal(guard.tried('198.51.100.1', 'alice', i * 2 * MINUTE), undefined)
      guard.tried('192.0.2.9', 'alice', i * 2 * MINUTE)
    }
    t.equal(
      guard.tried('203.0.113.9', 'alice', 65 * MINUTE),
      undefined,
      'and new addresses are, after the attack',
    )
    t.end()
  },
)

t.test('her own address has its bound too', (t) => {
  const guard = new LoginGuard(10)
  guard.tried('198.51.100.1', 'alice', 0)
  guard.succeeded('198.51.100.1', 'alice', 0)
  const outcomes = Array.from({ length: 11 }, () => guard.tried('198.51.100.1', 'alice', 0))
  t.same(outcomes.filter((o) => o === undefined).length, 10)
  t.end()
})

t.test('0 is no bound', (t) => {
  const guard = new LoginGuard(0)
  for (let i = 0; i < 1000; i++) guard.tried('192.0.2.1', 'alice', 0)
  t.ok(guard.mayConnect('192.0.2.1', 0))
  t.equal(guard.tried('192.0.2.1', 'alice', 0), undefined)
  t.end()
})

t.test('names from strangers are only names', (t) => {
  const guard = new LoginGuard(1)
  for (const name of ['__proto__', 'constructor', 'toString', '\u0000', '', 'x'.repeat(100_000)]) {
    t.equal(guard.tried(`address of ${name.slice(0, 9)}`, name, 0), undefined)
    guard.succeeded(`address of ${name.slice(0, 9)}`, name, 0)
  }
  t.end()
})

t.test('memory is bounded, and whoever owes most is forgotten last', (t) => {
  const debts = new Debts({ burst: 5, interval: 1000 }, 100)
  for (let i = 0; i < 5; i++) debts.charge('the one', 0)
  for (let i = 0; i < 100_000; i++) debts.charge(`crowd ${i}`, 1)
  t.equal(debts.size, 100)
  t.notOk(debts.allows('the one', 1))
  t.ok(debts.allows('the one', 1001))
  debts.refund('nobody', 5)
  for (let i = 0; i < 5; i++) debts.refund('the one', 5)
  t.ok(debts.allows('the one', 5))
  debts.charge('late', 1_000_000)
  t.equal(debts.size, 100, 'room was there')
  debts.charge('later', 1_000_000)
  t.equal(debts.size, 2, 'what is paid is forgotten')
  t.end()
})

t.test('a try that nobody could look at does not count', (t) => {
  const guard = new LoginGuard(2)
  for (let i = 0; i < 10; i++) {
    t.equal(guard.tried('192.0.2.1', 'alice', 0), undefined)
    guard.withdraw('192.0.2.1', 'alice', 0)
  }
  guard.tried('192.0.2.1', 'alice', 0)
  guard.succeeded('192.0.2.1', 'alice', 0)
  for (let i = 0; i < 10; i++) {
    t.equal(guard.tried('192.0.2.1', 'alice', 0), undefined, 'also where alice is known')
    guard.withdraw('192.0.2.1', 'alice', 0)
  }
  new LoginGuard(0).withdraw('192.0.2.1', 'alice', 0)
  t.end()
})
