import t from 'tap'
import { Pulse } from '../../src/link/pulse.js'
import { KeepAlive, type KeepAliveTimes } from '../../src/tunnel/keep-alive.js'

/** A call in virtual time that says and hears what a test has it say and hear. */
class Line {
  now = 1000
  readonly pulse = new Pulse()
  readonly echoes: number[] = []
  /** When it was declared dead, and after which silence. */
  dead: { readonly at: number; readonly ms: number } | undefined
  /** Milliseconds until an echo is answered; undefined: never. */
  answers: number | undefined
  readonly keepAlive: KeepAlive
  private answerAt = Number.POSITIVE_INFINITY

  constructor(times?: Partial<KeepAliveTimes>) {
    this.keepAlive = new KeepAlive(
      {
        pulse: this.pulse,
        echo: () => {
          this.echoes.push(this.now)
          this.pulse.said(this.now)
          if (this.answers !== undefined) this.answerAt = this.now + this.answers
        },
        dead: (ms) => {
          this.dead = { at: this.now, ms }
        },
      },
      times,
    )
    this.pulse.heard(this.now)
    this.pulse.said(this.now)
    this.keepAlive.start()
  }

  /** Lets `ms` pass, on time; `each` is called every 100 ms. */
  pass(ms: number, each: (now: number) => void = () => {}): this {
    const end = this.now + ms
    let tick = this.now + 100
    while (this.now < end) {
      this.now = Math.min(end, tick, this.answerAt, Math.max(this.now, this.keepAlive.nextTimeout()))
      if (this.now >= this.answerAt) {
        this.answerAt = Number.POSITIVE_INFINITY
        this.pulse.heard(this.now)
      }
      if (this.now >= tick) {
        tick += 100
        each(this.now)
      }
      if (this.keepAlive.nextTimeout() <= this.now) this.keepAlive.handleTimeout(this.now)
    }
    return this
  }
}

t.test('an idle call: something is said at least every 8 s, and no more than that', async (t) => {
  const line = new Line()
  line.answers = 50
  line.pass(100_000)
  t.same(line.echoes.slice(0, 4), [9000, 17_000, 25_000, 33_000])
  t.equal(line.echoes.length, 12)
  t.equal(line.dead, undefined)
})

t.test('while both ends talk no echo is sent', async (t) => {
  const line = new Line()
  line.answers = 50
  line.pass(60_000, (now) => {
    line.pulse.heard(now)
    line.pulse.said(now)
  })
  t.same(line.echoes, [])
})

t.test('one end that talks alone', async (t) => {
  const listener = new Line()
  listener.answers = 50
  // A stream of datagrams that nobody answers: the server must hear of us all the same.
  listener.pass(60_000, (now) => listener.pulse.heard(now))
  t.same(listener.echoes.slice(0, 3), [9000, 17_000, 25_000])

  const speaker = new Line()
  speaker.answers = 50
  speaker.pass(1000).pass(60_000, (now) => speaker.pulse.said(now))
  t.equal(speaker.dead, undefined)
  const [first = 0, second = 0] = speaker.echoes
  t.equal(first, 5100, '3 s behind what was not answered')
  t.ok(second - first >= 3000 && second - first <= 3300, 'and no more often')

  const answerer = new Line()
  answerer.answers = 50
  answerer.pulse.heard(1000)
  answerer.pulse.said(1010)
  answerer.pass(7900)
  t.same(answerer.echoes, [], 'an acknowledgement waits for no answer')
})

t.test('a peer that falls silent is found dead in the stated time', async (t) => {
  const idle = new Line().pass(60_000)
  t.same(idle.echoes, [9000])
  t.same(idle.dead, { at: 19_000, ms: 18_000 }, 'idle: 18 s')

  const busy = new Line()
  busy.pass(1000)
  busy.pass(60_000, (now) => busy.pulse.said(now))
  t.same(busy.dead, { at: 15_100, ms: 14_100 }, 'with something to answer: 13 s')
  t.equal(busy.keepAlive.nextTimeout(), Number.POSITIVE_INFINITY, 'it is told once')

  const probed = new Line().pass(500)
  probed.keepAlive.probe(probed.now)
  probed.pass(60_000)
  t.same(probed.echoes, [1500])
  t.same(probed.dead, { at: 5500, ms: 4500 }, 'probed: 4 s')
})

t.test('a probe that is answered changes nothing', async (t) => {
  const line = new Line()
  line.answers = 3900
  line.keepAlive.probe(line.now)
  line.pass(10_000)
  t.equal(line.dead, undefined)
  t.same(line.echoes, [1000, 9000])
})

t.test('a probe shortens a wait that is on, and never lengthens it', async (t) => {
  const long = new Line().pass(8100)
  t.same(long.echoes, [9000])
  long.keepAlive.probe(long.now)
  t.same(long.echoes, [9000, 9100])
  long.pass(60_000)
  t.equal(long.dead?.at, 13_100)

  const short = new Line().pass(8000)
  short.pass(8000)
  short.keepAlive.probe(short.now)
  short.pass(60_000)
  t.equal(short.dead?.at, 19_000, 'two more would be too many')
})

t.test('a process that stood still asks before it judges', async (t) => {
  // The echo was due, and the whole machine slept.
  const line = new Line().pass(7000)
  line.now += 3_600_000
  line.keepAlive.handleTimeout(line.now)
  t.equal(line.dead, undefined)
  t.equal(line.echoes.length, 1)
  t.equal(line.keepAlive.nextTimeout(), line.now + 4000, 'with a short limit')
  // The same while an answer was awaited.
  const asked = new Line().pass(9000)
  asked.now += 20_000
  asked.keepAlive.handleTimeout(asked.now)
  t.equal(asked.dead, undefined)
  t.equal(asked.echoes.length, 2)
  asked.answers = 100
  asked.pulse.heard(asked.now)
  asked.pass(7000)
  t.equal(asked.dead, undefined)
})

t.test('before the call is connected, and behind its end, nothing is sent', async (t) => {
  const line = new Line()
  line.keepAlive.stop()
  line.keepAlive.probe(line.now)
  line.pass(60_000)
  t.same(line.echoes, [])
  t.equal(line.dead, undefined)
})

t.test('other times', async (t) => {
  const line = new Line({ idle: 1000, patience: 500 }).pass(60_000)
  t.same(line.echoes, [2000])
  t.equal(line.dead?.at, 2500)
})
