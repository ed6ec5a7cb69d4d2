/** What servers out there were seen to do, as dialogues. */
import t from 'tap'
import {
  acceptRequests,
  CHAP,
  clientOptions,
  clientUpTo,
  IPCP,
  IPV6CP,
  LCP,
  PAP,
  Subject,
  textHex,
} from '../helpers/ppp.js'

const fill = (octet: number) => (dst: Uint8Array) => {
  dst.fill(octet)
}
const EAP = '0304c227'
const MSCHAPV2 = '0305c22381'
const MSCHAPV1 = '0305c22380'
const MD5 = '0305c22305'
const PAP_OPTION = '0304c023'

/** A client that has sent its first request. */
function client(over: Parameters<typeof clientOptions>[0] = {}): Subject {
  const subject = new Subject(clientOptions({ random: fill(0x11), ...over })).start()
  subject.heard()
  return subject
}

/** Offers one method after the other, and returns what was said to each. */
function offer(subject: Subject, ...options: string[]): string[] {
  return options.map(
    (option, i) =>
      subject
        .say(LCP, 1, i + 1, option)
        .heard()
        .at(-1) ?? '',
  )
}

t.test('Windows RRAS: the request of 52 octets', async (t) => {
  const subject = client()
  const endpoint = '1317 01 000102030405060708090a0b0c0d0e0f10111213'.replace(/ /g, '')
  const request = `01040ffb${EAP}050651a2411c070208020d03061104064e${endpoint}`
  t.equal(request.length / 2, 48)
  t.equal(subject.say(LCP, 1, 0, request).heard().at(-1), `c021 4 0 0d03061104064e${endpoint}`)
  t.same(subject.say(LCP, 1, 1, `01040ffb${EAP}050651a2411c07020802`).heard(), [`c021 3 1 ${MSCHAPV2}`])
  const last = `01040ffb${MSCHAPV2}050651a2411c07020802`
  t.same(subject.say(LCP, 1, 2, last).heard(), [`c021 2 2 ${last}`])
  t.same(subject.say(LCP, 12, 3, `51a2411c${textHex('MSRASV5.20')}`).heard(), [])
  subject.say(LCP, 2, 1, '01040578050611111111')
  t.same(subject.event('lcp-up'), { type: 'lcp-up', peerMru: 4091, auth: 'mschapv2' })
})

t.test('Windows RRAS: CCP gets a Protocol-Reject once authentication is over, and only then', async (t) => {
  const waiting = clientUpTo('c22381')
  waiting.heard()
  t.same(waiting.raw(0x80fd, '0104000a120601000001', 0).heard(), [])
  const subject = clientUpTo('', { requireAuth: false })
  const reject = 'c021 8 1 80fd0104000a120601000001'
  t.equal(subject.raw(0x80fd, '0104000a120601000001', 0).heard().at(-1), reject)
  subject.raw(0x80fd, '0104000a120601000001', 0).raw(0x80fd, '0104000a120601000001', 0)
  t.equal(subject.heard().length, 2)
  t.same(subject.raw(0x80fd, '0104000a120601000001', 0).heard(), [], 'three a minute')
  t.match(subject.raw(0x8281, '01010004', 0).heard(), [/^c021 8 4 8281/], 'for each protocol')
  for (let protocol = 0x8301; protocol < 0x8381; protocol += 2) subject.raw(protocol, '01010004', 0)
  t.equal(subject.heard().length, 14, 'and not for every protocol that there might be')
  subject.pass(20_000)
  subject.say(IPCP, 3, 1, '03060a000005').say(IPCP, 2, 2, '03060a000005810600000000830600000000')
  subject.say(IPCP, 1, 1)
  subject.pass(40_000).heard()
  t.equal(subject.raw(0x80fd, '0104000a120601000001', 0).heard().length, 1, 'a minute later')
})

