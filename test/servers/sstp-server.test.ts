/** sstp-server (Python, in front of pppd), as it was seen to talk, against the client's whole call. */
import t from 'tap'
import { IpAddress } from '../../stack/index.js'
import {
  ABORT_BACK,
  AUTH,
  DISCONNECT,
  IPCP_REQUEST,
  LCP_REQUEST,
  MSCHAPV2,
  PAP_REQUEST,
  play,
  type ScriptedServer,
  text,
} from '../helpers/scripted-server.js'

/** What pppd asks for: ACCM 0, authentication, magic number, PFC, ACFC. */
const asks = (auth: string): string => `0206 00000000 ${auth} 0506 c0ffee01 0702 0802`

function lcp(s: ScriptedServer, auth: keyof typeof AUTH): ScriptedServer {
  s.connect(3).hears(`lcp request 1 ${LCP_REQUEST}`)
  s.after(250).says(`lcp request 1 ${asks(AUTH[auth])}`)
  const behind = auth === 'pap' ? [`pap request 1 ${PAP_REQUEST}`] : []
  // The first frame was lost before pppd had its terminal: ours is repeated as soon as pppd speaks.
  s.hears(`lcp request 1 ${LCP_REQUEST}`, `lcp ack 1 ${asks(AUTH[auth])}`)
  return s.says(`lcp ack 1 ${LCP_REQUEST}`).hears(...behind)
}

function authenticated(s: ScriptedServer): ScriptedServer {
  lcp(s, 'mschapv2').says(`chap challenge 54 10 ${MSCHAPV2.challenge} ${text('sstpd')}`)
  s.hears(`chap response 54 ${MSCHAPV2.response} ${text('User')}`)
  s.says(`chap success 54 ${text(`${MSCHAPV2.proof} M=Access granted`)}`)
  return s.hears('CALL_CONNECTED sha256 mschapv2', `ipcp request 1 ${IPCP_REQUEST}`)
}

/** VJ first, then an address; ours and its DNS servers by Nak. */
function up(s: ScriptedServer): ScriptedServer {
  const given = '0306 c0a84e02 8106 c0a84e01 8306 c0a84e03'
  authenticated(s).says('ipcp request 1 0206 002d0f01 0306 c0a84e01', `ipcp nak 1 ${given}`)
  s.hears(`ipcp request 1 ${IPCP_REQUEST}`, 'ipcp reject 1 0206 002d0f01', `ipcp request 2 ${given}`)
  s.says('ipcp request 2 0306 c0a84e01', `ipcp ack 2 ${given}`).hears('ipcp ack 2 0306 c0a84e01')
  return s.isUp('192.168.78.2').hasDns('192.168.78.1', '192.168.78.3')
}

t.test(
  'sstp-server loses the first frame: it is repeated when pppd speaks, and a whole call follows',
  async (t) =>
    play(t, {}, (s) => {
      up(s)
      t.equal(s.call.ppp.mtu, 1400, 'pppd names no MRU: 1500, and our own cap')
    }),
)

t.test('sstp-server whose pppd is silent too: the first frame is repeated after 3 s', async (t) =>
  play(t, {}, (s) => {
    s.connect(3).hears(`lcp request 1 ${LCP_REQUEST}`)
    s.after(2999).hearsNothing().after(1).hears(`lcp request 1 ${LCP_REQUEST}`)
    s.says(`lcp ack 1 ${LCP_REQUEST}`, `lcp request 1 ${asks(AUTH.mschapv2)}`)
    s.hears(`lcp ack 1 ${asks(AUTH.mschapv2)}`)
  }),
)

t.test('sstp-server without a pppd that works: ten requests, then the call ends by itself', async (t) =>
  play(t, {}, (s) => {
    s.connect(3)
    for (let n = 0; n < 10; n += 1) s.hears(`lcp request 1 ${LCP_REQUEST}`).after(3000)
    s.hears(DISCONNECT).pppError('NO_ANSWER', /no answer to LCP requests/)
    s.says('CALL_DISCONNECT_ACK 0').isOver()
  }),
)

t.test('sstp-server writes header and frame apart, and TLS may cut anywhere', async (t) => {
  for (const piece of [1, 4, 7, 33]) play(t, { piece }, (s) => void up(s))
})

