/** accel-ppp, as it was seen to talk, played against the client's whole call. */
import t from 'tap'
import { IpAddress } from '../../stack/index.js'
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

const MAGIC = '0506 77112233'
const GATEWAY = IpAddress.parse('10.84.0.1') as IpAddress

/** LCP of a server that asks by itself, authentication, MRU and magic number in this order. */
function lcp(s: ScriptedServer, auth: keyof typeof AUTH, mru = '0578'): ScriptedServer {
  s.connect(3).hears(`lcp request 1 ${LCP_REQUEST}`)
  s.says(`lcp ack 1 ${LCP_REQUEST}`, `lcp request 90 ${AUTH[auth]} 0104 ${mru} ${MAGIC}`)
  const request = auth === 'pap' ? [`pap request 1 ${PAP_REQUEST}`] : []
  return s.hears(`lcp ack 90 ${AUTH[auth]} 0104 ${mru} ${MAGIC}`, ...request)
}

/** On to the open session: PAP, so that every octet is known. */
function up(s: ScriptedServer): ScriptedServer {
  lcp(s, 'pap').says(`pap ack 1 18${text('Authentication succeeded')}`, 'ipcp request 1 0306 0a540001')
  s.hears('CALL_CONNECTED sha256 zero', `ipcp request 1 ${IPCP_REQUEST}`, 'ipcp ack 1 0306 0a540001')
  return address(s)
}

function address(s: ScriptedServer): ScriptedServer {
  const given = '0306 0a54000a 8106 0a540001 8306 08080808'
  s.says(`ipcp nak 1 ${given}`).hears(`ipcp request 2 ${given}`)
  return s.says(`ipcp ack 2 ${given}`).isUp('10.84.0.10').hasDns('10.84.0.1', '8.8.8.8')
}

t.test('accel-ppp: a whole call with MS-CHAPv2, a challenge without a name, an address only', async (t) =>
  play(t, {}, (s) => {
    lcp(s, 'mschapv2').says(`chap challenge 1 10 ${MSCHAPV2.challenge}`)
    s.hears(`chap response 1 ${MSCHAPV2.response} ${text('User')}`)
    s.says(
      `chap success 1 ${text(`${MSCHAPV2.proof} M=Authentication succeeded`)}`,
      'ipcp request 1 0306 0a540001',
    )
    s.hears('CALL_CONNECTED sha256 mschapv2', `ipcp request 1 ${IPCP_REQUEST}`, 'ipcp ack 1 0306 0a540001')
    address(s)
  }),
)

t.test('accel-ppp steps down its own list, whatever our Nak names, and never to MS-CHAP v1', async (t) => {
  play(t, { client: { auth: ['pap'] } }, (s) => {
    lcpRefused(s, ['mschapv2', 'mschapv1', 'md5'], 'pap')
    s.says(`lcp request 93 ${AUTH.pap} ${MAGIC}`)
    s.hears(`lcp ack 93 ${AUTH.pap} ${MAGIC}`, `pap request 1 ${PAP_REQUEST}`)
  })
  play(t, { client: { auth: ['chap'] } }, (s) => {
    lcpRefused(s, ['mschapv2', 'mschapv1'], 'md5')
    s.says(`lcp request 92 ${AUTH.md5} ${MAGIC}`).hears(`lcp ack 92 ${AUTH.md5} ${MAGIC}`)
  })
})

/** Every one of these gets a Nak that names what we want. */
function lcpRefused(
  s: ScriptedServer,
  offers: (keyof typeof AUTH)[],
  want: keyof typeof AUTH,
): ScriptedServer {
  s.connect(3).hears(`lcp request 1 ${LCP_REQUEST}`).says(`lcp ack 1 ${LCP_REQUEST}`)
  offers.forEach((offer, i) => {
    s.says(`lcp request ${90 + i} ${AUTH[offer]} ${MAGIC}`).hears(`lcp nak ${90 + i} ${AUTH[want]}`)
  })
  return s
}

