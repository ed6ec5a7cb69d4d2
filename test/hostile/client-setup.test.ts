/**
 * Servers that never let a call come up, against the client's machines in virtual time: each costs one attempt
 * of bounded length, and ends with one line that says where it stopped.
 */
import t from 'tap'
import { ATTRIB, STATUS, statusInfo } from '../../src/sstp/attribute.js'
import { controlPacket } from '../../src/sstp/packet.js'
import {
  assertOneLine,
  CHAP,
  EAP,
  IPCP,
  LCP,
  messageOf,
  PAP,
  ppp,
  Rig,
  type RigOptions,
  type Rule,
  read,
} from '../helpers/hostile.js'

const of =
  (protocol: number, ...codes: readonly number[]) =>
  (packet: Buffer): boolean => {
    const { protocol: p, code } = read(packet)
    return p === protocol && (codes.length === 0 || codes.includes(code))
  }
const without =
  (drop: (packet: Buffer) => boolean): Rule =>
  (packet) =>
    drop(packet) ? undefined : packet

/** It never leaves of its own accord, nor answers to a farewell. */
const leaves = (packet: Buffer): boolean => of(LCP, 5, 6)(packet) || [5, 6, 7].includes(messageOf(packet))
/** Seconds for the client's own farewell when nobody answers. */
const FAREWELL = 12

interface Case {
  readonly what: string
  readonly code: string
  readonly message: RegExp
  /** Seconds in which it must begin to leave. */
  readonly within: number
  readonly options?: RigOptions
  /** What the proper server's packets become. */
  readonly rule?: Rule
  /** Said in the server's name for each packet of the client. */
  readonly answer?: (packet: Buffer, n: number) => Uint8Array[]
  /** Said every `every` milliseconds. */
  readonly every?: number
  readonly talk?: (n: number) => Uint8Array
}

const EAP_AUTH: RigOptions = { auth: ['eap-mschapv2'] }
const number = (n: number): string => (0x1000_0000 + n).toString(16)

