import t from 'tap'
import { PppError } from '../../src/ppp/errors.js'
import { Fsm, type FsmHost, type OptionSet, type Verdict } from '../../src/ppp/fsm.js'
import { type Event, type State, TABLE } from '../../src/ppp/fsm-table.js'
import type { OptionWriter } from '../../src/ppp/option.js'
import { fromHex, packetHex, toHex } from '../helpers/ppp.js'

/** RFC 1661 4.1, a row for each event, typed from the RFC and not from the code. */
const RFC = `
      | 0        | 1         | 2         | 3             | 4     | 5     | 6         | 7         | 8         | 9
Up    | 2        | irc,scr/6 | -         | -             | -     | -     | -         | -         | -         | -
Down  | -        | -         | 0         | tls/1         | 0     | 1     | 1         | 1         | 1         | tld/1
Open  | tls/1    | 1         | irc,scr/6 | 3             | 5     | 5     | 6         | 7         | 8         | 9
Close | 0        | tlf/0     | 2         | 2             | 4     | 4     | irc,str/4 | irc,str/4 | irc,str/4 | tld,irc,str/4
TO+   | -        | -         | -         | -             | str/4 | str/5 | scr/6     | scr/6     | scr/8     | -
TO-   | -        | -         | -         | -             | tlf/2 | tlf/3 | tlf/3     | tlf/3     | tlf/3     | -
RCR+  | -        | -         | sta/2     | irc,scr,sca/8 | 4     | 5     | sca/8     | sca,tlu/9 | sca/8     | tld,scr,sca/8
RCR-  | -        | -         | sta/2     | irc,scr,scn/6 | 4     | 5     | scn/6     | scn/7     | scn/6     | tld,scr,scn/6
RCA   | -        | -         | sta/2     | sta/3         | 4     | 5     | irc/7     | scr/6     | irc,tlu/9 | tld,scr/6
RCN   | -        | -         | sta/2     | sta/3         | 4     | 5     | irc,scr/6 | scr/6     | irc,scr/8 | tld,scr/6
RTR   | -        | -         | sta/2     | sta/3         | sta/4 | sta/5 | sta/6     | sta/6     | sta/6     | tld,zrc,sta/5
RTA   | -        | -         | 2         | 3             | tlf/2 | tlf/3 | 6         | 6         | 8         | tld,scr/6
RUC   | -        | -         | scj/2     | scj/3         | scj/4 | scj/5 | scj/6     | scj/7     | scj/8     | scj/9
RXJ+  | -        | -         | 2         | 3             | 4     | 5     | 6         | 6         | 8         | 9
RXJ-  | -        | -         | tlf/2     | tlf/3         | tlf/2 | tlf/3 | tlf/3     | tlf/3     | tlf/3     | tld,irc,str/5
RXR   | -        | -         | 2         | 3             | 4     | 5     | 6         | 7         | 8         | ser/9
`
const STATES: readonly State[] = [
  'Initial',
  'Starting',
  'Closed',
  'Stopped',
  'Closing',
  'Stopping',
  'Req-Sent',
  'Ack-Rcvd',
  'Ack-Sent',
  'Opened',
]
const rows = RFC.trim()
  .split('\n')
  .slice(1)
  .map((line) => line.split('|').map((cell) => cell.trim()))

/** Events that lead from Initial into each state. */
const PATHS: Readonly<Record<State, readonly Event[]>> = {
  Initial: [],
  Starting: ['Open'],
  Closed: ['Up'],
  Stopped: ['Open', 'Up', 'RXJ-'],
  Closing: ['Open', 'Up', 'Close'],
  Stopping: ['Open', 'Up', 'RCR+', 'RCA', 'RTR'],
  'Req-Sent': ['Open', 'Up'],
  'Ack-Rcvd': ['Open', 'Up', 'RCA'],
  'Ack-Sent': ['Open', 'Up', 'RCR+'],
  Opened: ['Open', 'Up', 'RCR+', 'RCA'],
}

