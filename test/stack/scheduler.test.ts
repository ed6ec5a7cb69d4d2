import t from 'tap'
import { type Emitter, Scheduler } from '../../stack/scheduler.js'
import { SeededRandom } from '../helpers/random.js'

/** Sends packets of one size while it has any; the first octet is its name. */
class Sender implements Emitter {
  prompt = false
  schedNext: Emitter | undefined
  schedPrev: Emitter | undefined
  schedQueue = 0
  schedCredit = 0
  packets = 0
  asked = 0
  readonly name: number
  readonly size: number
  onEmit: (() => void) | undefined

  constructor(name: number, size = 1000, packets = 0) {
    this.name = name
    this.size = size
    this.packets = packets
  }

  emit(dst: Uint8Array, off: number, _now: number): number {
    this.asked++
    this.onEmit?.()
    if (this.packets === 0) return 0
    this.packets--
    this.prompt = false
    dst[off] = this.name
    return this.size
  }
}

const buffer = new Uint8Array(2000)

/** Names of the senders of the next `n` packets, fewer if nobody has more. */
function run(s: Scheduler, n: number): number[] {
  const out: number[] = []
  while (out.length < n) {
    const got = s.output(buffer, 3, 0)
    if (got === 0) break
    out.push(buffer[3] as number)
  }
  return out
}

const count = (list: readonly number[], name: number): number => list.filter((x) => x === name).length

t.test('nothing to do', async (t) => {
  const s = new Scheduler()
  t.equal(s.idle, true)
  t.equal(s.output(buffer, 0, 0), 0)
  const e = new Sender(1)
  s.schedule(e)
  t.equal(s.idle, false)
  t.equal(s.output(buffer, 0, 0), 0)
  t.equal(s.idle, true, 'asked once, dropped')
  t.equal(e.asked, 1)
  t.equal(e.schedQueue, 0)
})

t.test('bulk senders take turns, by octets', async (t) => {
  const s = new Scheduler(3000)
  const a = new Sender(1, 1400, 10_000)
  const b = new Sender(2, 700, 10_000)
  const c = new Sender(3, 200, 10_000)
  for (const e of [a, b, c]) s.schedule(e)
  const sent = run(s, 2000)
  const octets = [a, b, c].map((e) => count(sent, e.name) * e.size)
  const mean = octets.reduce((x, y) => x + y) / 3
  for (const o of octets) t.ok(Math.abs(o - mean) < mean * 0.05, `${o} of ${mean}`)
  // And in short turns: nobody waits longer than the others' turns.
  let gap = 0
  let since = 0
  for (const name of sent.slice(100)) {
    since = name === 1 ? 0 : since + (name === 2 ? 700 : 200)
    gap = Math.max(gap, since)
  }
  t.ok(gap <= 2 * (3000 + 1400), `the longest wait was ${gap} octets`)
})

t.test('prompt first, then fresh, then bulk', async (t) => {
  const s = new Scheduler(3000)
  const bulk = [new Sender(1, 1400, 1000), new Sender(2, 1400, 1000)]
  for (const e of bulk) s.schedule(e)
  run(s, 20)
  const fresh = new Sender(3, 100, 2)
  s.schedule(fresh)
  const prompt = new Sender(4, 52, 1)
  prompt.prompt = true
  s.schedule(prompt)
  t.same(run(s, 3), [4, 3, 3])
  t.same(new Set(run(s, 8)), new Set([1, 2]))
})

t.test('a bulk sender with an acknowledgement due goes first, once', async (t) => {
  const s = new Scheduler(3000)
  const a = new Sender(1, 1400, 1000)
  const b = new Sender(2, 1400, 1000)
  s.schedule(a)
  s.schedule(b)
  run(s, 21)
  const waiting = (buffer[3] as number) === 1 ? b : a
  waiting.prompt = true
  s.schedule(waiting)
  t.equal(run(s, 1)[0], waiting.name)
})

t.test('acknowledgements neither buy nor cost a bulk sender its turns', async (t) => {
  for (const size of [1400, 1000, 300]) {
    for (const every of [2, 4, 8]) {
      const s = new Scheduler(3000)
      const a = new Sender(1, size, 10_000)
      const b = new Sender(2, size, 10_000)
      s.schedule(a)
      s.schedule(b)
      run(s, 40)
      const sent: number[] = []
      for (let i = 0; i < 1200; i++) {
        if (i % every === 0) {
          b.prompt = true
          s.schedule(b)
        }
        sent.push(...run(s, 1))
      }
      const share = count(sent, 1) / sent.length
      t.ok(share > 0.45 && share < 0.55, `${size} octets, every ${every}: ${share}`)
    }
  }
})

