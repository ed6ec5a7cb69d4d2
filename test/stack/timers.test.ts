import t from 'tap'
import { DeadlineHeap, Deadlines, type Timed } from '../../stack/timers.js'
import { SeededRandom } from '../helpers/random.js'

/** Where clocks may start: a process just up, one of days, the epoch in milliseconds, and fractions. */
const CLOCKS = [0, 1000.25, 2 ** 31 - 20, 2 ** 32 - 20, 1.8e12, 2 ** 52]

t.test('Deadlines against a map', async (t) => {
  for (const start of CLOCKS) {
    for (let seed = 1; seed <= 5; seed++) {
      const r = new SeededRandom(seed)
      const d = new Deadlines(6)
      const twin = new Map<number, number>()
      let now = start
      for (let step = 0; step < 500; step++) {
        const which = r.below(6)
        switch (r.below(6)) {
          case 0:
          case 1: {
            const when = now + r.below(50)
            d.set(which, when)
            twin.set(which, when)
            break
          }
          case 2:
            d.stop(which)
            twin.delete(which)
            break
          case 3: {
            const due = (twin.get(which) ?? Number.POSITIVE_INFINITY) <= now
            if (d.take(which, now) !== due) t.fail(`take, seed ${seed}, step ${step}`)
            if (due) twin.delete(which)
            break
          }
          case 4:
            now += r.below(30)
            break
          default:
            if (d.settle() !== Math.min(...twin.values())) t.fail(`settle, seed ${seed}, step ${step}`)
            if (r.chance(0.05)) {
              d.clear()
              twin.clear()
            }
        }
        for (let i = 0; i < 6; i++) {
          if (d.isSet(i) !== twin.has(i)) t.fail('isSet')
          if (d.get(i) !== (twin.get(i) ?? Number.POSITIVE_INFINITY)) t.fail('get')
        }
        if (d.next > Math.min(...twin.values())) t.fail(`late: seed ${seed}, step ${step}`)
      }
    }
  }
  t.pass('never late')
})

class Item implements Timed {
  heapIndex = -1
  heapKey = 0
  readonly name: number
  constructor(name: number) {
    this.name = name
  }
}

t.test('DeadlineHeap against a sorted list', async (t) => {
  for (const start of CLOCKS) {
    for (let seed = 1; seed <= 5; seed++) {
      const r = new SeededRandom(seed)
      const heap = new DeadlineHeap<Item>()
      const items = Array.from({ length: 40 }, (_, i) => new Item(i))
      const twin = new Map<Item, number>()
      let now = start
      for (let step = 0; step < 1500; step++) {
        const item = items[r.below(items.length)] as Item
        switch (r.below(5)) {
          case 0:
          case 1: {
            const when = r.chance(0.05) ? Number.POSITIVE_INFINITY : now + r.below(100)
            heap.advance(item, when)
            const old = twin.get(item)
            if (when < (old ?? Number.POSITIVE_INFINITY)) twin.set(item, when)
            break
          }
          case 2:
            heap.remove(item)
            twin.delete(item)
            break
          case 3: {
            const first = heap.pop(now)
            const least = Math.min(...twin.values())
            if (first === undefined) {
              if (least <= now) t.fail(`nothing at ${now}, though ${least} is due`)
            } else {
              if (twin.get(first) !== least || least > now) t.fail('not the first')
              if (first.heapIndex !== -1) t.fail('still marked')
              twin.delete(first)
            }
            break
          }
          default:
            now += r.below(20)
        }
        if (heap.size !== twin.size) t.fail('size')
        if (heap.next !== Math.min(...twin.values())) t.fail(`next: seed ${seed}, step ${step}`)
        for (const i of items) {
          if (i.heapIndex >= 0 !== twin.has(i)) t.fail('membership')
          if (twin.has(i) && i.heapKey !== twin.get(i)) t.fail('key')
        }
      }
    }
  }
  t.pass('the same throughout')
})

t.test('a later time does not move an item; it is left to be found out', async (t) => {
  const heap = new DeadlineHeap<Item>()
  const item = new Item(0)
  heap.advance(item, 10)
  heap.advance(item, 20)
  t.equal(heap.next, 10)
  heap.advance(item, Number.POSITIVE_INFINITY)
  t.equal(heap.next, 10)
  t.equal(heap.pop(9), undefined)
  t.equal(heap.pop(10), item)
  t.equal(heap.next, Number.POSITIVE_INFINITY)
  heap.remove(item)
  t.equal(heap.size, 0, 'removing what is not in it changes nothing')
})