t.test('accel-ppp repeats the last of its list for ever: the client counts, and leaves', async (t) =>
  play(t, {}, (s) => {
    lcpRefused(s, ['mschapv1'], 'mschapv2')
    s.says(`lcp request 91 ${AUTH.mschapv1} ${MAGIC}`).hears('lcp terminate 1')
    s.pppError('AUTH_METHOD', /the server wants MS-CHAP v1; enabled here: MS-CHAPv2, CHAP-MD5, PAP/)
    s.says('lcp terminate-ack 1').hears(DISCONNECT).says('CALL_DISCONNECT_ACK 0').isOver()
  }),
)

t.test('accel-ppp aborts on an echo before CALL_CONNECTED: in a minute of log-in there is none', async (t) =>
  play(t, {}, (s) => {
    lcp(s, 'mschapv2').after(5000)
    s.says(`chap challenge 1 10 ${MSCHAPV2.challenge}`).hears('chap response 1 *')
    for (let n = 0; n < 10; n += 1) {
      // Challenge of the same identifier and value: the same response, octet for octet.
      s.after(5000).says(`chap challenge 1 10 ${MSCHAPV2.challenge}`)
      s.hears(`chap response 1 ${MSCHAPV2.response} ${text('User')}`)
    }
    s.says(`chap success 1 ${text(MSCHAPV2.proof)}`)
    s.hears('CALL_CONNECTED sha256 mschapv2', `ipcp request 1 ${IPCP_REQUEST}`)
  }),
)

t.test(
  'accel-ppp lets no data through before CALL_CONNECTED, so none is sent, and it is sent at once',
  async (t) =>
    play(t, {}, (s) => {
      s.stack.addAddress(IpAddress.parse('10.84.0.10') as IpAddress)
      s.stack.openPing()?.send(GATEWAY, 1, new Uint8Array(8))
      lcp(s, 'pap').says(`pap ack 1 00`, 'ipcp request 1 0306 0a540001')
      s.hears(
        'CALL_CONNECTED sha256 zero',
        `ipcp request 1 ${IPCP_REQUEST}`,
        'ipcp ack 1 0306 0a540001',
        'ipv4 *',
      )
    }),
)

t.test(
  'accel-ppp waits one second for ECHO_RESPONSE: it comes in the same turn, ahead of queued data',
  async (t) =>
    play(t, {}, (s) => {
      up(s)
      const ping = s.stack.openPing()
      for (let n = 0; n < 3; n += 1) ping?.send(GATEWAY, n, new Uint8Array(1000))
      s.says('ECHO_REQUEST 0').hears('ECHO_RESPONSE 0', 'ipv4 *', 'ipv4 *', 'ipv4 *')
    }),
)

t.test(
  'accel-ppp asks after 60 s without control or IP packets: ours come in time, so it never does',
  async (t) =>
    play(t, { keepAlive: true }, (s) => {
      let counted = 0
      const counts = (line: string): readonly string[] => {
        // LCP does not count.
        if (!line.startsWith('lcp')) counted += 1
        return answerEcho(line)
      }
      up(s)
      for (let minute = 0; minute < 5; minute += 1) {
        counted = 0
        s.lives(59_000, counts)
        t.ok(counted > 0, `${counted} that count in the minute`)
      }
      t.equal(s.dead, undefined)
      s.isNotOver()
    }),
)

t.test('accel-ppp says CALL_ABORT with status 7 of attribute 2, whatever the reason', async (t) => {
  const abort = 'CALL_ABORT 1 0002 000c 00000002 00000007'
  play(t, {}, (s) => {
    up(s).after(5)
    s.says(abort).hears(ABORT_BACK).after(1000)
    s.isOver(
      'SSTP_PEER_ABORT',
      /INVALID_FRAME_RECEIVED\) right after CALL_CONNECTED; perhaps .* crypto binding/,
    )
    t.match(
      s.owner.sstp.find((e) => e.type === 'peer-abort'),
      { status: 7 },
    )
  })
  play(t, {}, (s) => {
    up(s).after(14_000)
    s.says(abort).hears(ABORT_BACK).after(1000)
    s.isOver('SSTP_PEER_ABORT', /^the server aborted the call \(INVALID_FRAME_RECEIVED\)$/)
  })
})

