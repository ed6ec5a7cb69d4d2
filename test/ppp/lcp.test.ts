import t from 'tap'
import {
  acceptRequests,
  CHAP,
  clientOptions,
  clientUpTo,
  IPCP,
  LCP,
  Subject,
  serverOptions,
  textHex,
} from '../helpers/ppp.js'

/** Fills with one octet, which makes magic numbers and challenges readable. */
const fill = (octet: number) => (dst: Uint8Array) => {
  dst.fill(octet)
}
const client = (over: Parameters<typeof clientOptions>[0] = {}): Subject =>
  new Subject(clientOptions({ random: fill(0x11), ...over })).start()

t.test('the client asks at once: MRU and magic number, nothing else', async (t) => {
  t.same(client().heard(), ['c021 1 1 01040578050611111111'])
  t.same(client({ mru: 1500 }).heard(), ['c021 1 1 050611111111'], 'the default is left out')
  t.same(client({ mru: 9000 }).heard(), ['c021 1 1 01040ff7050611111111'], 'what fits into SSTP')
  const idle = new Subject(clientOptions())
  t.same([idle.heard(), idle.link.nextTimeout()], [[], Number.POSITIVE_INFINITY], 'not before start')
  idle.say(LCP, 1, 1)
  t.same(idle.heard(), [], 'and it hears nothing before')
})

t.test('the server asks for the strongest method configured', async (t) => {
  const ask = (auth: Parameters<typeof serverOptions>[0]): string | undefined =>
    new Subject(serverOptions({ random: fill(0x22), ...auth })).start().heard()[0]
  t.equal(ask({ auth: ['pap', 'mschapv2', 'chap'] }), 'c021 1 1 010405780305c22381050622222222')
  t.equal(ask({ auth: ['pap', 'chap'] }), 'c021 1 1 010405780305c22305050622222222')
  t.equal(ask({ auth: ['pap'] }), 'c021 1 1 010405780304c023050622222222')
  t.equal(ask({ auth: [] }), 'c021 1 1 01040578050622222222')
})

t.test('no answer to LCP', async (t) => {
  const subject = client()
  t.equal(subject.heard().length, 1)
  subject.pass(29_999)
  t.equal(subject.heard().length, 9)
  t.equal(subject.end, undefined)
  subject.pass(1)
  t.equal(subject.end, 'NO_ANSWER')
  t.equal(subject.link.error?.layer, 'lcp')
  t.equal(subject.link.nextTimeout(), Number.POSITIVE_INFINITY)
})

t.test('options of a peer: accepted, rejected, corrected', async (t) => {
  const ask = (body: string): string[] => {
    const subject = client()
    subject.heard()
    subject.say(LCP, 2, 1, '01040578050611111111') // its answer first: no repeat of ours then
    return subject.say(LCP, 1, 7, body).heard().slice(0, 1)
  }
  const accepted = '010405dc 0206000a0000 0305c22381 050601020304 0702 0802'.replace(/ /g, '')
  t.same(ask(accepted), [`c021 2 7 ${accepted}`], 'repeated octet for octet')
  for (const [name, option] of [
    ['quality', '0408c02500000064'],
    ['FCS alternatives', '090304'],
    ['padding', '0a03ff'],
    ['callback', '0d0306'],
    ['MRRU', '1104064e'],
    ['short sequence numbers', '1202'],
    ['endpoint discriminator', '130701aabbccdd'],
    ['link discriminator', '17040001'],
    ['unknown', 'ff03aa'],
    ['vendor', '000600000001'],
  ] as const) {
    t.same(ask(`01040fff${option}0702`), [`c021 4 7 ${option}`], name)
  }
  t.same(ask('01040043'), ['c021 3 7 010405dc'], 'an MRU that carries nothing')
  t.same(ask('01040064'), ['c021 2 7 01040064'], "SoftEther's smallest")
  t.same(ask('010305'), ['c021 3 7 010405dc'], 'an MRU of the wrong size')
  t.same(ask('02030a'), ['c021 3 7 020600000000'])
  t.same(ask('050600000000'), ['c021 3 7 050611111112'], 'a magic number must not be 0')
  t.same(ask('070300'), ['c021 3 7 0702'])
  t.same(ask('010405dc0104052c'), ['c021 2 7 010405dc0104052c'], 'one that comes twice')
})