/** One option, type 1, of one octet: 01 is fine, 02 gets a Nak for 01, others a Reject. */
class Bench implements OptionSet, FsmHost {
  readonly log: string[] = []
  time = 0
  nak: PppError | undefined
  isTaken = true
  readonly fsm: Fsm
  others: Event | 'ignored' | undefined

  constructor(eager = false) {
    this.fsm = new Fsm({ layer: 'ipcp', set: this, host: this, eager })
  }

  request(w: OptionWriter): void {
    w.put(1, fromHex('07'))
  }
  beginRequest(): void {}
  judge(type: number, b: Uint8Array, o: number, len: number, nak: OptionWriter): Verdict {
    if (type !== 1 || len !== 1) return 'reject'
    if (b[o] === 1) return 'ack'
    nak.putOnce(1, Uint8Array.of(1))
    return 'nak'
  }
  endRequest(): undefined {}
  answering(): void {}
  acked(): undefined {}
  naked(type: number): PppError | undefined {
    this.log.push(`naked ${type}`)
    return this.nak
  }
  rejected(type: number): undefined {
    this.log.push(`rejected ${type}`)
  }
  now(): number {
    return this.time
  }
  send(code: number, id: number, b: Uint8Array, o: number, len: number): number {
    this.log.push(`${code} ${id ?? 0} ${toHex(b.subarray(o, o + len))}`.trimEnd())
    return 1
  }
  taken(): boolean {
    return this.isTaken
  }
  peerMru(): number {
    return 20
  }
  up(): void {
    this.log.push('tlu')
  }
  down(): void {
    this.log.push('tld')
  }
  finished(): void {
    this.log.push('tlf')
  }
  terminated(text: string): void {
    this.log.push(`terminated ${text}`)
  }
  failed(error: PppError): void {
    this.log.push(`failed ${error.code}`)
  }
  other(): Event | 'ignored' | undefined {
    return this.others
  }
  echo(id: number): void {
    this.log.push(`ser ${id ?? 0}`)
  }
  codeRejected(code: number): void {
    this.log.push(`code ${code} rejected`)
  }

  go(...events: Event[]): this {
    for (const event of events) this.fsm.event(event)
    this.log.length = 0
    return this
  }
  say(code: number, id: number, body = ''): string[] {
    const packet = fromHex(packetHex(code, id, body))
    this.log.length = 0
    this.fsm.input(packet, 0, packet.length)
    return [...this.log]
  }
  pass(ms: number): string[] {
    this.time += ms
    this.log.length = 0
    this.fsm.handleTimeout(this.time)
    return [...this.log]
  }
}

/** What each action shows at the bench. */
const SEEN: Readonly<Record<string, RegExp | undefined>> = {
  tlu: /^tlu$/,
  tld: /^tld$/,
  tlf: /^tlf$/,
  scr: /^1 /,
  sca: /^2 /,
  scn: /^2 /, // the bench judges nothing here: an empty answer
  str: /^5 /,
  sta: /^6 /,
  scj: /^7 /,
  ser: /^ser /,
}

let cells = 0
for (const [event = '', ...cellsOfRow] of rows) {
  STATES.forEach((state, column) => {
    const text = cellsOfRow[column]
    cells += 1
    t.test(`${event} in ${state}: ${text}`, async (t) => {
      const cell = TABLE[state][event as Event]
      const bench = new Bench().go(...PATHS[state])
      t.equal(bench.fsm.state, state, 'the path leads there')
      if (text === '-' || text === undefined) {
        t.equal(cell, undefined)
        t.equal(bench.fsm.event(event as Event), false)
        t.equal(bench.fsm.state, state)
        t.same(bench.log, [])
        return
      }
      const [first = '', second] = text.split('/')
      const actions = second === undefined ? [] : first.split(',')
      const next = STATES[Number(second ?? first)]
      t.same(cell, { actions, next })
      t.equal(bench.fsm.event(event as Event), true)
      t.equal(bench.fsm.state, next)
      const visible = actions.filter((action) => SEEN[action] !== undefined)
      t.equal(bench.log.length, visible.length, bench.log.join('; '))
      visible.forEach((action, i) => {
        t.match(bench.log[i], SEEN[action])
      })
      const timed = next !== undefined && STATES.indexOf(next) >= 4 && next !== 'Opened'
      if (!timed) t.equal(bench.fsm.nextTimeout(), Number.POSITIVE_INFINITY, 'the restart timer stands')
      else t.equal(bench.fsm.nextTimeout(), 3000, 'the restart timer runs')
    })
  })
}
t.equal(cells, 160)