t.test('accel-ppp: two stray octets behind the attribute of CALL_CONNECT_NAK', async (t) =>
  play(t, {}, (s) => {
    s.start().hears('CALL_CONNECT_REQUEST 1 0001 0006 0001')
    s.says('CALL_CONNECT_NAK 1 0002 000c 00000001 00000004 0000')
    s.hears('CALL_CONNECT_REQUEST 1 0001 0006 0001').isNotOver()
  }),
)

t.test(
  'accel-ppp compresses protocol and address fields after our Ack: such frames are understood',
  async (t) =>
    play(t, {}, (s) => {
      s.connect(3).hears(`lcp request 1 ${LCP_REQUEST}`)
      s.says(`lcp ack 1 ${LCP_REQUEST}`, `lcp request 90 ${AUTH.pap} 0104 0578 ${MAGIC} 0702 0802`)
      s.hears(`lcp ack 90 ${AUTH.pap} 0104 0578 ${MAGIC} 0702 0802`, `pap request 1 ${PAP_REQUEST}`)
      // Without FF 03, as everything from here on.
      s.says('raw 1000 000b c023 02 01 0005 00', 'raw 1000 0010 8021 01 01 000a 0306 0a540001')
      s.hears('CALL_CONNECTED sha256 zero', `ipcp request 1 ${IPCP_REQUEST}`, 'ipcp ack 1 0306 0a540001')
      const given = '0306 0a54000a 8106 0a540001 8306 08080808'
      s.says(`raw 1000 001c 8021 03 01 0016 ${given}`).hears(`ipcp request 2 ${given}`)
      s.says(`raw 1000 001c 8021 02 02 0016 ${given}`).isUp('10.84.0.10')
      // ICMP echo request, with a protocol field of one octet, alone and behind FF 03.
      const ping = '4500001c 00000000 4001 662f 0a540001 0a54000a 0800 f7ff 0000 0000'
      s.says(`raw 1000 0021 21 ${ping}`).hears('ipv4 *')
      s.says(`raw 1000 0023 ff03 21 ${ping}`).hears('ipv4 *')
      t.equal(s.stack.counters.packetsIn, 2)
    }),
)

t.test('accel-ppp names its own MTU when it does not like our MRU', async (t) => {
  for (const [mru, asked, wants] of [
    [4087, '0ff7', '05ac'],
    [1000, '03e8', '0578'],
  ] as const) {
    play(t, { client: { mru } }, (s) => {
      s.connect(3).hears(`lcp request 1 0104 ${asked} 0506 a1b2c3d4`)
      s.says(`lcp nak 1 0104 ${wants}`).hears(`lcp request 2 0104 ${wants} 0506 a1b2c3d4`)
      s.says(`lcp ack 2 0104 ${wants} 0506 a1b2c3d4`, `lcp request 90 ${AUTH.pap} 0104 05ac ${MAGIC}`)
      s.hears(`lcp ack 90 ${AUTH.pap} 0104 05ac ${MAGIC}`, `pap request 1 ${PAP_REQUEST}`)
      t.equal(s.call.ppp.mtu, Math.min(mru, 1452), 'its MRU is what we send')
    })
  }
})

t.test('accel-ppp sends what is larger than our MRU as IPv4 fragments: they are put together', async (t) =>
  play(t, {}, (s) => {
    up(s)
    s.says('ipv4 45000024777720004001ceaf0a5400010a54000a 0800ad8a12340001 0001020304050607').hearsNothing()
    s.says('ipv4 4500001c777700024001eeb50a5400010a54000a 08090a0b0c0d0e0f')
    const [reply = ''] = s.heard()
    t.match(reply, /^ipv4 4500002c.{16}0a54000a0a5400010000b58a12340001000102030405060708090a0b0c0d0e0f$/)
  }),
)

t.test('accel-ppp asks by LCP echoes too: they are answered with its data and our magic number', async (t) =>
  play(t, {}, (s) => {
    up(s)
    s.says('lcp echo 5 77112233 0102030405').hears('lcp echo-reply 5 a1b2c3d4 0102030405')
    s.says('lcp echo 6 77112233').hears('lcp echo-reply 6 a1b2c3d4')
  }),
)