t.test('the MTU is the least of the MRU of the peer, what SSTP carries, and ours', async (t) => {
  const mtu = (body: string, mru: number): number => {
    const subject = client({ mru, requireAuth: false })
    acceptRequests(subject, subject.heard())
    return subject.say(LCP, 1, 7, body).link.mtu
  }
  t.equal(mtu('', 1400), 1400)
  t.equal(mtu('', 4000), 1500, 'a peer that names none takes 1500')
  t.equal(mtu('01040514', 1400), 1300)
  t.equal(mtu('01040ffb', 9000), 4087, "Windows' 4091 leaves the PPP header out")
  t.equal(mtu('01040514 01040500', 1400), 1280, 'the last one counts')
})

t.test('MRU and magic number of ours may be rejected or corrected', async (t) => {
  const subject = client()
  subject.heard()
  t.same(subject.say(LCP, 3, 1, '010405ac').heard(), ['c021 1 2 010405ac050611111111'], 'its MRU')
  t.same(subject.say(LCP, 4, 2, '050611111111').heard(), ['c021 1 3 010405ac'], 'no magic number')
  t.same(subject.say(LCP, 4, 3, '010405ac').heard(), ['c021 1 4'], 'nothing left')
  t.same(subject.say(LCP, 3, 4, '010405ac').heard(), ['c021 1 5'], 'what it rejected stays away')
  subject.say(LCP, 2, 5)
  t.same(subject.say(LCP, 1, 9, '0305c22381').heard(), ['c021 2 9 0305c22381'])
  t.same(
    subject.say(LCP, 9, 3, `00000000${textHex('Aho')}`).heard(),
    [`c021 10 3 00000000${textHex('Aho')}`],
    'the echo bears magic number 0',
  )
  const odd = client()
  odd.heard()
  t.same(odd.say(LCP, 3, 1, '01040010').heard(), ['c021 1 2 050611111111'], 'a useless value')
  const plain = client({ mru: 1500 })
  plain.heard()
  t.same(plain.say(LCP, 3, 1, '010405ac').heard(), ['c021 1 2 010405ac050611111111'], 'one not asked for')
})

t.test('a looped link is noticed', async (t) => {
  let octet = 0
  const subject = new Subject(clientOptions({ random: (dst) => dst.fill((octet += 1)) })).start()
  for (let n = 0; n < 40 && subject.end === undefined; n += 1) {
    for (const frame of subject.frames()) subject.raw(LCP, Buffer.from(frame.subarray(4)).toString('hex'), 0)
    subject.pass(0)
  }
  t.equal(subject.end, 'LCP_LOOPED')
})

t.test('our magic number in the request of a peer gets another one', async (t) => {
  const subject = client()
  subject.heard()
  subject.say(LCP, 2, 1, '01040578050611111111')
  t.same(subject.say(LCP, 1, 7, '050611111111').heard(), ['c021 3 7 050611111112'])
})

t.test('LCP codes beyond the common ones', async (t) => {
  const subject = clientUpTo('c22381', { random: fill(0x11) })
  t.same(subject.say(LCP, 12, 1, `51a2411c${textHex('MSRASV5.20')}`).heard(), [], 'Identification')
  t.same(subject.say(LCP, 13, 1, '51a2411c000000ff').heard(), [], 'Time-Remaining')
  t.same(subject.say(LCP, 11, 1, '51a2411c').heard(), [], 'Discard-Request')
  t.same(subject.say(LCP, 9, 5, '51a2411cabcd').heard(), ['c021 10 5 11111111abcd'], 'our magic number')
  t.same(subject.say(LCP, 9, 5, '51a2').heard(), [], 'too short')
  t.same(subject.say(LCP, 14, 5, '01').heard(), ['c021 7 1 0e05000501'])
  t.same(subject.say(LCP, 0, 5).heard(), ['c021 7 2 00050004'])
  t.same(subject.say(LCP, 8, 5, 'c0').heard(), [], 'a Protocol-Reject of half a protocol')
  t.equal(subject.end, undefined)
})