t.test('unknown data protocols, and known ones that are not open', async (t) => {
  const subject = clientUpTo('', { requireAuth: false })
  subject.heard()
  subject.link.protocolReject(0x002d, new Uint8Array(2000), 0, 2000, 0)
  const [said = ''] = subject.heard()
  t.match(said, /^c021 8 1 002d/)
  t.equal(said.split(' ')[3]?.length, 2 * 1496, 'cut to the MRU of the peer')
  subject.link.protocolReject(0x0057, new Uint8Array(40), 0, 40, 0)
  subject.link.protocolReject(0x0021, new Uint8Array(40), 0, 40, 0)
  t.same(subject.heard(), [], "accel-ppp's IPv6 without IPV6CP is ignored")
  t.match(subject.raw(0xc227, '01010005', 0).heard(), [/^c021 8 2 c227/])
  t.same(subject.raw(PAP, '02010004', 0).heard(), [], 'known, but not agreed on')
})

t.test('SoftEther steps down its own list whatever the Nak names', async (t) => {
  t.same(offer(client({ auth: ['pap'] }), EAP, MSCHAPV2, PAP_OPTION), [
    `c021 3 1 ${PAP_OPTION}`,
    `c021 3 2 ${PAP_OPTION}`,
    `c021 2 3 ${PAP_OPTION}`,
  ])
  t.same(offer(client({ auth: ['mschapv2'] }), EAP, MSCHAPV2), [
    `c021 3 1 ${MSCHAPV2}`,
    `c021 2 2 ${MSCHAPV2}`,
  ])
})

t.test('SoftEther at the end of its list', async (t) => {
  const subject = client({ auth: ['chap'] })
  t.same(offer(subject, EAP, MSCHAPV2, PAP_OPTION), [`c021 3 1 ${MD5}`, `c021 3 2 ${MD5}`, `c021 3 3 ${MD5}`])
  t.match(subject.say(LCP, 5, 4).heard(), ['c021 6 4', 'c021 5 1'])
  t.match(subject.link.error, { layer: 'auth', code: 'AUTH_METHOD' })
  t.match(subject.link.error?.message, /the server wants PAP; enabled here: CHAP-MD5/)
})

t.test('SoftEther: no magic number, an echo before LCP is open, echoes with magic number 0', async (t) => {
  const subject = client()
  const aho = textHex('Aho Baka Manuke\0')
  t.same(subject.say(LCP, 9, 0, `00000000${aho}`).heard(), [])
  t.same(subject.say(LCP, 4, 1, '050611111111').heard(), ['c021 1 2 01040578'])
  t.same(subject.say(LCP, 1, 0, EAP).heard(), ['c021 1 2 01040578', `c021 3 0 ${MSCHAPV2}`])
  t.same(subject.say(LCP, 2, 2, '01040578').heard(), [])
  t.same(subject.say(LCP, 1, 1, MSCHAPV2).heard(), [`c021 2 1 ${MSCHAPV2}`])
  t.same(
    subject.say(LCP, 9, 1, `00000000${aho}`).heard(),
    [`c021 10 1 00000000${aho}`],
    'also before it is let in',
  )
})

t.test('SoftEther: LCP reopened with another method after it was open', async (t) => {
  const subject = clientUpTo('c023')
  t.equal(subject.say(LCP, 1, 3, MSCHAPV2).link.error?.code, 'LCP_RESTARTED')
})

t.test('SoftEther: a wrong PAP password is answered by hanging up', async (t) => {
  const subject = clientUpTo('c023')
  subject.pass(300).say(LCP, 5, 9)
  t.match(subject.link.error, { layer: 'auth', code: 'AUTH_REFUSED' })
  t.equal(subject.pass(3000).end, 'AUTH_REFUSED')
  const waiting = clientUpTo('c22381')
  t.equal(waiting.say(LCP, 5, 9).link.error?.code, 'TERMINATED', 'before a challenge it has another reason')
})

t.test('SoftEther: its Failure, and the Terminate-Request behind it', async (t) => {
  const subject = clientUpTo('c22381')
  subject.say(CHAP, 1, 1, `10${'5b'.repeat(16)}`).heard()
  subject.say(CHAP, 4, 1, textHex(`E=691 R=0 C=${'5b'.repeat(16)} V=3`)).say(LCP, 5, 2)
  t.same(subject.heard(), ['c021 5 1', 'c021 6 2'])
  t.equal(subject.say(LCP, 6, 1).end, 'AUTH_REFUSED')
})