const CASES: readonly Case[] = [
  {
    what: 'silence behind the HTTP head',
    rule: () => undefined,
    code: 'SSTP_NEGOTIATION_TIMEOUT',
    message: /did not answer CALL_CONNECT_REQUEST within 120 s/,
    within: 125,
  },
  {
    what: 'the request refused again and again',
    rule: () => undefined,
    answer: (packet) => (messageOf(packet) === 1 ? [controlPacket('CALL_CONNECT_NAK')] : []),
    code: 'SSTP_REQUEST_REFUSED',
    message: /refused CALL_CONNECT_REQUEST 3 times/,
    within: 10,
  },
  {
    what: 'an acknowledgement without an offer',
    rule: () => undefined,
    answer: (packet) => (messageOf(packet) === 1 ? [controlPacket('CALL_CONNECT_ACK')] : []),
    code: 'SSTP_INVALID_MESSAGE',
    message: /no crypto binding request/,
    within: 10,
  },
  {
    what: 'hashes that nobody knows',
    rule: () => undefined,
    answer: (packet) =>
      messageOf(packet) === 1
        ? [
            controlPacket('CALL_CONNECT_ACK', [
              { kind: 'CRYPTO_BINDING_REQ', hashes: 0xf0, nonce: new Uint8Array(32) },
            ]),
          ]
        : [],
    code: 'SSTP_NO_COMMON_HASH',
    message: /offers 0xf0/,
    within: 10,
  },
  {
    what: 'an abort that says little',
    rule: () => undefined,
    answer: () => [controlPacket('CALL_ABORT', [statusInfo(ATTRIB.NO_ERROR, STATUS.INVALID_FRAME_RECEIVED)])],
    code: 'SSTP_PEER_ABORT',
    message: /aborted the call \(INVALID_FRAME_RECEIVED\)/,
    within: 10,
  },
  {
    what: 'no LCP',
    rule: without(of(LCP)),
    code: 'NO_ANSWER',
    message: /no answer to LCP requests/,
    within: 40,
  },
  {
    what: 'LCP options refused for ever',
    rule: without(of(LCP)),
    answer: (packet, n) =>
      of(LCP, 1)(packet)
        ? [ppp(LCP, 3, read(packet).id, `0104${(1400 - (n % 100)).toString(16).padStart(4, '0')}`)]
        : [],
    code: 'NOT_CONVERGING',
    message: /LCP options cannot be agreed on/,
    within: 20,
  },
  {
    what: 'LCP requests for ever, ours unanswered',
    rule: without(of(LCP)),
    every: 10,
    talk: (n) => ppp(LCP, 1, n, `0506${number(n)}`),
    code: 'NO_ANSWER',
    message: /no answer to LCP requests/,
    within: 40,
  },
  {
    what: 'LCP requests with options that cannot be',
    rule: without(of(LCP)),
    every: 10,
    talk: (n) => ppp(LCP, 1, n, '0d0306 1104ffff'),
    code: 'NOT_CONVERGING',
    message: /cannot be agreed on/,
    within: 20,
  },
  {
    what: 'one method of authentication after the other, none of ours',
    rule: without(of(LCP)),
    every: 10,
    talk: (n) => ppp(LCP, 1, n, `0304${(0xc000 + n).toString(16)}`),
    code: 'AUTH_METHOD',
    message: /enabled here/,
    within: 20,
  },
  {
    what: 'LCP rejected as a protocol code',
    rule: without(of(LCP)),
    answer: (packet) =>
      of(LCP, 1)(packet) ? [ppp(LCP, 7, 1, read(packet).body.subarray(0, 0)), ppp(LCP, 7, 2, '01')] : [],
    code: 'REJECTED',
    message: /rejects LCP/,
    within: 20,
  },
  {
    what: 'its own LCP requests come back',
    rule: without(of(LCP)),
    answer: (packet) => (of(LCP)(packet) ? [packet] : []),
    code: 'LCP_LOOPED',
    message: /looped/,
    within: 40,
  },
  {
    what: 'no challenge',
    rule: without(of(CHAP)),
    code: 'NO_ANSWER',
    message: /sent no challenge/,
    within: 100,
  },
  {
    what: 'no verdict',
    rule: without(of(CHAP, 3, 4)),
    code: 'NO_ANSWER',
    message: /no answer to our response/,
    within: 100,
  },
  {
    what: 'challenges for ever',
    rule: without(of(CHAP, 3, 4)),
    every: 100,
    talk: (n) => ppp(CHAP, 1, n, `10${number(n).repeat(4)}61`),
    code: 'SSTP_NEGOTIATION_TIMEOUT',
    message: /log-in did not come to an end within 120 s/,
    within: 130,
  },
  {
    what: 'a Success without proof',
    rule: (packet) => (of(CHAP, 3)(packet) ? ppp(CHAP, 3, read(packet).id, Buffer.from('S=00')) : packet),
    code: 'AUTH_SERVER_UNPROVEN',
    message: /failed to prove/,
    within: 20,
  },
  {
    what: 'a Failure with text that acts on terminals and forges lines',
    rule: (packet) =>
      of(CHAP, 3)(packet)
        ? ppp(
            CHAP,
            4,
            read(packet).id,
            Buffer.from('E=691 R=1 V=3 M=\u001b[2J\r\nINFO: all is well\u2028\u202e'),
          )
        : packet,
    code: 'AUTH_REFUSED',
    message: /wrong user name or password/,
    within: 20,
  },
  {
    what: 'PAP without a verdict',
    options: { auth: ['pap'] },
    rule: without(of(PAP)),
    code: 'NO_ANSWER',
    message: /no answer to our PAP request/,
    within: 100,
  },
  {
    what: 'who are you, for ever',
    options: EAP_AUTH,
    rule: without(of(EAP)),
    every: 10,
    talk: (n) => ppp(EAP, 1, n, '01'),
    code: 'NOT_CONVERGING',
    message: /EAP goes on and on/,
    within: 100,
  },
  {
    what: 'notifications for ever',
    options: EAP_AUTH,
    rule: without(of(EAP)),
    every: 10,
    talk: (n) => ppp(EAP, 1, n, `02${Buffer.from('hello\u001b[2J\n').toString('hex')}`),
    code: 'NOT_CONVERGING',
    message: /EAP goes on and on/,
    within: 100,
  },
  {
    what: 'methods of EAP that nobody knows, for ever',
    options: EAP_AUTH,
    rule: without(of(EAP)),
    every: 10,
    talk: (n) => ppp(EAP, 1, n, `${(40 + (n % 200)).toString(16)}00`),
    code: 'AUTH_METHOD',
    message: /enabled here/,
    within: 100,
  },
  {
    what: 'EAP Success before anything was asked',
    options: EAP_AUTH,
    rule: without(of(EAP)),
    every: 100,
    talk: (n) => ppp(EAP, 3, n),
    code: 'NO_ANSWER',
    message: /EAP/,
    within: 100,
  },
  {
    what: 'no IPCP',
    rule: without(of(IPCP)),
    code: 'NO_ANSWER',
    message: /no answer to IPCP requests/,
    within: 45,
  },
  {
    what: 'another address for ever',
    rule: without(of(IPCP)),
    answer: (packet, n) => (of(IPCP, 1)(packet) ? [ppp(IPCP, 3, read(packet).id, `0306${number(n)}`)] : []),
    code: 'NOT_CONVERGING',
    message: /IPCP options cannot be agreed on/,
    within: 20,
  },
  {
    what: 'the address 0.0.0.0',
    rule: without(of(IPCP)),
    answer: (packet) => (of(IPCP, 1)(packet) ? [ppp(IPCP, 3, read(packet).id, '030600000000')] : []),
    code: 'NO_ADDRESS',
    message: /no IPv4 address for us/,
    within: 20,
  },
  {
    what: 'IPCP agreed on and begun anew without an end',
    every: 40,
    talk: (n) => ppp(IPCP, 1, n, `03060a09${(0x100 + (n & 0xff)).toString(16).slice(1)}01`),
    code: 'NOT_CONVERGING',
    message: /negotiated again and again/,
    within: 200,
  },
  {
    what: 'a farewell with text',
    rule: (packet) => (of(IPCP)(packet) ? ppp(LCP, 5, 9, Buffer.from('go\u0007 away')) : packet),
    code: 'TERMINATED',
    message: /ended the link \(it says: go +away\)/,
    within: 20,
  },
]