t.test('ten requests, three seconds apart, with one identifier; then it gives up', async (t) => {
  const bench = new Bench()
  bench.fsm.event('Open')
  bench.fsm.event('Up')
  t.same(bench.log, ['1 1 010307'])
  for (let n = 2; n <= 10; n += 1) {
    t.same(bench.pass(2999), [])
    t.same(bench.pass(1), ['1 1 010307'], `request ${n}`)
  }
  t.same(bench.pass(3000), ['tlf'])
  t.equal(bench.fsm.state, 'Stopped')
})

t.test('two Terminate-Requests, then it is closed all the same', async (t) => {
  const bench = new Bench().go(...PATHS.Opened)
  bench.fsm.event('Close')
  t.same(bench.log, ['tld', '5 1'])
  t.same(bench.pass(3000), ['5 2'])
  t.same(bench.pass(3000), ['tlf'])
  t.equal(bench.fsm.state, 'Closed')
})

t.test('after a Terminate-Request it stays one period in Stopping', async (t) => {
  const bench = new Bench().go(...PATHS.Opened)
  t.same(bench.say(5, 9, Buffer.from('bye').toString('hex')), ['tld', '6 9', 'terminated bye'])
  t.same(bench.pass(2999), [])
  t.same(bench.pass(1), ['tlf'])
})

t.test('only the first answer to the last request counts', async (t) => {
  const bench = new Bench().go('Open', 'Up')
  t.same(bench.say(2, 2, '010307'), [], 'another identifier')
  t.same(bench.say(2, 1, '010308'), [], 'other options')
  t.same(bench.say(2, 1, '01030701'), [], 'more than was asked')
  t.same(bench.say(3, 0, '010309'), [], 'a Nak of another request')
  t.same(bench.say(3, 1, '0101'), [], 'a Nak with a broken option')
  t.same(bench.say(4, 1, '020107'), [], 'a Reject of what was not asked')
  t.same(bench.say(4, 1, '010308'), [], 'a Reject of another value')
  t.same(bench.say(4, 1, ''), [], 'a Reject of nothing')
  t.equal(bench.fsm.state, 'Req-Sent')
  t.same(bench.say(2, 1, '010307'), [])
  t.equal(bench.fsm.state, 'Ack-Rcvd')
  t.same(bench.say(2, 1, '010307'), [], 'a second Ack is no crossed connection')
  t.equal(bench.fsm.state, 'Ack-Rcvd')
})

t.test('a Reject must be an in-order part of the request', async (t) => {
  const bench = new Bench()
  bench.request = (w) => {
    w.put(1, fromHex('07'))
    w.put(2, fromHex(''))
    w.put(3, fromHex('0809'))
  }
  bench.go('Open', 'Up')
  t.same(bench.say(4, 1, '03040809 010307'), [], 'order')
  t.same(bench.say(4, 1, '010307 010307'), [], 'twice')
  t.same(bench.say(4, 1, '010307 03040809').slice(0, 2), ['rejected 1', 'rejected 3'])
})

t.test(
  'the identifier is new when the options are, or the last was answered, and else the same',
  async (t) => {
    const bench = new Bench().go('Open', 'Up')
    t.same(bench.pass(3000), ['1 1 010307'])
    bench.request = (w) => w.put(1, fromHex('09'))
    t.same(bench.pass(3000), ['1 2 010309'])
    t.same(bench.say(3, 2, '010301'), ['naked 1', '1 3 010309'], 'answered, though nothing changed')
  },
)

