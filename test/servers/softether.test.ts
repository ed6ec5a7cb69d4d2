/** SoftEther VPN Server, as it was seen to talk, played against the client's whole call. */
import t from 'tap'
import {
  ABORT_BACK,
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

const AHO = text('Aho Baka Manuke\0')
const SHA256_ONLY = 2

/** LCP of a client that takes what comes third, second or first on the list. */
function lcp(s: ScriptedServer, want: 'mschapv2' | 'pap'): ScriptedServer {
  s.connect(SHA256_ONLY).hears(`lcp request 1 ${LCP_REQUEST}`)
  s.says('lcp reject 1 0506 a1b2c3d4', `lcp request 0 ${AUTH.eap}`, `lcp echo 0 00000000 ${AHO}`)
  s.hears('lcp request 2 0104 0578', `lcp nak 0 ${AUTH[want]}`)
  s.says('lcp ack 2 0104 0578', `lcp request 1 ${AUTH.mschapv2}`)
  if (want === 'mschapv2') return s.hears(`lcp ack 1 ${AUTH.mschapv2}`)
  s.hears(`lcp nak 1 ${AUTH.pap}`)
  return s.says(`lcp request 2 ${AUTH.pap}`).hears(`lcp ack 2 ${AUTH.pap}`, `pap request 1 ${PAP_REQUEST}`)
}

/** On to the open session. */
function up(s: ScriptedServer): ScriptedServer {
  lcp(s, 'mschapv2').after(600)
  s.says(`chap challenge 0 10 ${MSCHAPV2.challenge} ${text('vpn-host')}`)
  s.hears(`chap response 0 ${MSCHAPV2.response} ${text('User')}`)
  s.says(`chap success 0 ${text(MSCHAPV2.proof)}`)
  s.hears('CALL_CONNECTED sha256 mschapv2', `ipcp request 1 ${IPCP_REQUEST}`)
  s.says('ECHO_REQUEST 0').hears('ECHO_RESPONSE 0')
  s.says('ipcp reject 1 8306 00000000').hears('ipcp request 2 0306 00000000 8106 00000000')
  s.after(250).says('ipcp nak 2 0306 c0a84d64 8106 c0a84d0a', 'ipcp request 0 0306 c0a84d0a')
  s.hears('ipcp request 3 0306 c0a84d64 8106 c0a84d0a', 'ipcp ack 0 0306 c0a84d0a')
  s.says('ipcp ack 3 0306 c0a84d64 8106 c0a84d0a')
  return s.isUp('192.168.77.100').hasDns('192.168.77.10')
}

t.test('SoftEther says nothing in PPP before the client: LCP goes out with CALL_CONNECT_ACK', async (t) =>
  play(t, {}, (s) => {
    s.connect(SHA256_ONLY)
    s.hears(`lcp request 1 ${LCP_REQUEST}`)
    s.after(2999).hearsNothing()
    s.after(1).hears(`lcp request 1 ${LCP_REQUEST}`)
  }),
)

t.test('SoftEther: EAP, MS-CHAPv2 and an address, without magic number and without MRU', async (t) =>
  play(t, {}, (s) => {
    up(s)
    t.equal(s.call.ppp.mtu, 1400)
    t.equal(s.call.ppp.magic, 0)
  }),
)

t.test('SoftEther comes to PAP by two Naks, and acknowledges with an empty body', async (t) =>
  play(t, { client: { auth: ['pap'] } }, (s) => {
    lcp(s, 'pap').after(300)
    s.says('pap ack 1').hears('CALL_CONNECTED sha256 zero', `ipcp request 1 ${IPCP_REQUEST}`)
  }),
)

t.test('SoftEther at the end of its list hangs up: the user reads what it wanted', async (t) =>
  play(t, { client: { auth: ['chap'] } }, (s) => {
    s.connect(SHA256_ONLY).hears(`lcp request 1 ${LCP_REQUEST}`)
    s.says(`lcp request 0 ${AUTH.eap}`).hears(`lcp request 1 ${LCP_REQUEST}`, `lcp nak 0 ${AUTH.md5}`)
    s.says(`lcp request 1 ${AUTH.mschapv2}`).hears(`lcp nak 1 ${AUTH.md5}`)
    s.says(`lcp request 2 ${AUTH.pap}`).hears(`lcp nak 2 ${AUTH.md5}`)
    s.says('lcp terminate 3').hears('lcp terminate-ack 3', 'lcp terminate 1')
    s.pppError('AUTH_METHOD', /the server wants PAP; enabled here: CHAP-MD5/)
    s.after(300).says('CALL_DISCONNECT 0').hears('CALL_DISCONNECT_ACK 0')
    s.after(1000).isOver()
  }),
)

t.test('SoftEther dies of a Code-Reject: Identification, Time-Remaining and Discard get none', async (t) =>
  play(t, {}, (s) => {
    lcp(s, 'mschapv2')
    s.says(
      `lcp identification 7 00000000 ${text('x')}`,
      'lcp time-remaining 8 00000000 00000e10',
    ).hearsNothing()
    s.says(`lcp discard 9 00000000 ${text('x')}`).hearsNothing()
    s.isNotOver()
  }),
)

t.test(
  'SoftEther dies of a Protocol-Reject before the network phase: unknown protocols get none',
  async (t) =>
    play(t, {}, (s) => {
      s.connect(SHA256_ONLY).hears(`lcp request 1 ${LCP_REQUEST}`)
      s.says('80fd 1 1 120601000001', 'c02b 1 1', 'ipv6cp request 1 010a 0000000000000001').hearsNothing()
      s.says('lcp reject 1 0506 a1b2c3d4', `lcp request 0 ${AUTH.mschapv2}`)
      s.hears('lcp request 2 0104 0578', `lcp ack 0 ${AUTH.mschapv2}`)
      s.says('lcp ack 2 0104 0578')
        .says('80fd 1 1 120601000001', 'c02b 1 1', 'eap request 1 01')
        .hearsNothing()
      s.isNotOver()
    }),
)

t.test('SoftEther takes a Nak of its MRU for something else: it gets none from 100 to 1500', async (t) => {
  for (const mru of ['0064', '0240', '05dc']) {
    play(t, {}, (s) => {
      s.connect(SHA256_ONLY).hears(`lcp request 1 ${LCP_REQUEST}`)
      s.says('lcp ack 1 0104 0578 0506 a1b2c3d4', `lcp request 0 0104 ${mru} ${AUTH.pap}`)
      s.hears(`lcp ack 0 0104 ${mru} ${AUTH.pap}`, `pap request 1 ${PAP_REQUEST}`)
      t.equal(s.call.ppp.mtu, Math.min(1400, Number.parseInt(mru, 16)))
    })
  }
})

t.test('SoftEther wants another MRU of us', async (t) =>
  play(t, { client: { mru: 4000 } }, (s) => {
    s.connect(SHA256_ONLY).hears('lcp request 1 0104 0fa0 0506 a1b2c3d4')
    s.says('lcp nak 1 0104 05dc').hears('lcp request 2 0506 a1b2c3d4')
    s.says('lcp reject 2 0506 a1b2c3d4').hears('lcp request 3')
    s.says('lcp ack 3', `lcp request 0 ${AUTH.pap}`)
    s.hears(`lcp ack 0 ${AUTH.pap}`, `pap request 1 ${PAP_REQUEST}`)
  }),
)

t.test('SoftEther sends LCP echoes before LCP is open, and drops who does not answer them later', async (t) =>
  play(t, {}, (s) => {
    s.connect(SHA256_ONLY).hears(`lcp request 1 ${LCP_REQUEST}`)
    s.says(`lcp echo 0 00000000 ${AHO}`).hearsNothing()
    s.says('lcp reject 1 0506 a1b2c3d4').hears('lcp request 2 0104 0578')
    s.says('lcp ack 2 0104 0578', `lcp request 0 ${AUTH.mschapv2}`).hears(`lcp ack 0 ${AUTH.mschapv2}`)
    s.says(`lcp echo 1 00000000 ${AHO}`).hears(`lcp echo-reply 1 00000000 ${AHO}`)
  }),
)

t.test(
  'SoftEther begins LCP anew in the open link and then is silent: the client leaves at once',
  async (t) =>
    play(t, {}, (s) => {
      lcp(s, 'mschapv2')
      s.says(`lcp request 3 ${AUTH.mschapv2}`).hears('lcp terminate 1')
      s.pppError('LCP_RESTARTED', /only a new call can follow/)
      s.says('lcp terminate-ack 1').hears(DISCONNECT)
      s.says('CALL_DISCONNECT_ACK 0').isOver()
    }),
)

t.test('SoftEther refuses PAP by hanging up', async (t) =>
  play(t, { client: { auth: ['pap'] } }, (s) => {
    lcp(s, 'pap').after(300)
    s.says('lcp terminate 4').hears('lcp terminate-ack 4')
    s.pppError('AUTH_REFUSED', /wrong user name or password/)
    s.after(300).says('CALL_DISCONNECT 0').hears('CALL_DISCONNECT_ACK 0').after(1000).isOver()
  }),
)

t.test('SoftEther refuses MS-CHAPv2 without words, and terminates at once', async (t) =>
  play(t, {}, (s) => {
    lcp(s, 'mschapv2')
    s.says(`chap challenge 0 10 ${MSCHAPV2.challenge} ${text('h')}`)
    s.hears(`chap response 0 ${MSCHAPV2.response} ${text('User')}`)
    s.says(`chap failure 0 ${text(`E=691 R=0 C=${MSCHAPV2.challenge} V=3`)}`, 'lcp terminate 2')
    s.hears('lcp terminate 1', 'lcp terminate-ack 2')
    s.pppError('AUTH_REFUSED', /^wrong user name or password \(E=691\)$/)
    s.says('CALL_DISCONNECT 0').hears('CALL_DISCONNECT_ACK 0').after(1000).isOver()
    t.notOk(s.owner.told.includes('connected'))
  }),
)

t.test('SoftEther hashes alice of LAB\\alice, and the whole of alice@LAB', async (t) => {
  const responses = {
    // RFC 2759's own for User, and computed with OpenSSL.
    'LAB\\User': MSCHAPV2.response,
    'User@corp.example': `31 ${MSCHAPV2.peerChallenge} 0000000000000000 3fef1a2ee3b8475f476834056175bd5355dab5d49fdb72ba 00`,
  }
  for (const [user, response] of Object.entries(responses)) {
    play(t, { client: { user } }, (s) => {
      lcp(s, 'mschapv2').says(`chap challenge 0 10 ${MSCHAPV2.challenge} ${text('h')}`)
      s.hears(`chap response 0 ${response} ${text(user)}`)
    })
  }
})

t.test('SoftEther asks for life every few seconds, and gets it ahead of everything else', async (t) =>
  play(t, { keepAlive: true }, (s) => {
    up(s)
    for (let n = 0; n < 20; n += 1) {
      s.after(2500 + 100 * n).says('ECHO_REQUEST 0', `lcp echo ${n} 00000000 ${AHO}`)
      s.hears('ECHO_RESPONSE 0', `lcp echo-reply ${n} 00000000 ${AHO}`)
    }
    t.equal(s.dead, undefined)
  }),
)

/** A broadcast of the hub: DHCP. */
const BROADCAST = 'ipv4 4500001c 00000000 40117ad2 00000000 ffffffff 00440043 00080000'

t.test('SoftEther never answers ECHO_REQUEST: any packet is life', async (t) =>
  play(t, { keepAlive: true, client: { lcpEchoInterval: 0 } }, (s) => {
    const asked: string[] = []
    const silent = (line: string): string[] => {
      asked.push(line)
      return []
    }
    up(s).lives(120_000, silent, [BROADCAST], 9000)
    t.ok(asked.includes('ECHO_REQUEST 0'), 'it was asked')
    t.equal(s.dead, undefined, 'and lives, without an answer')
    s.lives(30_000, silent)
    t.ok(s.dead !== undefined, 'until nothing comes any more')
  }),
)

t.test('SoftEther drops who is silent for 20 s, older ones 10 s: the client speaks in time', async (t) =>
  play(t, { keepAlive: true }, (s) => {
    const longest = up(s).lives(
      300_000,
      (line) => (line.startsWith('lcp') ? answerEcho(line) : []),
      [BROADCAST],
      5000,
    )
    t.ok(longest < 10_000, `${longest} ms of silence at most`)
    t.equal(s.dead, undefined)
    // And if it had not:
    s.says('CALL_ABORT 0').hears(ABORT_BACK)
    s.after(999).isNotOver()
    s.after(1).isOver('SSTP_PEER_ABORT', /the server aborted the call$/)
  }),
)

t.test('SoftEther takes any crypto binding: ours is right all the same, and with SHA-256 only', async (t) => {
  play(t, {}, (s) => void up(s))
  play(t, { hashes: 1 }, (s) => {
    s.connect(SHA256_ONLY).hears('CALL_ABORT 1 0002000c 00000004 00000004')
    s.says('CALL_ABORT 0').after(1000)
    s.isOver('SSTP_NO_COMMON_HASH', /the server offers sha256 for the crypto binding, we allow sha1/)
  })
})

t.test('SoftEther lets its hub through early: broadcasts before IPCP is open', async (t) =>
  play(t, {}, (s) => {
    lcp(s, 'mschapv2').says(BROADCAST).hearsNothing()
    s.says(`chap challenge 0 10 ${MSCHAPV2.challenge} ${text('h')}`).hears('chap response 0 *')
    s.says(`chap success 0 ${text(MSCHAPV2.proof)}`, BROADCAST)
    s.hears('CALL_CONNECTED sha256 mschapv2', `ipcp request 1 ${IPCP_REQUEST}`)
    t.equal(s.call.counters.dropped, 2)
    t.equal(s.stack.counters.packetsIn, 0)
  }),
)

t.test('SoftEther sends packets of 1500 octets, whatever MRU was agreed', async (t) =>
  play(t, {}, (s) => {
    up(s)
    const data = '00'.repeat(1500 - 28)
    // To a UDP port that nobody has: the stack answers, so it took the packet.
    s.says(`ipv4 450005dc 00010000 40115951 c0a84d0a c0a84d64 00350035 05c80000 ${data}`)
    t.equal(s.stack.counters.packetsIn, 1)
    s.hears('ipv4 *')
  }),
)

t.test('SoftEther without DHCP in its hub: no address, and the line says so', async (t) =>
  play(t, { client: { auth: ['pap'] } }, (s) => {
    lcp(s, 'pap').says('pap ack 1')
    s.hears('CALL_CONNECTED sha256 zero', `ipcp request 1 ${IPCP_REQUEST}`)
    s.says('ipcp reject 1 8306 00000000').hears('ipcp request 2 0306 00000000 8106 00000000')
    for (let n = 1; n < 10; n += 1) {
      s.after(3000).hears('ipcp request 2 0306 00000000 8106 00000000')
      s.says('ECHO_REQUEST 0').hears('ECHO_RESPONSE 0')
    }
    s.after(3000).hears('lcp terminate 1')
    s.pppError('NO_ANSWER', /no answer to IPCP requests/)
    s.says('lcp terminate-ack 1').hears(DISCONNECT).says('CALL_DISCONNECT_ACK 0').isOver()
  }),
)

t.test('SoftEther rejects IPV6CP: IPv4 comes up all the same', async (t) =>
  play(t, { client: { auth: ['pap'], ipv6: true } }, (s) => {
    lcp(s, 'pap').says('pap ack 1')
    s.hears(
      'CALL_CONNECTED sha256 zero',
      `ipcp request 1 ${IPCP_REQUEST}`,
      'ipv6cp request 1 010a 0011223344556677',
    )
    s.says('lcp protocol-reject 1 8057 0101000e010a0011223344556677').hearsNothing()
    const down = s.owner.ppp.find((e) => e.type === 'ipv6-down')
    t.equal(down?.type === 'ipv6-down' && down.error?.code, 'REJECTED')
    s.says('ipcp reject 1 8306 00000000').hears('ipcp request 2 0306 00000000 8106 00000000')
    s.says('ipcp nak 2 0306 0a000005 8106 0a000001').hears('ipcp request 3 0306 0a000005 8106 0a000001')
    s.says('ipcp ack 3 0306 0a000005 8106 0a000001', 'ipcp request 0 0306 0a000001')
    s.hears('ipcp ack 0 0306 0a000001').isUp('10.0.0.5')
  }),
)

t.test('SoftEther opens IPV6CP late: nothing waits for it', async (t) =>
  play(t, { client: { auth: ['pap'], ipv6: true } }, (s) => {
    lcp(s, 'pap').says('pap ack 1', 'ipv6cp request 0 010a 0211 22fffe33 4455')
    const heard = s.heard()
    t.ok(heard.includes('ipv6cp ack 0 010a021122fffe334455'))
    s.says('ipcp reject 1 8306 00000000').hears('ipcp request 2 0306 00000000 8106 00000000')
    s.says('ipcp nak 2 0306 0a000005 8106 0a000001').hears('ipcp request 3 0306 0a000005 8106 0a000001')
    s.says('ipcp ack 3 0306 0a000005 8106 0a000001', 'ipcp request 0 0306 0a000001')
    s.hears('ipcp ack 0 0306 0a000001').isUp('10.0.0.5')
    t.notOk(s.call.ppp.ipv6Open)
    s.after(2500).says('ipv6cp ack 1 010a 0011223344556677').hearsNothing()
    t.ok(s.call.ppp.ipv6Open)
  }),
)

t.test('SoftEther knows a DNS server, and no second one and no NBNS', async (t) =>
  play(t, {}, (s) => {
    up(s).hasDns('192.168.77.10')
  }),
)

t.test('SoftEther says CALL_CONNECT_NAK without the value that it refused', async (t) =>
  play(t, {}, (s) => {
    const nak = 'CALL_CONNECT_NAK 1 0002 000c 00000001 00000004'
    s.start().hears('CALL_CONNECT_REQUEST 1 0001 0006 0001')
    s.says(nak).hears('CALL_CONNECT_REQUEST 1 0001 0006 0001')
    s.says(nak).hears('CALL_CONNECT_REQUEST 1 0001 0006 0001')
    s.says(nak).hears('CALL_ABORT 1 0002000c 00000000 00000006')
    s.says('CALL_ABORT 0').after(1000)
    s.isOver('SSTP_REQUEST_REFUSED', /refused CALL_CONNECT_REQUEST 3 times \(VALUE_NOT_SUPPORTED\)/)
  }),
)

t.test('SoftEther ends a call with CALL_DISCONNECT without attributes', async (t) =>
  play(t, {}, (s) => {
    up(s).says('CALL_DISCONNECT 0').hears('CALL_DISCONNECT_ACK 0')
    s.after(30).hangsUp().isOver()
    t.match(s.owner.sstp.at(-1), { type: 'closed', by: 'remote', error: undefined })
  }),
)

t.test('leaving SoftEther: LCP, then CALL_DISCONNECT, without waiting for its own', async (t) =>
  play(t, {}, (s) => {
    up(s).leaves().hears('lcp terminate 1')
    s.says('lcp terminate-ack 1').hears(DISCONNECT)
    s.says('CALL_DISCONNECT_ACK 0').isOver()
  }),
)