t.test('senders that are quiet between packets do not starve bulk: RFC 8290 4.2', async (t) => {
  const s = new Scheduler(3000)
  const bulk = new Sender(1, 1400, 10_000)
  s.schedule(bulk)
  run(s, 10)
  // Together they have a packet for every one that goes out; each is found empty again and again.
  const quiet = Array.from({ length: 8 }, (_, i) => new Sender(10 + i, 1400))
  const sent: number[] = []
  for (let i = 0; i < 900; i++) {
    for (const e of quiet) {
      if (e.packets > 0 || e.schedQueue === 2) continue
      e.packets = 1
      s.schedule(e)
    }
    sent.push(...run(s, 1))
  }
  const fair = 900 / 9
  t.ok(count(sent, 1) > 0.9 * fair, `bulk got ${count(sent, 1)} of 900`)
  for (const e of quiet) t.ok(count(sent, e.name) > fair / 2, `${e.name} got ${count(sent, e.name)}`)
})

t.test('removal in every place', async (t) => {
  for (const queue of ['prompt', 'fresh', 'bulk', 'urgent'] as const) {
    for (let place = 0; place < 4; place++) {
      const s = new Scheduler(1000)
      const all = [1, 2, 3, 4].map((name) => new Sender(name, 1000, 5))
      for (const e of all) {
        e.prompt = queue === 'prompt'
        s.schedule(e)
      }
      if (queue === 'bulk' || queue === 'urgent') run(s, 4)
      if (queue === 'urgent') {
        for (const e of all) {
          e.prompt = true
          s.schedule(e)
          s.schedule(e)
        }
      }
      const gone = all[place] as Sender
      s.unschedule(gone)
      t.equal(gone.schedQueue, 0)
      t.equal(gone.schedNext, undefined)
      t.equal(gone.schedPrev, undefined)
      s.unschedule(gone)
      const rest = [1, 2, 3, 4].filter((n) => n !== gone.name)
      t.same(run(s, 3).sort(), rest, `${queue}, place ${place}`)
      s.schedule(gone)
      t.equal(count(run(s, 100), gone.name), queue === 'bulk' || queue === 'urgent' ? 4 : 5, 'and back in')
      t.equal(s.idle, true)
    }
  }
})

t.test('an emitter that ends, or ends another, while it is asked', async (t) => {
  const s = new Scheduler(1000)
  const [a, b, c] = [new Sender(1, 1000, 3), new Sender(2, 1000, 3), new Sender(3, 1000, 3)]
  for (const e of [a, b, c]) s.schedule(e)
  a.onEmit = () => s.unschedule(a)
  t.equal(run(s, 1)[0], 1, 'its last packet still goes')
  b.onEmit = () => s.unschedule(c)
  t.same(run(s, 10), [2, 2, 2])
  t.equal(s.idle, true)
  const again = new Sender(4, 1000, 0)
  again.onEmit = () => s.unschedule(again)
  s.schedule(again)
  t.same(run(s, 1), [])
  t.equal(s.idle, true)
})

t.test('any sequence of operations: nobody is lost, nobody is asked for ever', async (t) => {
  for (let seed = 1; seed <= 20; seed++) {
    const r = new SeededRandom(seed)
    const s = new Scheduler(500 + r.below(4000))
    const all = Array.from({ length: 8 }, (_, i) => new Sender(i, 40 + r.below(1400)))
    for (let step = 0; step < 600; step++) {
      const e = all[r.below(8)] as Sender
      const what = r.below(10)
      if (what < 5) {
        e.packets += r.below(4)
        if (r.chance(0.3)) e.prompt = true
        s.schedule(e)
      } else if (what < 6) {
        s.unschedule(e)
        e.packets = 0
        e.prompt = false
      } else {
        run(s, r.below(5))
      }
      if (s.idle && all.some((x) => x.schedQueue !== 0)) t.fail('idle with somebody queued')
      if (all.some((x) => x.packets > 0 && x.schedQueue === 0)) t.fail(`seed ${seed}: somebody is lost`)
    }
    run(s, 1e6)
    t.equal(s.idle, true)
    t.ok(
      all.every((e) => e.packets === 0),
      `seed ${seed}`,
    )
  }
})