t.test('accel-ppp steps down its list too', async (t) => {
  t.same(offer(client({ auth: ['pap'] }), MSCHAPV2, MSCHAPV1, MD5, PAP_OPTION), [
    `c021 3 1 ${PAP_OPTION}`,
    `c021 3 2 ${PAP_OPTION}`,
    `c021 3 3 ${PAP_OPTION}`,
    `c021 2 4 ${PAP_OPTION}`,
  ])
  t.same(offer(client(), MSCHAPV1), [`c021 3 1 ${MSCHAPV2}`], 'never MS-CHAP v1')
})

t.test('accel-ppp: the same method again and again', async (t) => {
  const subject = client({ auth: ['mschapv2'] })
  t.same(offer(subject, PAP_OPTION), [`c021 3 1 ${MSCHAPV2}`])
  t.same(subject.say(LCP, 1, 1, PAP_OPTION).heard(), [`c021 3 1 ${MSCHAPV2}`], 'a retransmission')
  t.same(subject.say(LCP, 1, 2, PAP_OPTION).heard(), ['c021 5 1'], 'a new request')
  t.match(subject.link.error?.message, /the server wants PAP; enabled here: MS-CHAPv2/)
  t.equal(subject.say(LCP, 6, 1).end, 'AUTH_METHOD')
})

t.test('no more than five Naks for authentication, never a Reject', async (t) => {
  const subject = client({ auth: ['mschapv2'] })
  const odd = ['0305c22306', '0305c22307', '0305c22308', '0305c22309', '0305c2230a', '0305c2230b']
  const said = offer(subject, ...odd)
  t.same(
    said.slice(0, 5),
    [1, 2, 3, 4, 5].map((id) => `c021 3 ${id} ${MSCHAPV2}`),
  )
  t.equal(said[5], 'c021 5 1')
  t.equal(subject.link.error?.code, 'AUTH_METHOD')
  const same = client({ auth: ['mschapv2'] })
  for (let n = 0; n < 5; n += 1) t.same(same.say(LCP, 1, 1, EAP).heard().at(-1), `c021 3 1 ${MSCHAPV2}`)
  same.say(LCP, 1, 1, EAP)
  t.equal(same.link.error?.code, 'AUTH_METHOD', 'the same request for ever')
  const patient = client({ auth: ['mschapv2'] })
  odd.forEach((option, i) => {
    t.same(patient.link.error, undefined)
    patient.say(LCP, 1, 2 * i, option).say(LCP, 1, 2 * i + 1)
  })
  t.equal(patient.link.error?.code, 'AUTH_METHOD', 'acknowledging other requests in between is no new start')
  const none = client({ auth: [] })
  t.same(none.say(LCP, 1, 1, EAP).heard().at(-1), 'c021 5 1', 'nothing to name')
  t.match(none.link.error?.message, /wants EAP; enabled here: nothing/)
  for (const broken of ['0302', '0303c2', '0304c223', '0306c2238100']) {
    t.same(offer(client(), broken), [`c021 3 1 ${MSCHAPV2}`], 'broken ones too')
  }
})

t.test('accel-ppp: an MRU that it does not like', async (t) => {
  const subject = client({ mru: 1500 - 28 })
  t.same(subject.say(LCP, 3, 1, '010405ac').heard(), ['c021 1 2 010405ac050611111111'])
})

t.test(
  'accel-ppp drops an IPCP request that comes too early: it is repeated when its own comes',
  async (t) => {
    const subject = clientUpTo('c023')
    subject.heard()
    t.same(subject.say(PAP, 2, 1, '00').heard(), ['8021 1 1 030600000000810600000000830600000000'])
    t.same(
      subject.say(IPCP, 1, 5, '03060a540001').heard(),
      ['8021 1 1 030600000000810600000000830600000000', '8021 2 5 03060a540001'],
      'at once, with the same identifier',
    )
    t.same(subject.say(IPCP, 1, 6, '03060a540001').heard(), ['8021 2 6 03060a540001'], 'and not once more')
    const behind = clientUpTo('c023')
    behind.say(PAP, 2, 1, '00').say(IPCP, 1, 5, '03060a540001')
    t.same(
      behind.heard().filter((said) => said.startsWith('8021')),
      ['8021 1 1 030600000000810600000000830600000000', '8021 2 5 03060a540001'],
      'in one read with its Success: ours has not left yet, and goes once',
    )
  },
)

