/** Any frames, in any phase: a value or an ended link, never an exception, never more out than a bounded answer. */
import t from 'tap'
import type { AuthName } from '../../src/ppp/auth/method.js'
import { describe } from '../../src/ppp/describe.js'
import { frameHeader, frameProtocol, MAX_FRAME } from '../../src/ppp/frame.js'
import {
  clientOptions,
  fail,
  Pair,
  Subject,
  seededNumbers,
  seededRandom,
  serverOptions,
} from '../helpers/ppp.js'

const ROUNDS = 8000
const FRAMES = 120
const METHODS: readonly AuthName[] = ['mschapv2', 'chap', 'pap', 'eap-mschapv2']
const PROTOCOLS = [0xc021, 0xc023, 0xc223, 0x8021, 0x8057, 0x80fd, 0xc227, 0x0021, 0x0057, 0x8281]

type Numbers = (n: number) => number

/** One end of a call that has gone `steps` frames far, and all frames of such a call as material. */
function subjectAt(seed: number, next: Numbers): { subject: Subject; material: Uint8Array[] } {
  const material: Uint8Array[] = []
  const role = next(2) === 0 ? 'client' : 'server'
  const auth = next(8) === 0 ? [] : [METHODS[next(4)] ?? 'pap']
  const steps = next(30)
  let passed = 0
  const pair = new Pair(
    clientOptions({
      random: seededRandom(seed),
      auth: METHODS,
      ...(next(4) === 0 ? { newPassword: 'new' } : {}),
      ipv6: next(2) === 0,
      requireAuth: false,
      trace: next(2) === 0,
    }),
    serverOptions({
      auth,
      random: seededRandom(seed + 1),
      ...(next(4) === 0 ? { expired: () => true, changePassword: () => true } : {}),
      ipv6: next(2) === 0,
      trace: next(2) === 0,
    }),
    (_from, _n, frame) => {
      material.push(frame)
      passed += 1
      return passed > steps
    },
  ).start()
  pair.run(1000, () => passed > steps)
  const subject = pair[role]
  if (next(10) === 0) subject.link.terminate(subject.now)
  return { subject, material }
}

/** A frame of the call changed in some places, or made up with a sane header, or plain noise. */
function makeFrame(next: Numbers, material: readonly Uint8Array[]): Uint8Array {
  const known = material[next(Math.max(1, material.length))]
  const kind = next(10)
  if (kind < 5 && known !== undefined) {
    const frame = known.slice()
    for (let n = next(4); n > 0; n -= 1) frame[4 + next(Math.max(1, frame.length - 4))] = next(256)
    if (next(6) === 0) return frame.subarray(0, next(frame.length + 1))
    return frame
  }
  const size = next(20) === 0 ? next(MAX_FRAME + 200) : next(60)
  const frame = new Uint8Array(4 + size)
  for (let i = 0; i < frame.length; i += 1) frame[i] = next(256)
  if (kind === 9) return frame
  const protocol = PROTOCOLS[next(PROTOCOLS.length)] ?? 0
  frame.set([0xff, 0x03, protocol >> 8, protocol & 255])
  if (size < 4) return frame
  frame.set([1 + next(14), next(4), size >> 8, size & 255], 4)
  // Options of sane lengths, so that most of them are looked at
  for (let p = 8; p + 2 <= frame.length; ) {
    const length = Math.min(2 + next(9), frame.length - p)
    frame.set(
      [next(3) === 0 ? ([3, 5, 129, 131][next(4)] ?? 1) : next(24), next(40) === 0 ? next(256) : length],
      p,
    )
    p += length
  }
  return frame
}

t.test('seeded frames into client and server', async (t) => {
  const seen = { ended: 0, open: 0, lasted: 0, frames: 0, out: 0 }
  const codes = new Set<string>()
  for (let seed = 1; seed <= ROUNDS; seed += 1) {
    const next = seededNumbers(seed)
    const where = `seed ${seed}`
    try {
      const { subject, material } = subjectAt(seed, next)
      const { link } = subject
      // Most of LCP soon ends an open link, so half of the links are spared it.
      const mild = next(2) === 0
      let opened = false
      for (let n = 0; n < FRAMES; n += 1) {
        const frame = makeFrame(next, material)
        const header = frameHeader(frame, 0, frame.length)
        if (header < 0) continue
        const protocol = frameProtocol(frame, 0, header)
        if (mild && protocol === 0xc021 && (frame[header] ?? 0) < 8 && link.error === undefined) continue
        const before = frame.slice()
        link.input(protocol, frame, header, frame.length - header, subject.now)
        if (describe(protocol, frame, header, frame.length - header).length > 3000) fail('a long line')
        if (Buffer.compare(before, frame) !== 0) fail('the input was changed')
        seen.frames += 1
        // The queue is fetched now and then, so that it fills up at times.
        if (next(4) === 0) {
          const out = subject.frames()
          if (out.length > 64) fail('a long queue')
          seen.out += out.length
          material.push(...out.slice(0, 4))
        }
        if (next(5) === 0) subject.pass(next(4000))
        if (next(3) === 0) subject.collect()
        if (!(link.mtu >= 68 && link.mtu <= 1400)) fail(`MTU ${link.mtu}`)
        opened ||= link.ipv4Open || link.ipv6Open
        if (link.ipv4Open && subject.end !== undefined) fail('open behind its end')
      }
      if (subject.collect().length > 3000) fail('many events')
      if (opened) seen.open += 1
      if (link.ipv4Open || link.ipv6Open) seen.lasted += 1
      if (subject.end !== undefined) seen.ended += 1
      codes.add(String(subject.end))
      if (subject.event('ipv4-up')?.local.length === 0) fail('no address')
      link.terminate(subject.now)
      subject.pass(6000)
      if (subject.end === undefined) fail('it does not end')
      if (link.nextTimeout() !== Number.POSITIVE_INFINITY) fail('a timer is left')
      if (subject.types.filter((type) => type === 'terminated').length !== 1) fail('it ends twice')
    } catch (error) {
      throw new Error(`${where}: ${error instanceof Error ? error.stack : String(error)}`)
    }
  }
  t.comment(JSON.stringify(seen), [...codes].join(' '))
  t.ok(seen.frames > 100_000)
  t.ok(seen.out > 10_000, 'it was answered')
  t.ok(seen.open > 100, 'many links were up')
  t.ok(seen.lasted > 10, 'and some survived')
  t.ok(codes.size >= 6, 'many ends were met')
})

t.test('lengths that lie about the buffer are dropped', async (t) => {
  const subject = new Subject(clientOptions()).start()
  subject.frames()
  for (const length of [-5, -1, 0, 1, 3, 4, 5, 100, 70_000]) {
    for (const protocol of PROTOCOLS) subject.link.input(protocol, new Uint8Array(4), 0, length, subject.now)
    // A header that claims what is there, in a buffer that has less
    subject.link.input(0xc021, Uint8Array.of(1, 1, 0, 4, 1), 2, length, subject.now)
  }
  t.same(subject.frames(), [])
  t.equal(subject.link.error, undefined)
})