for (const c of CASES) {
  t.test(c.what, (t) => {
    const rig = new Rig(c.options)
    const { client, loop, up, down } = rig
    const { rule = (packet: Buffer) => packet } = c
    down.rule = (packet, n) => (leaves(packet) ? undefined : rule(packet, n))
    down.onEnd = () => {}
    const { answer, talk, every = 1000 } = c
    if (answer !== undefined) {
      up.rule = (packet, n) => {
        for (const piece of answer(packet, n)) rig.say(piece)
        return packet
      }
    }
    rig.start()
    const from = loop.now
    let said = 0
    for (let n = 0; !client.call.finished && loop.now < from + 1000 * (c.within + FAREWELL); n++) {
      rig.pass(every)
      if (talk === undefined) continue
      rig.say(talk(n))
      said++
    }
    t.ok(client.call.finished, `over after ${(loop.now - from) / 1000} s`)
    t.notOk(client.up)
    t.equal(client.failure?.code, c.code)
    t.match(client.failure?.message, c.message)
    assertOneLine(client.failure?.message ?? '')
    t.equal(client.owner.sstp.filter((e) => e.type === 'closed').length, 1, 'the end is told once')
    t.ok(client.owner.told.length < 100, `${client.owner.told.length} events`)
    t.ok(up.octets < 4000 + 200 * said, `${up.octets} octets were said in ${said} answers`)
    rig.pass(100_000)
    t.equal(loop.pending, 0, 'no timer is left')
    t.end()
  })
}
