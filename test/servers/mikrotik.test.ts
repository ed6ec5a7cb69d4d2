/** MikroTik RouterOS, as its users' logs have it, against the client's whole call. */
import t from 'tap'
import {
  AUTH,
  answerEcho,
  DISCONNECT,
  IPCP_REQUEST,
  LCP_REQUEST,
  MSCHAPV2,
  PAP_REQUEST,
  play,
  type ScriptedServer,
  text,
} from '../helpers/scripted-server.js'

const VJ = '0206 002d0f01'
const OWN = '0306 0a0a0a01'

/** Its LCP: authentication, MRU, magic number; the same read has its answer to ours. */
function lcp(s: ScriptedServer, auth: keyof typeof AUTH, hashes = 3): ScriptedServer {
  const request = `${AUTH[auth]} 0104 05dc 0506 0badcafe`
  s.connect(hashes).hears(`lcp request 1 ${LCP_REQUEST}`)
  s.says(`lcp ack 1 ${LCP_REQUEST}`, `lcp request 1 ${request}`)
  return s.hears(`lcp ack 1 ${request}`, ...(auth === 'pap' ? [`pap request 1 ${PAP_REQUEST}`] : []))
}

/** The header's length says 4; what the server wants to say stands behind it. */
const MALFORMED_ACK = `raw 1000 0015 ff03 c023 02 01 0004 08 ${text('Login ok')}`

function authenticated(s: ScriptedServer): ScriptedServer {
  lcp(s, 'pap').says(MALFORMED_ACK)
  return s.hears('CALL_CONNECTED sha256 zero', `ipcp request 1 ${IPCP_REQUEST}`)
}

function up(s: ScriptedServer): ScriptedServer {
  authenticated(s).says(`ipcp request 1 ${VJ} ${OWN}`)
  s.hears(`ipcp request 1 ${IPCP_REQUEST}`, `ipcp reject 1 ${VJ}`)
  s.says(`ipcp request 2 ${OWN}`, 'ipcp reject 1 8106 00000000 8306 00000000')
  s.hears(`ipcp ack 2 ${OWN}`, 'ipcp request 2 0306 00000000')
  s.says('ipcp nak 2 0306 0a0a0a63').hears('ipcp request 3 0306 0a0a0a63')
  return s.says('ipcp ack 3 0306 0a0a0a63').isUp('10.10.10.99')
}

t.test('RouterOS: a PAP-Ack whose header leaves its message out, and a call behind it', async (t) =>
  play(t, {}, (s) => {
    up(s).hasDns()
    t.equal(s.call.ppp.mtu, 1400)
  }),
)

t.test('RouterOS: the malformed PAP-Ack cut anywhere in the stream', async (t) => {
  for (const piece of [1, 2, 3, 5, 11, 20]) play(t, { piece }, (s) => void authenticated(s))
})

t.test('RouterOS refuses with a message behind the length too', async (t) =>
  play(t, {}, (s) => {
    lcp(s, 'pap')
      .says(`raw 1000 0015 ff03 c023 03 01 0004 08 ${text('bad user')}`)
      .hears('lcp terminate 1')
    s.pppError('AUTH_REFUSED', /^wrong user name or password$/)
  }),
)

t.test(
  'RouterOS offers VJ compression: rejected alone, octet for octet, and the address is taken',
  async (t) =>
    play(t, {}, (s) => {
      authenticated(s).says(`ipcp request 1 ${VJ} ${OWN}`)
      s.hears(`ipcp request 1 ${IPCP_REQUEST}`, `ipcp reject 1 ${VJ}`)
      s.says(`ipcp request 2 ${OWN}`).hears(`ipcp ack 2 ${OWN}`)
      t.equal(s.call.ppp.ipv4Open, false, 'ours is not agreed on yet')
    }),
)

t.test('RouterOS tells an address only: no DNS is no reason to fail', async (t) =>
  play(t, {}, (s) => {
    authenticated(s).says('ipcp nak 1 0306 0a0a0a63')
    s.hears('ipcp request 2 0306 0a0a0a63 8106 00000000 8306 00000000')
    s.says('ipcp ack 2 0306 0a0a0a63 8106 00000000 8306 00000000', `ipcp request 1 ${OWN}`)
    s.hears(`ipcp ack 1 ${OWN}`).isUp('10.10.10.99').hasDns()
  }),
)