t.test('exactly one answer: Reject before Nak before Ack, in order and unchanged', async (t) => {
  const ask = (body: string): string[] => new Bench().go('Open', 'Up').say(1, 5, body)
  t.same(ask('010302 0702 0905aabbcc'), ['4 5 07020905aabbcc'])
  t.same(ask('010302 010303'), ['3 5 010301'], 'an option is named once in a Nak')
  t.same(ask('010301'), ['2 5 010301'])
  t.same(ask(''), ['2 5'])
  t.same(ask('0101'), [], 'a broken option makes the packet invalid')
  t.same(ask('010301 00'), [])
  t.same(ask('010301 0700'), [])
})

t.test('after Max-Failure Naks the same is rejected, and an Ack starts the count anew', async (t) => {
  const bench = new Bench().go('Open', 'Up')
  for (let id = 1; id <= 5; id += 1) t.same(bench.say(1, id, '010302'), [`3 ${id} 010301`])
  t.same(bench.say(1, 6, '010302'), ['4 6 010302'])
  t.same(bench.say(1, 7, '010301'), ['2 7 010301'])
  t.same(bench.say(1, 8, '010302'), ['3 8 010301'])
})

t.test('endless disagreement is an error, in both directions', async (t) => {
  const theirs = new Bench().go('Open', 'Up')
  let said: string[] = []
  for (let id = 1; id <= 21; id += 1) said = theirs.say(1, id, '0702')
  t.match(said, ['4 21 0702', 'failed NOT_CONVERGING'])
  const ours = new Bench().go('Open', 'Up')
  for (let id = 1; id <= 21; id += 1) said = ours.say(3, id, '010301')
  t.match(said.at(-1), 'failed NOT_CONVERGING')
})

t.test('an error of the options ends it without an answer', async (t) => {
  const bench = new Bench().go('Open', 'Up')
  bench.nak = new PppError('ipcp', 'NO_ADDRESS', 'none')
  t.same(bench.say(3, 1, '010301'), ['naked 1', 'failed NO_ADDRESS'])
})

t.test('an unknown code is rejected from its code on, cut to the MRU of the peer', async (t) => {
  const bench = new Bench().go('Open', 'Up')
  t.same(bench.say(14, 3, '00'.repeat(30)), [`7 1 0e030022${'00'.repeat(12)}`])
  bench.others = 'ignored'
  t.same(bench.say(14, 3), [])
})

t.test('a Code-Reject of a common code is fatal, of another not', async (t) => {
  t.same(new Bench().go('Open', 'Up').say(7, 1, '01010004'), ['tlf'])
  t.same(new Bench().go(...PATHS.Opened).say(7, 1, '07010004'), ['tld', '5 1'])
  t.same(new Bench().go(...PATHS.Opened).say(7, 1, '09010004'), ['code 9 rejected'])
  t.same(new Bench().go(...PATHS.Opened).say(7, 1), [], 'empty')
})

t.test(
  'a retransmitted request in the open state is acknowledged again, not taken for a restart',
  async (t) => {
    const bench = new Bench().go('Open', 'Up')
    t.same(bench.say(1, 5, '010301'), ['2 5 010301'])
    t.same(bench.say(2, 1, '010307'), ['tlu'])
    for (let n = 0; n < 10; n += 1) t.same(bench.say(1, 5, '010301'), ['2 5 010301'])
    t.equal(bench.fsm.state, 'Opened')
    t.match(bench.say(1, 5, '010301'), ['tld', /^1 2 /, '2 5 010301'], 'but not for ever')
  },
)

t.test('the eager repeat: once, unchanged, ahead of the answer, and only if ours had left', async (t) => {
  const bench = new Bench(true).go('Open', 'Up')
  t.same(bench.say(1, 5, '010301'), ['1 1 010307', '2 5 010301'])
  t.same(bench.say(1, 6, '010301'), ['2 6 010301'])
  const early = new Bench(true).go('Open', 'Up')
  early.isTaken = false
  t.same(early.say(1, 5, '010301'), ['2 5 010301'], 'ours is still on its way out')
  const answered = new Bench(true).go('Open', 'Up')
  answered.say(2, 1, '010307')
  t.same(answered.say(1, 5, '010301'), ['2 5 010301', 'tlu'])
  t.same(new Bench().go('Open', 'Up').say(1, 5, '010301'), ['2 5 010301'], 'a server does not')
})