t.test('accel-ppp ends a session: Terminate-Request, then CALL_DISCONNECT', async (t) =>
  play(t, {}, (s) => {
    // The same for a session limit, an administrator, and a second call of the same user (single-session).
    up(s).after(12_000).says('lcp terminate 91').hears('lcp terminate-ack 91')
    s.pppError('TERMINATED', /^the server ended the link$/)
    s.after(5).says(DISCONNECT).hears('CALL_DISCONNECT_ACK 0')
    s.after(1).hangsUp().isOver()
    t.match(
      s.owner.sstp.find((e) => e.type === 'peer-disconnect'),
      { status: 0 },
    )
    t.notOk(s.call.sstp.mayData)
  }),
)

t.test('accel-ppp, hard shutdown: CALL_DISCONNECT alone', async (t) =>
  play(t, {}, (s) => {
    up(s).says(DISCONNECT).hears('CALL_DISCONNECT_ACK 0')
    s.after(1000).isOver()
  }),
)

t.test('leaving accel-ppp: CALL_DISCONNECT is ours to send, its own would take 3 s', async (t) =>
  play(t, {}, (s) => {
    up(s).leaves().hears('lcp terminate 1')
    s.after(1).says('lcp terminate-ack 1').hears(DISCONNECT)
    s.after(2).says('CALL_DISCONNECT_ACK 0').isOver()
  }),
)

t.test('accel-ppp refuses each method in its own words, and hangs up in the same millisecond', async (t) => {
  play(t, {}, (s) => {
    lcp(s, 'mschapv2').says(`chap challenge 1 10 ${MSCHAPV2.challenge}`).hears('chap response 1 *')
    s.says(`chap failure 1 ${text('E=691 R=0 V=3 M=Authentication failure')}`, 'lcp terminate 91')
    s.hears('lcp terminate 1', 'lcp terminate-ack 91')
    s.pppError('AUTH_REFUSED', /^wrong user name or password \(E=691\); server says: Authentication failure$/)
  })
  play(t, {}, (s) => {
    lcp(s, 'md5')
      .says(`chap challenge 1 10 ${MSCHAPV2.challenge} ${text('accel-ppp')}`)
      .hears('chap response 1 *')
    s.says(`chap failure 1 ${text('Authentication failed')}`, 'lcp terminate 91')
    s.hears('lcp terminate 1', 'lcp terminate-ack 91')
    s.pppError('AUTH_REFUSED', /^wrong user name or password \(server says: Authentication failed\)$/)
  })
  play(t, {}, (s) => {
    lcp(s, 'pap').says(`pap nak 1 15${text('Authentication failed')}`, 'lcp terminate 91')
    s.hears('lcp terminate 1', 'lcp terminate-ack 91')
    s.pppError('AUTH_REFUSED', /^wrong user name or password \(server says: Authentication failed\)$/)
    s.says(DISCONNECT).hears('CALL_DISCONNECT_ACK 0').after(1000).isOver()
  })
})

t.test('accel-ppp gives PAP five seconds: the request goes out with our Ack', async (t) =>
  play(t, {}, (s) => {
    lcp(s, 'pap').after(2999).hearsNothing()
    s.after(1).hears(`pap request 1 ${PAP_REQUEST}`)
    s.after(2000).says('lcp terminate 91').hears('lcp terminate-ack 91')
    s.pppError('AUTH_REFUSED', /hung up on our credentials/)
  }),
)

