/** Any octets into both ends of EAP: a value or the end, never an exception, never a success that was not proven. */
import t from 'tap'
import { eapPacket } from '../../src/ppp/auth/eap/packet.js'
import { CHALLENGE, msHex } from '../helpers/eap.js'
import {
  acceptRequests,
  clientUpTo,
  EAP,
  fail,
  fromHex,
  LCP,
  Subject,
  seededNumbers,
  seededRandom,
  serverOptions,
  textHex,
  toHex,
} from '../helpers/ppp.js'

const ROUNDS = 1500
const PACKETS = 60
const TYPES = [1, 2, 3, 4, 13, 25, 26, 26, 26, 26, 254, 0]
const MESSAGES = [
  msHex(1, 1, `10${CHALLENGE}${textHex('srv')}`),
  msHex(3, 1, textHex(`S=${'00'.repeat(20)} M=x`)),
  msHex(4, 1, textHex(`E=648 R=0 C=${CHALLENGE} V=3 M=Expired`)),
  msHex(4, 1, textHex('E=691 R=1')),
  msHex(2, 1, `31${'ab'.repeat(49)}${textHex('User')}`),
  msHex(7, 2, 'cd'.repeat(582)),
  '03',
  '04',
].map(fromHex)

type Numbers = (n: number) => number

function noise(next: Numbers, id: number): Uint8Array {
  if (next(12) === 0) return Uint8Array.of(3 + next(2), id, 0, 4)
  const known = MESSAGES[next(MESSAGES.length)] ?? new Uint8Array(0)
  const data = next(3) === 0 ? new Uint8Array(next(40)).map(() => next(256)) : known.slice()
  for (let n = next(3); n > 0 && data.length > 0; n -= 1) data[next(data.length)] = next(256)
  const cut = next(4) === 0 ? data.subarray(0, next(data.length + 1)) : data
  return eapPacket(1 + next(2), id, TYPES[next(TYPES.length)] ?? 1, cut)
}

const run = (name: string, make: (seed: number, next: Numbers) => Subject): void => {
  t.test(name, async (t) => {
    const ends = new Set<string>()
    let said = 0
    for (let seed = 1; seed <= ROUNDS; seed += 1) {
      const next = seededNumbers(seed)
      const subject = make(seed, next)
      let id = 0
      try {
        for (let n = 0; n < PACKETS && subject.end === undefined; n += 1) {
          // The server's end only hears what bears its identifier.
          for (const line of subject.heard()) {
            said += 1
            if (line.startsWith('c227 1 ')) id = Number(line.split(' ')[2])
          }
          const packet = noise(next, next(6) === 0 ? next(256) : name === 'client' ? n & 255 : id)
          subject.raw(EAP, toHex(packet), next(4))
          if (next(4) === 0) subject.pass(next(5000))
        }
        if (subject.types.includes('authenticated')) fail('nobody has proven anything')
        ends.add(subject.link.error?.code ?? 'none')
        subject.link.terminate(subject.now)
        subject.pass(10_000)
        if (subject.end === undefined) fail('it does not end')
        if (subject.link.nextTimeout() !== Number.POSITIVE_INFINITY) fail('a timer is left')
      } catch (error) {
        throw new Error(`seed ${seed}: ${error instanceof Error ? error.stack : String(error)}`)
      }
    }
    t.comment([...ends].join(' '), said)
    t.ok(said > ROUNDS, 'it was answered')
    t.ok(ends.size >= 2, 'in more than one way')
  })
}

run('client', (seed, next) =>
  clientUpTo('c227', {
    auth: ['eap-mschapv2'],
    random: seededRandom(seed),
    ...(next(2) === 0 ? { newPassword: 'new' } : {}),
  }),
)

run('server', (seed, next) => {
  const expired = next(2) === 0
  const subject = new Subject(
    serverOptions({
      auth: ['eap-mschapv2'],
      random: seededRandom(seed),
      expired: () => expired,
      changePassword: () => fail('nobody may change a password'),
    }),
  ).start()
  acceptRequests(subject, subject.heard())
  return subject.say(LCP, 1, 1)
})