t.test('pppd offers EAP, then what our Nak names', async (t) =>
  play(t, {}, (s) => {
    s.connect(3).hears(`lcp request 1 ${LCP_REQUEST}`).says(`lcp ack 1 ${LCP_REQUEST}`)
    s.says(`lcp request 1 ${asks(AUTH.eap)}`).hears(`lcp nak 1 ${AUTH.mschapv2}`)
    s.says(`lcp request 2 ${asks(AUTH.mschapv2)}`).hears(`lcp ack 2 ${asks(AUTH.mschapv2)}`)
  }),
)

t.test('pppd comes to PAP over CHAP-MD5', async (t) =>
  play(t, { client: { auth: ['pap'] } }, (s) => {
    s.connect(3).hears(`lcp request 1 ${LCP_REQUEST}`).says(`lcp ack 1 ${LCP_REQUEST}`)
    s.says(`lcp request 1 ${asks(AUTH.eap)}`).hears(`lcp nak 1 ${AUTH.pap}`)
    s.says(`lcp request 2 ${asks(AUTH.md5)}`).hears(`lcp nak 2 ${AUTH.pap}`)
    s.says(`lcp request 3 ${asks(AUTH.pap)}`)
    s.hears(`lcp ack 3 ${asks(AUTH.pap)}`, `pap request 1 ${PAP_REQUEST}`)
    s.says(`pap ack 1 08${text('Login ok')}`).hears(
      'CALL_CONNECTED sha256 zero',
      `ipcp request 1 ${IPCP_REQUEST}`,
    )
  }),
)

t.test('pppd refuses: Access denied with R=1, or a Failure of nothing for an unknown user', async (t) => {
  play(t, {}, (s) => {
    lcp(s, 'mschapv2').says(`chap challenge 1 10 ${MSCHAPV2.challenge} 78`).hears('chap response 1 *')
    s.says(`chap failure 1 ${text(`E=691 R=1 C=${MSCHAPV2.challenge} V=0 M=Access denied`)}`)
    s.hears('lcp terminate 1')
    s.pppError('AUTH_REFUSED', /^wrong user name or password \(E=691\); server says: Access denied$/)
    s.says('lcp terminate-ack 1').hears(DISCONNECT).says('CALL_DISCONNECT_ACK 0').isOver()
  })
  play(t, {}, (s) => {
    lcp(s, 'mschapv2').says(`chap challenge 1 10 ${MSCHAPV2.challenge} 78`).hears('chap response 1 *')
    s.says('chap failure 1', `lcp terminate 2 ${text('Authentication failed')}`)
    s.hears('lcp terminate 1', 'lcp terminate-ack 2')
    s.pppError('AUTH_REFUSED', /^the server refused the user name or password$/)
    s.after(1000).says('CALL_DISCONNECT 0').hears('CALL_DISCONNECT_ACK 0').after(1000).isOver()
  })
})

t.test('pppd lets us in and ends IPCP: the line has its reason', async (t) =>
  play(t, {}, (s) => {
    up(s).says(`ipcp terminate 3 ${text('Unauthorized remote IP address')}`)
    s.hears('ipcp terminate-ack 3', 'lcp terminate 1')
    s.pppError('TERMINATED', /the server ended IPCP \(it says: Unauthorized remote IP address\)/)
    s.says('lcp terminate-ack 1').hears(DISCONNECT).says('CALL_DISCONNECT_ACK 0').isOver()
  }),
)

t.test(
  'pppd is killed: Terminate-Request with a text and CALL_DISCONNECT, or CALL_DISCONNECT alone',
  async (t) => {
    play(t, {}, (s) => {
      up(s)
        .says(`lcp terminate 2 ${text('User request')}`)
        .hears('lcp terminate-ack 2')
      s.pppError('TERMINATED', /^the server ended the link \(it says: User request\)$/)
      s.after(150).says('CALL_DISCONNECT 0').hears('CALL_DISCONNECT_ACK 0').after(1000).isOver()
    })
    play(t, {}, (s) => {
      up(s).says('CALL_DISCONNECT 0').hears('CALL_DISCONNECT_ACK 0').after(1000).isOver()
      t.notOk(s.call.sstp.mayData)
    })
  },
)

t.test('sstp-server refuses the crypto binding at once: CALL_ABORT, status 7 of attribute 2', async (t) =>
  play(t, {}, (s) => {
    authenticated(s).after(2).says('CALL_ABORT 1 0002 000c 00000002 00000007').hears(ABORT_BACK)
    s.after(1000).isOver(
      'SSTP_PEER_ABORT',
      /right after CALL_CONNECTED; perhaps it does not accept the crypto binding/,
    )
  }),
)