t.test('accel-ppp asks again every 10 s in the open session: answers, and nothing changes', async (t) => {
  const told = (s: ScriptedServer, type: string): number => s.owner.told.filter((e) => e === type).length
  play(t, {}, (s) => {
    lcp(s, 'mschapv2').says(`chap challenge 1 10 ${MSCHAPV2.challenge}`).hears('chap response 1 *')
    s.says(`chap success 1 ${text(MSCHAPV2.proof)}`).hears(
      'CALL_CONNECTED sha256 mschapv2',
      'ipcp request 1 *',
    )
    s.says('ipcp request 1 0306 0a540001').hears(`ipcp request 1 ${IPCP_REQUEST}`, 'ipcp ack 1 0306 0a540001')
    address(s)
    for (let id = 2; id < 12; id += 1) {
      s.after(10_000).says(`chap challenge ${id} 10 ${MSCHAPV2.challenge}`)
      s.hears(`chap response ${id} ${MSCHAPV2.response} ${text('User')}`)
      s.says(`chap success ${id} ${text(MSCHAPV2.proof)}`).hearsNothing()
    }
    s.isUp('10.84.0.10')
    t.equal(told(s, 'authenticated'), 1)
    t.equal(told(s, 'connected'), 1, 'no second CALL_CONNECTED')
    s.says(`chap challenge 12 10 ${MSCHAPV2.challenge}`).hears('chap response 12 *')
    s.says(`chap success 12 ${text(`S=${'0'.repeat(40)}`)}`).hears('lcp terminate 1')
    s.pppError('AUTH_SERVER_UNPROVEN', /impostor/)
  })
})

t.test('accel-ppp without authentication: the call ends, unless it was asked for', async (t) => {
  const noauth = `lcp request 90 0104 0578 ${MAGIC}`
  play(t, {}, (s) => {
    s.connect(3).hears(`lcp request 1 ${LCP_REQUEST}`)
    s.says(`lcp ack 1 ${LCP_REQUEST}`, noauth).hears(`lcp ack 90 0104 0578 ${MAGIC}`, 'lcp terminate 1')
    s.pppError('AUTH_NONE', /the server wants no authentication/)
    t.notOk(s.owner.told.includes('connected'))
  })
  play(t, { client: { requireAuth: false } }, (s) => {
    s.connect(3).hears(`lcp request 1 ${LCP_REQUEST}`)
    s.says(`lcp ack 1 ${LCP_REQUEST}`, noauth)
    s.hears('CALL_CONNECTED sha256 zero', `lcp ack 90 0104 0578 ${MAGIC}`, `ipcp request 1 ${IPCP_REQUEST}`)
  })
})

t.test(
  'accel-ppp hashes DOMAIN\\user whole, RFC 2759 does not: the name itself always goes whole',
  async (t) => {
    const user = 'CORP\\User'
    play(t, { client: { user } }, (s) => {
      lcp(s, 'mschapv2').says(`chap challenge 1 10 ${MSCHAPV2.challenge}`)
      s.hears(`chap response 1 ${MSCHAPV2.response} ${text(user)}`)
    })
    play(t, { client: { user, hashWholeUser: true } }, (s) => {
      lcp(s, 'mschapv2').says(`chap challenge 1 10 ${MSCHAPV2.challenge}`)
      // Computed with OpenSSL's SHA-1, MD4 and DES over CORP\User.
      s.hears(
        `chap response 1 31 ${MSCHAPV2.peerChallenge} 0000000000000000 230e4928421df6b9c640036f1b57b8786ddb238be6353965 00 ${text(user)}`,
      )
    })
  },
)

t.test('accel-ppp without DNS servers rejects both options, and Naks the address afterwards', async (t) =>
  play(t, {}, (s) => {
    lcp(s, 'pap').says('pap ack 1 00', 'ipcp request 1 0306 0a540001')
    s.hears('CALL_CONNECTED sha256 zero', `ipcp request 1 ${IPCP_REQUEST}`, 'ipcp ack 1 0306 0a540001')
    s.says('ipcp reject 1 8106 00000000 8306 00000000').hears('ipcp request 2 0306 00000000')
    s.says('ipcp nak 2 0306 0a54000a').hears('ipcp request 3 0306 0a54000a')
    s.says('ipcp ack 3 0306 0a54000a').isUp('10.84.0.10').hasDns()
  }),
)