t.test('an Echo-Reply is cut to the MRU of the peer', async (t) => {
  const subject = client({ requireAuth: false })
  acceptRequests(subject, subject.heard())
  subject.say(LCP, 1, 7, '01040064').heard()
  const [reply = ''] = subject.say(LCP, 9, 1, '00'.repeat(200)).heard()
  t.equal(reply.split(' ')[3]?.length, 2 * 96)
})

t.test('before LCP is open nothing but LCP counts, and echoes get no answer', async (t) => {
  const subject = client()
  subject.heard()
  subject.say(LCP, 9, 1, '00000000')
  subject.say(CHAP, 1, 1, `10${'00'.repeat(16)}`)
  subject.say(IPCP, 1, 1, '03060a000001')
  subject.say(0x80fd, 1, 1)
  subject.link.protocolReject(0x8281, new Uint8Array(4), 0, 4, 0)
  t.same(subject.heard(), [])
})

t.test('LCP begun anew in the open link ends the call', async (t) => {
  const subject = clientUpTo('c22381')
  subject.heard()
  t.match(subject.say(LCP, 1, 78, '0305c22381').heard(), [/^c021 5 /], 'a Terminate-Request and no Ack')
  t.equal(subject.link.error?.code, 'LCP_RESTARTED')
  t.equal(subject.say(LCP, 6, 1).end, 'LCP_RESTARTED')
  const again = clientUpTo('c22381')
  again.heard()
  t.same(again.say(LCP, 1, 77, '0305c22381').heard(), ['c021 2 77 0305c22381'], 'a retransmission does not')
  t.equal(again.link.error, undefined)
  const acked = clientUpTo('c22381')
  t.equal(acked.say(LCP, 6, 1).link.error?.code, 'LCP_RESTARTED', 'an unasked Terminate-Ack does')
})

t.test('an open link whose LCP is rejected ends', async (t) => {
  const byCode = clientUpTo('c22381')
  byCode.say(LCP, 7, 1, '01010004')
  t.equal(byCode.link.error?.code, 'REJECTED')
  t.equal(byCode.pass(6000).end, 'REJECTED')
  const byProtocol = clientUpTo('c22381')
  byProtocol.say(LCP, 8, 1, 'c021')
  t.equal(byProtocol.pass(6000).end, 'REJECTED')
  const early = client()
  early.heard()
  t.equal(early.say(LCP, 7, 1, '01010004').end, 'REJECTED')
  const method = clientUpTo('c22381')
  method.say(LCP, 8, 1, 'c223')
  t.match(method.link.error, { layer: 'auth', code: 'REJECTED' })
})

t.test('the peer ends the link: our Ack, a pause, the end with its reason', async (t) => {
  const subject = clientUpTo('c22381')
  subject.heard()
  t.same(subject.say(LCP, 5, 9, textHex('Idle timeout')).heard(), ['c021 6 9'])
  t.match(subject.link.error?.message, /Idle timeout/)
  t.equal(subject.end, undefined)
  t.equal(subject.pass(3000).end, 'TERMINATED')
})

t.test('terminate: two Terminate-Requests, or the first that is acknowledged', async (t) => {
  const subject = clientUpTo('c22381')
  subject.heard()
  subject.link.terminate(subject.now)
  t.same(subject.heard(), ['c021 5 1'])
  subject.link.terminate(subject.now)
  t.same(subject.heard(), [], 'once is enough')
  t.equal(subject.say(LCP, 6, 1).end, 'none')
  t.same(subject.say(LCP, 1, 99).heard(), [], 'then it is dead')
  const deaf = clientUpTo('c22381')
  deaf.heard()
  deaf.link.terminate(deaf.now)
  deaf.pass(6000)
  t.same(deaf.heard(), ['c021 5 1', 'c021 5 2'])
  t.equal(deaf.end, 'none')
  const never = new Subject(clientOptions())
  never.link.terminate(0)
  t.equal(never.end, 'none')
  never.link.start(0)
  t.same(never.heard(), [], 'and it does not start any more')
  const both = clientUpTo('c22381')
  both.heard()
  both.link.terminate(0)
  t.same(both.say(LCP, 5, 4).heard(), ['c021 5 1', 'c021 6 4'], 'both ends at once')
})