t.test(
  'sstp-server passes data only behind CALL_CONNECTED: a packet that waits goes out after it',
  async (t) =>
    play(t, {}, (s) => {
      s.stack.addAddress(IpAddress.parse('192.168.78.2') as IpAddress)
      s.stack.openPing()?.send(IpAddress.parse('192.168.78.1') as IpAddress, 1, new Uint8Array(8))
      lcp(s, 'mschapv2').says(`chap challenge 1 10 ${MSCHAPV2.challenge} 78`).hears('chap response 1 *')
      s.says(`chap success 1 ${text(MSCHAPV2.proof)}`)
      s.hears('CALL_CONNECTED sha256 mschapv2', `ipcp request 1 ${IPCP_REQUEST}`, 'ipv4 *')
    }),
)

t.test('pppd with noauth would let anybody in: the call ends, and says why', async (t) =>
  play(t, {}, (s) => {
    s.connect(3).hears(`lcp request 1 ${LCP_REQUEST}`).says(`lcp ack 1 ${LCP_REQUEST}`)
    s.says('lcp request 1 0206 00000000 0506 c0ffee01 0702 0802')
    s.hears('lcp ack 1 0206 00000000 0506 c0ffee01 0702 0802', 'lcp terminate 1')
    s.pppError('AUTH_NONE', /the server wants no authentication/)
  }),
)

t.test('sstp-server dies of a frame larger than its MTU: none is', async (t) =>
  play(t, { client: { lcpEchoInterval: 0 } }, (s) => {
    const request = `0104 0240 ${AUTH.pap} 0506 c0ffee01`
    s.connect(3).hears(`lcp request 1 ${LCP_REQUEST}`)
    s.says(`lcp ack 1 ${LCP_REQUEST}`, `lcp request 1 ${request}`)
    s.hears(`lcp ack 1 ${request}`, `pap request 1 ${PAP_REQUEST}`)
    s.says('pap ack 1', 'ipcp request 1 0306 0a000001')
    s.hears('CALL_CONNECTED sha256 zero', `ipcp request 1 ${IPCP_REQUEST}`, 'ipcp ack 1 0306 0a000001')
    s.says('ipcp nak 1 0306 0a000005').hears('ipcp request 2 0306 0a000005 8106 00000000 8306 00000000')
    s.says('ipcp ack 2 0306 0a000005 8106 00000000 8306 00000000').isUp('10.0.0.5')
    t.equal(s.call.ppp.mtu, 576)
    const ping = s.stack.openPing()
    const gateway = IpAddress.parse('10.0.0.1') as IpAddress
    ping?.send(gateway, 1, new Uint8Array(548))
    ping?.send(gateway, 2, new Uint8Array(1200))
    s.stack.connect({ address: gateway, port: 80 }, s.now)
    const packets = s.stirs().heard()
    t.ok(packets.length >= 3, `${packets.length} packets`)
    for (const line of packets) t.ok(line.length - 5 <= 2 * 576, `${(line.length - 5) / 2} octets`)
    t.ok(
      packets.some((line) => line.includes('02040218')),
      'and the SYN announces 536 octets',
    )
    // An echo that would be answered with more than the server takes is cut.
    s.says(`lcp echo 7 c0ffee01 ${'41'.repeat(1000)}`)
    s.hears(`lcp echo-reply 7 a1b2c3d4 ${'41'.repeat(576 - 8)}`)
  }),
)

t.test(
  'pppd: an option that is not rejected properly would come for ever, ours are left out at the first word',
  async (t) =>
    play(t, {}, (s) => {
      s.connect(3).hears(`lcp request 1 ${LCP_REQUEST}`)
      s.says('lcp reject 1 0104 0578').hears('lcp request 2 0506 a1b2c3d4')
      s.says('lcp nak 2 0104 0578').hears('lcp request 3 0506 a1b2c3d4')
      s.says('lcp reject 3 0506 a1b2c3d4').hears('lcp request 4')
      s.says('lcp ack 4', `lcp request 1 ${asks(AUTH.pap)}`)
      s.hears(`lcp ack 1 ${asks(AUTH.pap)}`, `pap request 1 ${PAP_REQUEST}`)
    }),
)
