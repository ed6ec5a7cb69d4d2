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

t.test('new quiet senders without end do not starve bulk, and bulk does not hold them up', async (t) => {
  const s = new Scheduler(3000)
  const bulk = new Sender(1, 1400, 100_000)
  s.schedule(bulk)
  run(s, 10)
  const sent: number[] = []
  for (let i = 0; i < 3000; i++) {
    s.schedule(new Sender(2, 1400, 1))
    sent.push(...run(s, 1))
  }
  const share = count(sent, 1) / sent.length
  t.ok(share > 0.08 && share < 0.15, `bulk got ${share}`)
  for (let i = 1; i < sent.length; i++) if (sent[i] === 1 && sent[i - 1] === 1) t.fail('two in a row')
})

t.test(
  'many small packets get no more than their share of octets, small retransmissions no less',
  async (t) => {
    const s = new Scheduler(3000)
    const all = [new Sender(1, 60, 1e6), ...[2, 3, 4].map((name) => new Sender(name, 1400, 1e6))]
    for (const e of all) s.schedule(e)
    const octets = new Map<number, number>()
    for (const name of run(s, 100_000)) {
      const size = all.find((e) => e.name === name)?.size ?? 0
      octets.set(name, (octets.get(name) ?? 0) + size)
    }
    const mean = [...octets.values()].reduce((a, b) => a + b) / 4
    for (const [name, o] of octets) t.ok(Math.abs(o - mean) < 0.02 * mean, `${name}: ${o / mean}`)
  },
)

t.test(
  'one question of a quiet sender waits for no bulk packet, however many bulk senders there are',
  async (t) => {
    const s = new Scheduler(3000)
    for (let i = 0; i < 64; i++) s.schedule(new Sender(1, 1400, 10_000))
    run(s, 1000)
    const quiet = new Sender(2, 80, 0)
    for (let i = 0; i < 100; i++) {
      quiet.packets = 1
      s.schedule(quiet)
      t.equal(run(s, 1)[0], 2)
      // Found empty, it waits behind bulk for once; after a while it is quiet again.
      run(s, 400)
    }
  },
)

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

/** The twin: the same rules with plain arrays, whose members are looked for one by one. */
class NaiveScheduler {
  private readonly quantum: number
  private readonly queues: Record<'prompt' | 'fresh' | 'bulk', Sender[]> = { prompt: [], fresh: [], bulk: [] }
  /** In the bulk queue, with an acknowledgement due. */
  private urgent: Sender[] = []
  private readonly credit = new Map<Sender, number>()

  constructor(quantum: number) {
    this.quantum = quantum
  }

  get idle(): boolean {
    const { prompt, fresh, bulk } = this.queues
    return prompt.length + fresh.length + bulk.length === 0
  }

  schedule(e: Sender): void {
    const { prompt, fresh, bulk } = this.queues
    if (![...prompt, ...fresh, ...bulk].includes(e)) {
      this.credit.set(e, this.quantum)
      ;(e.prompt ? prompt : fresh).push(e)
    } else if (e.prompt && bulk.includes(e) && !this.urgent.includes(e)) {
      this.urgent.push(e)
    }
  }

  unschedule(e: Sender): void {
    for (const name of ['prompt', 'fresh', 'bulk'] as const) {
      this.queues[name] = this.queues[name].filter((x) => x !== e)
    }
    this.urgent = this.urgent.filter((x) => x !== e)
  }

  private ahead = 0

  output(): number {
    const first = this.serve('prompt') || this.serveUrgent()
    if (first > 0) return first
    const bulkWaits = (): boolean => this.queues.bulk.length > 0
    for (const name of this.ahead >= 4 * this.quantum && bulkWaits()
      ? ['bulk']
      : (['fresh', 'bulk'] as const)) {
      const n = this.serve(name as 'fresh' | 'bulk')
      this.ahead =
        name === 'fresh' && n > 0 && bulkWaits() ? this.ahead + n : name === 'bulk' ? 0 : this.ahead
      if (n > 0) {
        if (name === 'fresh' && !bulkWaits()) this.ahead = 0
        return n
      }
    }
    return this.serve('fresh')
  }

  private serveUrgent(): number {
    while (this.urgent.length > 0) {
      const e = this.urgent.shift() as Sender
      const n = e.emit(buffer, 3, 0)
      this.spend(e, n)
      if (n > 0) return n
    }
    return 0
  }

  private serve(name: 'prompt' | 'fresh' | 'bulk'): number {
    for (let e = this.queues[name][0]; e !== undefined; e = this.queues[name][0]) {
      if ((this.credit.get(e) ?? 0) <= 0) {
        this.endTurn(e)
        continue
      }
      const n = e.emit(buffer, 3, 0)
      if (n === 0) {
        this.unschedule(e)
        if (name === 'fresh' && this.queues.bulk.length > 0) this.queues.bulk.push(e)
        continue
      }
      this.spend(e, n)
      if ((this.credit.get(e) ?? 0) <= 0) {
        this.endTurn(e)
      } else if (name === 'prompt') {
        this.unschedule(e)
        this.queues.fresh.push(e)
      }
      return n
    }
    return 0
  }

  private endTurn(e: Sender): void {
    const urgent = this.urgent.includes(e)
    this.unschedule(e)
    this.credit.set(e, (this.credit.get(e) ?? 0) + this.quantum)
    this.queues.bulk.push(e)
    if (urgent) this.schedule(e)
  }

  private spend(e: Sender, n: number): void {
    this.credit.set(e, (this.credit.get(e) ?? 0) - n)
  }
}

t.test('against the same rules with arrays', async (t) => {
  let packets = 0
  for (let seed = 1; seed <= 200; seed++) {
    const r = new SeededRandom(seed)
    const quantum = 500 + r.below(4000)
    const s = new Scheduler(quantum)
    const twin = new NaiveScheduler(quantum)
    const pairs = Array.from({ length: 8 }, (_, i) => {
      const size = 40 + r.below(1400)
      return [new Sender(i, size), new Sender(i, size)] as const
    })
    // Now and then an emitter finds out while it is asked that an acknowledgement is due, its own or another's.
    for (const [i, [ours, theirs]] of pairs.entries()) {
      const whose = pairs[(i * 3 + (i & 1)) % 8] as (typeof pairs)[number]
      ours.onEmit = () => {
        if (ours.asked % 5 !== 0) return
        whose[0].prompt = true
        s.schedule(whose[0])
      }
      theirs.onEmit = () => {
        if (theirs.asked % 5 !== 0) return
        whose[1].prompt = true
        twin.schedule(whose[1])
      }
    }
    for (let step = 0; step < 800; step++) {
      const [ours, theirs] = pairs[r.below(8)] as (typeof pairs)[number]
      const what = r.below(12)
      if (what < 5) {
        const more = r.below(5)
        const prompt = r.chance(0.3)
        for (const e of [ours, theirs]) {
          e.packets += more
          if (prompt) e.prompt = true
        }
        s.schedule(ours)
        twin.schedule(theirs)
      } else if (what < 6) {
        s.unschedule(ours)
        twin.unschedule(theirs)
      } else {
        const got = s.output(buffer, 3, 0)
        const name = buffer[3]
        const expected = twin.output()
        if (got !== expected || (got > 0 && name !== buffer[3])) {
          t.fail(`seed ${seed}, step ${step}: ${got} octets of ${name}, not ${expected} of ${buffer[3]}`)
          return
        }
        if (got > 0) packets++
      }
      if (s.idle !== twin.idle) t.fail(`seed ${seed}, step ${step}: idle`)
    }
  }
  t.ok(packets > 10_000, `${packets} packets in the same order`)
})