t.test('accel-ppp: IPv6 switched off, and challenges in the open session', async (t) => {
  const subject = clientUpTo('c22305', { ipv6: true })
  subject
    .say(CHAP, 1, 1, `10${'aa'.repeat(16)}`)
    .say(CHAP, 3, 1, textHex('Authentication succeeded'))
    .heard()
  subject.say(LCP, 8, 1, '8057')
  t.equal(subject.event('ipv6-down')?.error?.code, 'REJECTED')
  subject.say(IPCP, 1, 1, '03060a540001').say(IPCP, 3, 1, '03060a54000581060a540001').heard()
  subject.say(IPCP, 2, 2, '03060a54000581060a540001830600000000')
  t.ok(subject.link.ipv4Open)
  for (let id = 2; id < 12; id += 1) {
    t.match(subject.say(CHAP, 1, id, `10${'bb'.repeat(16)}`).heard(), [new RegExp(`^c223 2 ${id} 10`)])
    subject.say(CHAP, 3, id, textHex('Authentication succeeded')).pass(10_000)
  }
  t.ok(subject.link.ipv4Open)
  t.equal(subject.types.filter((type) => type === 'authenticated').length, 1)
})

t.test(
  'sstp-server loses the first frame: the request is repeated when its own comes, or after 3 s',
  async (t) => {
    const subject = client()
    const request = `0206000000000506a1b2c3d407020802${MSCHAPV2}`
    t.same(subject.say(LCP, 1, 1, request).heard(), ['c021 1 1 01040578050611111111', `c021 2 1 ${request}`])
    const slow = client()
    slow.pass(3000)
    t.same(slow.heard(), ['c021 1 1 01040578050611111111'])
  },
)

t.test('sstp-server: an empty Failure, and the IPCP Terminate-Request of a refused address', async (t) => {
  const subject = clientUpTo('c22381')
  subject
    .say(CHAP, 1, 1, `10${'5b'.repeat(16)}`)
    .say(CHAP, 4, 1)
    .say(LCP, 5, 2, textHex('Authentication failed'))
  t.match(subject.link.error, { code: 'AUTH_REFUSED', reason: undefined })
})

t.test('RouterOS: a PAP-Ack whose header leaves its message out', async (t) => {
  const subject = clientUpTo('c023')
  // 02 01 0004 and then 08 "Login ok" behind the length
  subject.raw(PAP, `02010004${'08'}${textHex('Login ok')}`, 0)
  t.equal(subject.event('authenticated')?.method, 'pap')
})

t.test('RouterOS: VJ, MPLSCP, BCP and CCP', async (t) => {
  const subject = clientUpTo('', { requireAuth: false })
  subject.heard()
  subject.say(IPCP, 2, 1)
  t.equal(subject.say(IPCP, 1, 1, '0206002d0f0103060a000001').heard().at(-1), '8021 4 1 0206002d0f01')
  for (const protocol of [0x8281, 0x8031, 0x80fd, 0xc029, 0xc02b]) {
    t.match(subject.raw(protocol, '01010004', 0).heard(), [/^c021 8 /])
  }
})

t.test('pppd offers EAP, then CHAP-MD5, then PAP', async (t) => {
  t.same(offer(client({ auth: ['pap'] }), EAP, MD5, PAP_OPTION).at(-1), `c021 2 3 ${PAP_OPTION}`)
})

t.test("the server's IPCP request right behind the CHAP Success is not lost", async (t) => {
  const subject = clientUpTo('c22305', { ipv6: true })
  subject.say(CHAP, 1, 1, `10${'aa'.repeat(16)}`).heard()
  subject.say(CHAP, 3, 1).say(IPCP, 1, 1, '03060a000001').say(IPV6CP, 1, 1, '010a0000000000000001')
  const said = subject.heard()
  t.ok(said.includes('8021 2 1 03060a000001'))
  t.ok(said.includes('8057 2 1 010a0000000000000001'))
  acceptRequests(
    subject,
    said.filter((line) => line.startsWith('8057')),
  )
  t.ok(subject.link.ipv6Open, 'and IPv6 does not wait for IPv4')
  t.notOk(subject.link.ipv4Open)
})
