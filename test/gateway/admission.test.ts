import t from 'tap'
import { Admission, sourceOf } from '../../src/gateway/admission.js'
import { SeededRandom } from '../helpers/random.js'

t.test('one source has its share, and no more', (t) => {
  const door = new Admission<number>({ total: 10, perSource: 3 })
  const evicted: number[] = []
  const enter = (source: string, guest: number): boolean => door.enter(source, guest, (g) => evicted.push(g))
  t.same(
    [1, 2, 3, 4].map((n) => enter('a', n)),
    [true, true, true, false],
  )
  door.leave('a', 2)
  door.leave('a', 2)
  door.leave('nobody', 2)
  t.equal(door.size, 2)
  t.ok(enter('a', 5))
  t.same([...door], [1, 3, 5])
  t.same(evicted, [])
  t.end()
})

t.test('when all is full, a crowd makes room for a newcomer, its oldest first', (t) => {
  const door = new Admission<string>({ total: 6, perSource: 4 })
  const evicted: string[] = []
  const enter = (source: string, guest: string): boolean => door.enter(source, guest, (g) => evicted.push(g))
  for (const n of [1, 2, 3, 4]) enter('a', `a${n}`)
  for (const n of [1, 2]) enter('b', `b${n}`)
  t.ok(enter('c', 'c1'))
  t.same(evicted, ['a1'])
  t.ok(enter('c', 'c2'))
  t.same(evicted, ['a1', 'a2'])
  t.notOk(enter('c', 'c3'), 'all have two: nobody pushes anybody out')
  t.notOk(enter('d', 'd1') && evicted.length > 3, 'a fourth has one of a pair')
  t.equal(door.size, 6)
  t.end()
})

t.test('whatever comes and goes, the bounds hold and the count is right', (t) => {
  const random = new SeededRandom(7)
  const door = new Admission<number>({ total: 20, perSource: 6 })
  const inside = new Map<number, string>()
  for (let i = 0; i < 20_000; i++) {
    const source = `s${random.below(9)}`
    if (random.chance(0.6)) {
      const before = inside.size
      const ok = door.enter(source, i, (gone) => {
        if (!inside.delete(gone)) t.fail('evicted one that was not in')
      })
      if (ok) inside.set(i, source)
      if (!ok && before < 20 && [...inside.values()].filter((s) => s === source).length < 6) t.fail('refused')
    } else {
      const [guest] = [...inside.keys()].slice(random.below(inside.size))
      if (guest === undefined) continue
      door.leave(inside.get(guest) ?? '', guest)
      inside.delete(guest)
    }
    const counts = new Map<string, number>()
    for (const s of inside.values()) counts.set(s, (counts.get(s) ?? 0) + 1)
    if (door.size !== inside.size || door.size > 20 || Math.max(0, ...counts.values()) > 6) {
      t.fail(`step ${i}`)
      break
    }
  }
  t.same(new Set(door), new Set(inside.keys()))
  t.end()
})

t.test('what counts as one source', (t) => {
  t.equal(sourceOf('192.0.2.7'), '192.0.2.7')
  t.equal(sourceOf('::ffff:192.0.2.7'), '192.0.2.7')
  t.equal(sourceOf('2001:db8:1:2:3:4:5:6'), sourceOf('2001:db8:1:2::1'))
  t.not(sourceOf('2001:db8:1:2::1'), sourceOf('2001:db8:1:3::1'))
  t.equal(sourceOf('2001:0DB8:1:2:3:4:5:6'), '2001:db8:1:2::/64', 'as people write it (RFC 5952)')
  t.equal(sourceOf('2001:db8:0:1::5'), '2001:db8:0:1::/64')
  t.equal(sourceOf('fe80::1%eth0'), 'fe80::1', 'neighbours share one prefix: each counts for itself')
  t.not(sourceOf('fe80::1%eth0'), sourceOf('fe80::2%eth0'))
  t.equal(sourceOf('64:ff9b::192.0.2.7'), '192.0.2.7', 'behind a translator (RFC 6052)')
  t.equal(sourceOf('64:ff9b:1::7'), '64:ff9b:1::/64')
  t.equal(sourceOf('::1'), '::1')
  t.equal(sourceOf(undefined), '')
  t.equal(sourceOf('constructor'), '')
  t.end()
})
