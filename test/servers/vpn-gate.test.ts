/** VPN Gate and VPN Azure: volunteers' SoftEther servers, old and new, and the relay in front of some. */
import t from 'tap'
import {
  ABORT_BACK,
  AUTH,
  DISCONNECT,
  IPCP_REQUEST,
  LCP_REQUEST,
  MSCHAPV2,
  play,
  type ScriptedServer,
  text,
} from '../helpers/scripted-server.js'

/** Older than 5.02: no EAP that it could do, MS-CHAPv2 or PAP, SHA-256 only, no magic number. */
function lcp(s: ScriptedServer): ScriptedServer {
  s.connect(2).hears(`lcp request 1 ${LCP_REQUEST}`)
  s.says('lcp reject 1 0506 a1b2c3d4', `lcp request 0 0104 05dc ${AUTH.mschapv2}`)
  s.hears('lcp request 2 0104 0578', `lcp ack 0 0104 05dc ${AUTH.mschapv2}`)
  return s.says('lcp ack 2 0104 0578').hearsNothing()
}

/** SecureNAT gives the address. */
function up(s: ScriptedServer): ScriptedServer {
  lcp(s)
    .after(300)
    .says(`chap challenge 0 10 ${MSCHAPV2.challenge} ${text('public-vpn')}`)
  s.hears(`chap response 0 ${MSCHAPV2.response} ${text('User')}`)
  s.after(300).says(`chap success 0 ${text(MSCHAPV2.proof)}`)
  s.hears('CALL_CONNECTED sha256 mschapv2', `ipcp request 1 ${IPCP_REQUEST}`)
  s.says('ECHO_REQUEST 0').hears('ECHO_RESPONSE 0')
  s.says('ipcp reject 1 8306 00000000').hears('ipcp request 2 0306 00000000 8106 00000000')
  s.says('ipcp request 0 0306 0ad3fefe')
  s.hears('ipcp request 2 0306 00000000 8106 00000000', 'ipcp ack 0 0306 0ad3fefe')
  s.after(900)
    .says('ipcp nak 2 0306 0ad30147 8106 0ad3fefe')
    .hears('ipcp request 3 0306 0ad30147 8106 0ad3fefe')
  return s.says('ipcp ack 3 0306 0ad30147 8106 0ad3fefe').isUp('10.211.1.71').hasDns('10.211.254.254')
}

t.test('VPN Gate: MS-CHAPv2 offered at once, an address of SecureNAT', async (t) =>
  play(t, {}, (s) => void up(s)),
)

t.test('VPN Gate: a server that knows no IPv6 says so, and IPv4 comes up', async (t) =>
  play(t, { client: { ipv6: true } }, (s) => {
    lcp(s).says(`chap challenge 0 10 ${MSCHAPV2.challenge} 78`).hears('chap response 0 *')
    s.says(`chap success 0 ${text(MSCHAPV2.proof)}`)
    s.hears('CALL_CONNECTED sha256 mschapv2', 'ipcp request 1 *', 'ipv6cp request 1 010a 0011223344556677')
    s.says('lcp protocol-reject 0 8057 0101000e 010a0011223344556677', 'ipcp nak 1 0306 0ad30147')
    s.hears('ipcp request 2 0306 0ad30147 8106 00000000 8306 00000000')
    s.says('ipcp ack 2 0306 0ad30147 8106 00000000 8306 00000000', 'ipcp request 0 0306 0ad3fefe')
    s.hears('ipcp ack 0 0306 0ad3fefe').isUp('10.211.1.71')
  }),
)

t.test(
  'VPN Azure ends PPP at random: in each phase the client leaves in order and says who ended it',
  async (t) => {
    const phases: readonly [name: string, to: (s: ScriptedServer) => ScriptedServer][] = [
      ['before LCP is agreed on', (s) => s.connect(2).hears(`lcp request 1 ${LCP_REQUEST}`)],
      ['before the challenge', lcp],
      ['in the open link', up],
    ]
    for (const [name, to] of phases) {
      play(t, {}, (s) => {
        to(s).says('lcp terminate 9')
        t.equal(s.heard()[0], 'lcp terminate-ack 9', name)
        s.pppError('TERMINATED', /^the server ended the link$/)
        s.after(300).says('CALL_DISCONNECT 0')
        t.equal(s.heard().at(-1), 'CALL_DISCONNECT_ACK 0')
        s.after(1000).isOver()
      })
    }
  },
)

t.test('VPN Azure drops the connection: the client says that there was no farewell', async (t) =>
  play(t, {}, (s) => {
    up(s).after(14_000).hangsUp()
    s.isOver('SSTP_CONNECTION_CLOSED', /^the server closed the connection without ending the call$/)
  }),
)

t.test('VPN Gate: a server that is switched off falls silent, and is noticed within 20 s', async (t) =>
  play(t, { keepAlive: true }, (s) => {
    up(s).after(1000)
    const from = s.now
    s.lives(60_000, () => [])
    t.ok(s.dead !== undefined && s.now - from <= 20_000, `noticed after ${s.now - from} ms`)
  }),
)

t.test('VPN Gate: a full server lets in and aborts without a reason', async (t) =>
  play(t, {}, (s) => {
    s.start().hears('CALL_CONNECT_REQUEST 1 0001 0006 0001')
    s.says('CALL_ABORT 0').hears(ABORT_BACK)
    s.says(DISCONNECT, 'CALL_ABORT 0').hearsNothing()
    s.after(1000).isOver('SSTP_PEER_ABORT', /^the server aborted the call$/)
  }),
)