t.test('accel-ppp drops an IPCP request that comes too early: it is repeated when its own comes', async (t) =>
  play(t, {}, (s) => {
    lcp(s, 'pap').says('pap ack 1 00').hears('CALL_CONNECTED sha256 zero', `ipcp request 1 ${IPCP_REQUEST}`)
    s.after(3).says('ipcp request 1 0306 0a540001')
    s.hears(`ipcp request 1 ${IPCP_REQUEST}`, 'ipcp ack 1 0306 0a540001')
    address(s)
  }),
)

t.test('accel-ppp sends IPv6 frames without IPV6CP: they are dropped without a word', async (t) =>
  play(t, {}, (s) => {
    up(s)
    s.says(`ipv6 60000000 0000 3a 01 ${'00'.repeat(16)} ff02${'00'.repeat(13)}16`).hearsNothing()
    t.equal(s.call.counters.dropped, 1)
    s.isUp('10.84.0.10')
  }),
)

t.test('accel-ppp with ipv6=deny: a Protocol-Reject that holds the number alone', async (t) =>
  play(t, { client: { ipv6: true } }, (s) => {
    lcp(s, 'pap').says('pap ack 1 00', 'ipcp request 1 0306 0a540001')
    s.hears(
      'CALL_CONNECTED sha256 zero',
      `ipcp request 1 ${IPCP_REQUEST}`,
      'ipv6cp request 1 010a 0011223344556677',
      'ipcp ack 1 0306 0a540001',
    )
    s.says('lcp protocol-reject 91 8057').hearsNothing()
    address(s)
  }),
)

t.test('accel-ppp has another interface identifier for us: it is taken', async (t) =>
  play(t, { client: { ipv6: true } }, (s) => {
    lcp(s, 'pap').says('pap ack 1 00')
    s.hears('CALL_CONNECTED sha256 zero', 'ipcp request 1 *', 'ipv6cp request 1 010a 0011223344556677')
    s.says('ipv6cp nak 1 010a 0000000000000002', 'ipv6cp request 1 010a 0000000000000001')
    s.hears('ipv6cp request 2 010a 0000000000000002', 'ipv6cp ack 1 010a 0000000000000001')
    s.says('ipv6cp ack 2 010a 0000000000000002').hearsNothing()
    const v6 = s.owner.ppp.find((e) => e.type === 'ipv6-up')
    t.same(v6?.type === 'ipv6-up' && [...v6.local], [0, 0, 0, 0, 0, 0, 0, 2])
  }),
)

t.test(
  'accel-ppp cannot assign an address that is its own: it hangs up, and the line says who did',
  async (t) =>
    play(t, {}, (s) => {
      lcp(s, 'pap').says('pap ack 1 00').hears('CALL_CONNECTED sha256 zero', 'ipcp request 1 *')
      s.says('lcp terminate 91').hears('lcp terminate-ack 91')
      s.pppError('TERMINATED', /^the server ended the link$/)
      s.says(DISCONNECT).hears('CALL_DISCONNECT_ACK 0').after(1000).isOver()
    }),
)

t.test('accel-ppp, old ones: frames are lost inside the tunnel, and TCP sends them again', async (t) =>
  play(t, {}, (s) => {
    up(s)
    s.stack.connect({ address: GATEWAY, port: 80 }, s.now)
    const [syn = ''] = s.stirs().heard()
    t.match(syn, /^ipv4 45.*0a54000a0a540001/)
    const [again = ''] = s.after(1100).heard()
    const tcp = (line: string): string => line.slice(5 + 40, 5 + 40 + 24)
    t.equal(tcp(again), tcp(syn), 'the same ports and sequence number')
  }),
)

t.test(
  'accel-ppp negotiates no longer than 60 s: a log-in that takes longer is aborted, and the line says who did',
  async (t) =>
    play(t, { client: { lcpEchoInterval: 0 } }, (s) => {
      lcp(s, 'mschapv2').says(`chap challenge 1 10 ${MSCHAPV2.challenge}`).hears('chap response 1 *')
      s.after(60_000).says('CALL_ABORT 1 0002 000c 00000002 00000007').hears(ABORT_BACK).after(1000)
      s.isOver('SSTP_PEER_ABORT', /^the server aborted the call \(INVALID_FRAME_RECEIVED\)$/)
    }),
)