t.test('the server: a client does not tell it to authenticate, and chooses among its methods', async (t) => {
  const server = (auth: ('pap' | 'chap' | 'mschapv2')[]): Subject => {
    const subject = new Subject(serverOptions({ auth, random: fill(0x22) })).start()
    subject.heard()
    return subject
  }
  t.same(server(['pap']).say(LCP, 1, 1, '0304c023').heard(), ['c021 4 1 0304c023'])
  const steps = server(['pap', 'mschapv2'])
  t.same(steps.say(LCP, 3, 1, '0304c023').heard(), ['c021 1 2 010405780304c023050622222222'])
  const none = server(['pap', 'mschapv2'])
  t.same(
    none.say(LCP, 3, 1, '0304c227').heard(),
    ['c021 1 2 010405780304c023050622222222'],
    'what it names is not ours, so the next of ours',
  )
  none.say(LCP, 3, 2, '0304c227')
  t.equal(none.link.error?.code, 'AUTH_METHOD')
  t.match(none.link.error?.message, /wants EAP; enabled here: PAP, MS-CHAPv2/)
  const refused = server(['mschapv2'])
  refused.say(LCP, 4, 1, '0305c22381')
  t.equal(refused.link.error?.code, 'AUTH_METHOD')
})

t.test('echo: after 30 s of silence, three times, then the link is dead', async (t) => {
  const subject = clientUpTo('', { requireAuth: false, ipv4: false, ipv6: true, random: fill(0x11) })
  subject.say(LCP, 1, 77).heard()
  const echoes = (): string[] => subject.heard().filter((said) => said.startsWith('c021 9'))
  // IPV6CP would end it otherwise
  subject.say(0x8057, 1, 1, '010a0000000000000001')
  subject.say(0x8057, 2, 1, '010a1111111111111111')
  t.ok(subject.link.ipv6Open)
  subject.heard()
  t.same([subject.pass(29_999), echoes()][1], [])
  t.same([subject.pass(1), echoes()][1], ['c021 9 1 11111111'])
  subject.say(LCP, 10, 1, '51a2411c')
  t.same([subject.pass(29_999), echoes()][1], [])
  subject.pass(1)
  t.equal(echoes().length, 1)
  for (let n = 0; n < 20; n += 1) {
    subject.pass(20_000)
    subject.link.packetReceived(subject.now)
  }
  t.same(echoes(), [], 'traffic is life')
  subject.pass(90_000)
  t.equal(echoes().length, 3)
  t.equal(subject.end, undefined)
  subject.pass(30_000)
  t.equal(subject.end, 'LCP_NO_ECHO')
  t.notOk(subject.link.ipv6Open)
  t.same(subject.heard(), [])
})

t.test('echo: our own magic number is no answer; a peer without echoes is left alone', async (t) => {
  const looped = clientUpTo('', { requireAuth: false, ipv4: false, random: fill(0x11) })
  for (let n = 0; n < 4; n += 1) {
    looped.pass(30_000)
    looped.say(LCP, 10, n + 1, '11111111')
  }
  t.equal(looped.end, 'LCP_LOOPED')
  const near = clientUpTo('', { requireAuth: false, ipv4: false, random: fill(0x11) })
  near.heard()
  for (let n = 1; n < 20; n += 1) {
    near.pass(30_000)
    t.same(near.heard(), [`c021 9 ${n} 11111111`])
    near.say(LCP, 10, n, '51a2411c')
  }
  t.equal(near.link.error, undefined, 'an answer in the same millisecond counts')
  const mute = clientUpTo('c22381')
  mute.say(LCP, 7, 1, '09010008deadbeef')
  mute.heard()
  mute.pass(59_000)
  t.same(mute.heard(), [])
  const off = clientUpTo('c22381', { lcpEchoInterval: 0 })
  off.heard()
  off.pass(59_000)
  t.same(off.heard(), [])
})
