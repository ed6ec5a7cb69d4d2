import t from 'tap'
import { describe } from '../../src/ppp/describe.js'
import { CHAP, EAP, fromHex, IPCP, IPV6CP, LCP, PAP, packetHex, textHex } from '../helpers/ppp.js'

const say = (protocol: number, code: number, id: number, body = ''): string => {
  const b = fromHex(`aa${packetHex(code, id, body)}bb`)
  return describe(protocol, b, 1, b.length - 1)
}

t.test('what is said', async (t) => {
  for (const [line, expected] of [
    [
      say(
        LCP,
        1,
        0,
        '01040ffb 0304c227 050651a2411c 0702 0802 0d0306 1104064e 130701aabbccdd 020600000000 0904',
      ),
      'LCP Configure-Request id 0: broken options',
    ],
    [
      say(LCP, 1, 0, '01040ffb 0304c227 050651a2411c 0702 0802 0d0306 1104064e 130701aabbccdd 020600000000'),
      'LCP Configure-Request id 0: mru 4091, auth EAP, magic 51a2411c, pfc, acfc, callback, mrru 1614, endpoint, accm 00000000',
    ],
    [say(LCP, 4, 1), 'LCP Configure-Reject id 1: no options'],
    [say(LCP, 3, 1, '0305c22380'), 'LCP Configure-Nak id 1: auth MS-CHAP v1'],
    [say(LCP, 3, 1, '0305c22306'), 'LCP Configure-Nak id 1: auth CHAP algorithm 6'],
    [say(LCP, 3, 1, '0304c123'), 'LCP Configure-Nak id 1: auth protocol c123'],
    [say(LCP, 3, 1, '0303c1'), 'LCP Configure-Nak id 1: auth nothing intelligible'],
    [say(LCP, 1, 1, '0904aaaa'), 'LCP Configure-Request id 1: option 9'],
    [say(LCP, 5, 3, textHex('bye\n')), 'LCP Terminate-Request id 3 "bye"'],
    [say(LCP, 7, 3, '0e010004'), 'LCP Code-Reject id 3: code 14'],
    [say(LCP, 8, 3, '80fd01'), 'LCP Protocol-Reject id 3: CCP'],
    [say(LCP, 8, 3, 'c02b01'), 'LCP Protocol-Reject id 3: c02b'],
    [say(LCP, 9, 3, 'deadbeef'), 'LCP Echo-Request id 3'],
    [say(LCP, 12, 3, `deadbeef${textHex('MSRASV5.20')}`), 'LCP Identification id 3 "MSRASV5.20"'],
    [say(LCP, 99, 3), 'LCP code 99 id 3'],
    [
      say(IPCP, 1, 1, '03060a000005 81060a000001 83060a000002 82060a000003 84060a000004'),
      'IPCP Configure-Request id 1: address 10.0.0.5, dns 10.0.0.1, second dns 10.0.0.2, nbns 10.0.0.3, second nbns 10.0.0.4',
    ],
    [say(IPV6CP, 2, 1, '010a0011223344556677'), 'IPV6CP Configure-Ack id 1: interface 11:2233:4455:6677'],
    [
      say(PAP, 1, 1, `04${textHex('User')}0a${textHex('clientPass')}`),
      'PAP Authenticate-Request id 1 user "User"',
    ],
    [say(PAP, 2, 1, `05${textHex('hello')}`), 'PAP Authenticate-Ack id 1 "hello"'],
    [say(PAP, 3, 1), 'PAP Authenticate-Nak id 1'],
    [say(CHAP, 1, 1, `0401020304${textHex('srv')}`), 'CHAP Challenge id 1 name "srv"'],
    [say(CHAP, 2, 1, `0401020304${textHex('User')}`), 'CHAP Response id 1 name "User"'],
    [say(CHAP, 2, 1, '09'), 'CHAP Response id 1: broken'],
    [say(CHAP, 3, 1, textHex('S=0123 M=x')), 'CHAP Success id 1'],
    [say(CHAP, 4, 1, textHex('E=691 R=0 C=00ff V=3 M=no')), 'CHAP Failure id 1 "E=691 R=0 C=... V=3 M=no"'],
    [say(CHAP, 7, 2, 'ab'.repeat(582)), 'CHAP Change-Password id 2'],
    [say(EAP, 2, 1, `01${textHex('User')}`), 'EAP Response id 1: Identity, 4 octets'],
    [say(EAP, 1, 2, '1a0301'), 'EAP Request id 2: EAP-MSCHAPv2, 2 octets'],
    [say(EAP, 3, 2), 'EAP Success id 2'],
    [say(0x80fd, 1, 1, '0000'), 'CCP, 6 octets'],
    [describe(0x1234, fromHex('00'), 0, 1), '1234, 1 octets without a header'],
  ] as const) {
    t.equal(line, expected)
  }
})

t.test('many options are one line still', async (t) => {
  t.ok(say(LCP, 1, 1, '0702'.repeat(1000)).endsWith('pfc, and more'))
})