t.test('RouterOS profiles: multilink is rejected, the rest of the request stays', async (t) =>
  play(t, {}, (s) => {
    s.connect(3).hears(`lcp request 1 ${LCP_REQUEST}`)
    s.says(`lcp ack 1 ${LCP_REQUEST}`, `lcp request 1 ${AUTH.mschapv2} 0104 05dc 0506 0badcafe 1104 0640`)
    s.hears('lcp reject 1 1104 0640')
    s.says(`lcp request 2 ${AUTH.mschapv2} 0104 05dc 0506 0badcafe`)
    s.hears(`lcp ack 2 ${AUTH.mschapv2} 0104 05dc 0506 0badcafe`)
  }),
)

t.test(
  'RouterOS profiles: MPLSCP, BCP, CCP and IPV6CP get Protocol-Rejects, and the call goes on',
  async (t) =>
    play(t, {}, (s) => {
      up(s)
      s.says('8281 1 1').hears('lcp protocol-reject 1 8281 01010004')
      s.says('8031 1 1 0304 0064').hears('lcp protocol-reject 2 8031 01010008 03040064')
      s.says('80fd 1 1 1206 01000060').hears('lcp protocol-reject 3 80fd 0101000a 120601000060')
      s.says('ipv6cp request 1 010a 0000000000000001')
      s.hears('lcp protocol-reject 4 8057 0101000e 010a0000000000000001')
      // A frame of data in a compression that nobody agreed on.
      s.says('raw 1000 000c ff03 002d 45000014').hears('lcp protocol-reject 5 002d 45000014')
      s.isUp('10.10.10.99')
    }),
)

t.test('RouterOS rejects IPV6CP: IPv4 comes up all the same', async (t) =>
  play(t, { client: { ipv6: true } }, (s) => {
    lcp(s, 'pap').says(MALFORMED_ACK)
    s.hears(
      'CALL_CONNECTED sha256 zero',
      `ipcp request 1 ${IPCP_REQUEST}`,
      'ipv6cp request 1 010a 0011223344556677',
    )
    s.says('lcp protocol-reject 2 8057 0101000e 010a0011223344556677', 'ipcp nak 1 0306 0a0a0a63').hears(
      'ipcp request 2 0306 0a0a0a63 8106 00000000 8306 00000000',
    )
    s.says('ipcp ack 2 0306 0a0a0a63 8106 00000000 8306 00000000', `ipcp request 1 ${OWN}`)
    s.hears(`ipcp ack 1 ${OWN}`).isUp('10.10.10.99')
    t.notOk(s.call.ppp.ipv6Open)
  }),
)

t.test('RouterOS of old offers SHA-1 alone, which is used then', async (t) =>
  play(t, {}, (s) => {
    lcp(s, 'mschapv2', 1).says(`chap challenge 1 10 ${MSCHAPV2.challenge} ${text('MikroTik')}`)
    s.hears(`chap response 1 ${MSCHAPV2.response} ${text('User')}`)
    s.says(`chap success 1 ${text(MSCHAPV2.proof)}`)
    s.hears('CALL_CONNECTED sha1 mschapv2', `ipcp request 1 ${IPCP_REQUEST}`)
  }),
)

t.test('RouterOS with only-one=yes throws the older session out: it ends in order', async (t) =>
  play(t, {}, (s) => {
    up(s).after(4000).says('lcp terminate 3').hears('lcp terminate-ack 3')
    s.pppError('TERMINATED', /^the server ended the link$/)
    s.says(DISCONNECT).hears('CALL_DISCONNECT_ACK 0').after(1000).isOver()
  }),
)

t.test(
  'RouterOS drops a session after 60 s without life: it gets four signs of it in each minute',
  async (t) =>
    play(t, { keepAlive: true }, (s) => {
      const longest = up(s).lives(300_000, answerEcho)
      t.ok(longest <= 15_000, `${longest} ms of silence at most`)
      t.equal(s.dead, undefined)
    }),
)
