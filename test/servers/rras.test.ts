/** Windows Server (RRAS, with NPS or without), as logs and its specifications have it, against the client's whole call. */
import t from 'tap'
import {
  ABORT_BACK,
  AUTH,
  answerEcho,
  DISCONNECT,
  IPCP_REQUEST,
  LCP_REQUEST,
  MSCHAPV2,
  play,
  type ScriptedServer,
  text,
} from '../helpers/scripted-server.js'

const MRU = '0104 0ffb'
const MAGIC = '0506 51a2411c'
const PFC_ACFC = '0702 0802'
const CALLBACK = '0d03 06'
const MRRU = '1104 064e'
const ENDPOINT = '1317 01 000102030405060708090a0b0c0d0e0f10111213'
/** What stays of its request when all that we do not do is gone. */
const rest = (auth: string): string => `${MRU} ${auth} ${MAGIC} ${PFC_ACFC}`
const MACHINE = text('RRAS01')

/** Its first request, and the one behind our Reject. */
function rejected(s: ScriptedServer, auth: string = AUTH.eap): ScriptedServer {
  s.connect(3).hears(`lcp request 1 ${LCP_REQUEST}`)
  s.says(`lcp ack 1 ${LCP_REQUEST}`, `lcp request 0 ${rest(auth)} ${CALLBACK} ${MRRU} ${ENDPOINT}`)
  s.hears(`lcp reject 0 ${CALLBACK} ${MRRU} ${ENDPOINT}`)
  return s.says(`lcp request 1 ${rest(auth)}`)
}

/** EAP first, MS-CHAPv2 on our Nak, then its Identifications. */
function lcp(s: ScriptedServer): ScriptedServer {
  rejected(s).hears(`lcp nak 1 ${AUTH.mschapv2}`)
  s.says(`lcp request 2 ${rest(AUTH.mschapv2)}`).hears(`lcp ack 2 ${rest(AUTH.mschapv2)}`)
  return s
    .says(
      `lcp identification 3 51a2411c ${text('MSRASV5.20')}`,
      `lcp identification 4 51a2411c ${text('MSRAS-0-RRAS01')}`,
    )
    .hearsNothing()
}

function challenged(s: ScriptedServer, id = 0): ScriptedServer {
  s.says(`chap challenge ${id} 10 ${MSCHAPV2.challenge} ${MACHINE}`)
  return s.hears(`chap response ${id} ${MSCHAPV2.response} ${text('User')}`)
}

function authenticated(s: ScriptedServer): ScriptedServer {
  challenged(lcp(s)).says(`chap success 0 ${text(`${MSCHAPV2.proof} M=RRAS01`)}`)
  return s.hears('CALL_CONNECTED sha256 mschapv2', `ipcp request 1 ${IPCP_REQUEST}`)
}

/** Address of the session 10.0.0.20, server 10.0.0.1, two name servers. */
const GIVEN = '0306 0a000014 8106 0a000002 8306 0a000003'

function up(s: ScriptedServer): ScriptedServer {
  authenticated(s)
  s.says('80fd 1 5 120601000001', 'ipcp request 6 0306 0a000001')
  // The second request of ours: the server's own has come, and it may not have been ready for the first.
  s.hears(
    'lcp protocol-reject 1 80fd 0105000a120601000001',
    `ipcp request 1 ${IPCP_REQUEST}`,
    'ipcp ack 6 0306 0a000001',
  )
  s.says(`ipcp nak 1 ${GIVEN}`).hears(`ipcp request 2 ${GIVEN}`)
  return s.says(`ipcp ack 2 ${GIVEN}`).isUp('10.0.0.20').hasDns('10.0.0.2', '10.0.0.3')
}

t.test('RRAS: EAP first, MRU 4091, callback, multilink and endpoint, and a whole call behind it', async (t) =>
  play(t, {}, (s) => {
    up(s)
    t.equal(s.call.ppp.mtu, 1400, 'its MRU is what it can receive; ours caps what is sent')
    t.match(
      s.owner.ppp.find((e) => e.type === 'lcp-up'),
      { peerMru: 4091, auth: 'mschapv2' },
    )
  }),
)

t.test('RRAS takes a Reject of authentication for none at all: it always gets a Nak', async (t) =>
  play(t, {}, (s) => {
    s.connect(3).hears(`lcp request 1 ${LCP_REQUEST}`)
    for (const [id, auth] of [AUTH.eap, AUTH.mschapv1, '0304c229', '0305c22306'].entries()) {
      s.says(`lcp request ${2 * id} ${MRU} ${auth} ${CALLBACK}`)
      t.equal(s.heard().at(-1), `lcp reject ${2 * id} 0d0306`, 'not among what is rejected')
      s.says(`lcp request ${2 * id + 1} ${MRU} ${auth}`).hears(`lcp nak ${2 * id + 1} ${AUTH.mschapv2}`)
    }
  }),
)

t.test(
  'RRAS with EAP alone comes back with EAP: the call ends, and the line says what is wanted',
  async (t) =>
    play(t, {}, (s) => {
      rejected(s).hears(`lcp nak 1 ${AUTH.mschapv2}`)
      s.says(`lcp request 2 ${rest(AUTH.eap)}`).hears('lcp terminate 1')
      s.pppError('AUTH_METHOD', /the server wants EAP; enabled here: MS-CHAPv2, CHAP-MD5, PAP/)
      s.says('lcp terminate-ack 1').hears(DISCONNECT).says('CALL_DISCONNECT_ACK 0').isOver()
    }),
)

t.test('RRAS rejected option by option: in order, octet for octet, also if they come twice', async (t) =>
  play(t, {}, (s) => {
    s.connect(3).hears(`lcp request 1 ${LCP_REQUEST}`)
    const odd = `${CALLBACK} ${MRU} ${ENDPOINT} ${MRRU} ${AUTH.mschapv2} ${MRRU} 1202 1704 1234`
    s.says(`lcp request 0 ${odd}`)
    s.hears(
      `lcp request 1 ${LCP_REQUEST}`,
      `lcp reject 0 ${CALLBACK} ${ENDPOINT} ${MRRU} ${MRRU} 1202 1704 1234`,
    )
  }),
)

t.test('RRAS names an option twice: the last one holds, and the Ack has both', async (t) =>
  play(t, {}, (s) => {
    s.connect(3).hears(`lcp request 1 ${LCP_REQUEST}`)
    const twice = `0104 0300 ${AUTH.pap} 0104 0258 ${AUTH.mschapv2}`
    s.says(`lcp request 0 ${twice}`).hears(`lcp request 1 ${LCP_REQUEST}`, `lcp ack 0 ${twice}`)
    s.says(`lcp ack 1 ${LCP_REQUEST}`)
    t.match(
      s.owner.ppp.find((e) => e.type === 'lcp-up'),
      { peerMru: 600, auth: 'mschapv2' },
    )
    t.equal(s.call.ppp.mtu, 600)
  }),
)

t.test('RRAS sends Identification and Time-Remaining at any time: never a word, never an end', async (t) =>
  play(t, {}, (s) => {
    const told = [
      `lcp identification 3 51a2411c ${text('MSRASV5.20')}`,
      `lcp identification 4 51a2411c`,
      'lcp identification 5',
      `lcp time-remaining 6 51a2411c 00000e10 ${text('an hour')}`,
      'lcp time-remaining 7',
      'lcp discard 8 51a2411c',
    ]
    s.connect(3)
      .hears(`lcp request 1 ${LCP_REQUEST}`)
      .says(...told)
      .hearsNothing()
    s.says(`lcp ack 1 ${LCP_REQUEST}`, `lcp request 0 ${rest(AUTH.mschapv2)}`)
    s.hears(`lcp ack 0 ${rest(AUTH.mschapv2)}`)
    s.says(...told).hearsNothing()
    challenged(s).says(`chap success 0 ${text(MSCHAPV2.proof)}`)
    s.hears('CALL_CONNECTED sha256 mschapv2', `ipcp request 1 ${IPCP_REQUEST}`)
    s.says(...told)
      .hearsNothing()
      .isNotOver()
  }),
)

t.test(
  'RRAS asks for CCP, BAP and call-back control: a Protocol-Reject in the network phase, not before',
  async (t) =>
    play(t, {}, (s) => {
      lcp(s).says('80fd 1 4 120601000001').hearsNothing()
      challenged(s)
        .says(`chap success 0 ${text(MSCHAPV2.proof)}`)
        .hears('CALL_CONNECTED sha256 mschapv2', 'ipcp request 1 *')
      s.says('80fd 1 5 120601000001').hears('lcp protocol-reject 1 80fd 0105000a120601000001')
      s.says('c02b 1 1 01').hears('lcp protocol-reject 2 c02b 0101000501')
      s.says('c02d 1 1', 'c029 1 1').hears(
        'lcp protocol-reject 3 c02d 01010004',
        'lcp protocol-reject 4 c029 01010004',
      )
      s.says('80fd 1 5 120601000001', '80fd 1 5 120601000001', '80fd 1 5 120601000001')
      s.hears('lcp protocol-reject 5 80fd *', 'lcp protocol-reject 6 80fd *')
      s.isNotOver()
    }),
)

t.test(
  'RRAS says why MS-CHAPv2 failed: each number becomes a sentence, and nobody tries again',
  async (t) => {
    for (const [code, sentence] of [
      [646, 'the account may not log on at this hour'],
      [647, 'the account is disabled'],
      [648, 'the password has expired'],
      [649, 'the account has no permission to dial in'],
      [691, 'wrong user name or password'],
      [709, 'the server could not change the password'],
    ] as const) {
      play(t, {}, (s) => {
        challenged(lcp(s))
        s.says(`chap failure 0 ${text(`E=${code} R=1 C=${MSCHAPV2.challenge.toUpperCase()} V=3 M=a reason`)}`)
        const heard = s.heard()
        t.same(heard, ['lcp terminate 1'], 'R=1 allows another try; accounts get locked by those')
        s.pppError('AUTH_REFUSED', new RegExp(`^${sentence}`))
        t.equal(s.call.ppp.error?.reason, code)
        t.notMatch(s.call.ppp.error?.message, new RegExp(MSCHAPV2.challenge, 'i'), 'no challenge for people')
        s.says('lcp terminate-ack 1').hears(DISCONNECT).says('CALL_DISCONNECT_ACK 0').isOver()
      })
    }
  },
)

t.test('RRAS: a Success longer than its proof, and one that proves nothing', async (t) => {
  play(t, {}, (s) => {
    challenged(lcp(s)).says(`chap success 0 ${text(`${MSCHAPV2.proof} M=${'Welcome '.repeat(40)}`)}`)
    s.hears('CALL_CONNECTED sha256 mschapv2', `ipcp request 1 ${IPCP_REQUEST}`)
  })
  play(t, {}, (s) => {
    challenged(lcp(s)).says(`chap success 0 ${text(MSCHAPV2.proof.toLowerCase().replace('s=', 'S='))}`)
    s.hears('CALL_CONNECTED sha256 mschapv2', `ipcp request 1 ${IPCP_REQUEST}`)
  })
  for (const proof of ['', 'S=', MSCHAPV2.proof.slice(0, -1), `S=${'0'.repeat(40)}`, `M=${MSCHAPV2.proof}`]) {
    play(t, {}, (s) => {
      challenged(lcp(s))
        .says(`chap success 0 ${text(proof)}`)
        .hears('lcp terminate 1')
      s.pppError('AUTH_SERVER_UNPROVEN', /may be an impostor/)
      t.notOk(s.owner.told.includes('connected'), 'and no CALL_CONNECTED')
    })
  }
})

t.test(
  'RRAS waits for a second factor: the challenge, a minute of nothing but LCP echoes, then Success',
  async (t) =>
    play(t, {}, (s) => {
      challenged(lcp(s))
      for (let n = 0; n < 14; n += 1) {
        s.after(6000)
        for (const line of s.heard())
          t.match(line, /^lcp echo \d+ a1b2c3d4$/, 'nothing of SSTP, no second response')
        s.says(`lcp echo ${n} 51a2411c`).hears(`lcp echo-reply ${n} a1b2c3d4`)
      }
      s.says(`chap success 0 ${text(MSCHAPV2.proof)}`)
      s.hears('CALL_CONNECTED sha256 mschapv2', `ipcp request 1 ${IPCP_REQUEST}`)
    }),
)

t.test(
  'RRAS refuses the crypto binding by hanging up or by CALL_ABORT: the line suspects interception',
  async (t) => {
    play(t, {}, (s) => {
      authenticated(s).after(20).hangsUp()
      s.isOver(
        'SSTP_CONNECTION_CLOSED',
        /right after CALL_CONNECTED; .* crypto binding, because something between us intercepts TLS/,
      )
    })
    play(t, {}, (s) => {
      authenticated(s).after(20).says('CALL_ABORT 1 0002000c 00000003 00000004').hears(ABORT_BACK)
      s.after(1000).isOver(
        'SSTP_PEER_ABORT',
        /VALUE_NOT_SUPPORTED\) right after CALL_CONNECTED; .* intercepts TLS/,
      )
    })
    play(t, {}, (s) => {
      up(s).after(10_000).hangsUp()
      s.isOver('SSTP_CONNECTION_CLOSED', /^the server closed the connection without ending the call$/)
    })
  },
)

t.test('RRAS of old offers SHA-1 alone, others both: the strongest, and one bit of it', async (t) => {
  for (const [hashes, name] of [
    [1, 'sha1'],
    [2, 'sha256'],
    [3, 'sha256'],
    [7, 'sha256'],
  ] as const) {
    play(t, {}, (s) => {
      s.connect(hashes).hears(`lcp request 1 ${LCP_REQUEST}`)
      s.says(`lcp ack 1 ${LCP_REQUEST}`, `lcp request 0 ${rest(AUTH.mschapv2)}`).hears('lcp ack 0 *')
      challenged(s).says(`chap success 0 ${text(MSCHAPV2.proof)}`)
      s.hears(`CALL_CONNECTED ${name} mschapv2`, `ipcp request 1 ${IPCP_REQUEST}`)
    })
  }
})

t.test('RRAS Naks again and again while its DHCP resolves: the last value holds', async (t) =>
  play(t, {}, (s) => {
    authenticated(s)
    for (let n = 0; n < 10; n += 1) {
      const given = `0306 0a0000${(20 + n).toString(16)} 8106 0a000002`
      s.says(`ipcp nak ${1 + n} ${given} 8306 00000000`).hears(`ipcp request ${2 + n} ${given}`)
    }
    s.says('ipcp ack 11 0306 0a00001d 8106 0a000002', 'ipcp request 6 0306 0a000001')
    s.hears('ipcp ack 6 0306 0a000001').isUp('10.0.0.29').hasDns('10.0.0.2')
  }),
)

t.test('RRAS without an end to its Naks is left after 20 rounds', async (t) =>
  play(t, {}, (s) => {
    authenticated(s)
    for (let n = 0; n < 20; n += 1) {
      s.says(`ipcp nak ${1 + n} 0306 0a0000${(20 + n).toString(16)}`).hears(`ipcp request ${2 + n} *`)
    }
    s.says('ipcp nak 21 0306 0a0000fe')
    t.ok(s.heard().includes('lcp terminate 1'))
    s.pppError('NOT_CONVERGING', /the IPCP options cannot be agreed on/)
  }),
)

t.test('RRAS has no address left: 0.0.0.0, or a Reject of the option', async (t) => {
  play(t, {}, (s) => {
    authenticated(s).says('ipcp nak 1 0306 00000000')
    t.ok(s.heard().includes('lcp terminate 1'))
    s.pppError('NO_ADDRESS', /the server has no IPv4 address for us/)
  })
  play(t, {}, (s) => {
    authenticated(s).says('ipcp reject 1 0306 00000000')
    t.ok(s.heard().includes('lcp terminate 1'))
    s.pppError('NO_ADDRESS', /the server does not give IPv4 addresses/)
  })
})

t.test('RRAS adds name servers of its own kind to a Nak: what we did not ask for stays out', async (t) =>
  play(t, {}, (s) => {
    authenticated(s).says(`ipcp nak 1 ${GIVEN} 8206 0a000004 8406 0a000005`).hears(`ipcp request 2 ${GIVEN}`)
  }),
)

t.test("RRAS's IPCP request may hold nothing, 0.0.0.0, or compression", async (t) =>
  play(t, {}, (s) => {
    authenticated(s)
    s.says('ipcp request 6').hears(`ipcp request 1 ${IPCP_REQUEST}`, 'ipcp ack 6')
    s.says('ipcp request 7 0306 00000000').hears('ipcp reject 7 0306 00000000')
    s.says('ipcp request 8 0206 002d0f01 0306 0a000001').hears('ipcp reject 8 0206 002d0f01')
    s.says('ipcp request 9 0306 c0000208').hears('ipcp ack 9 0306 c0000208')
    s.says(`ipcp nak 1 ${GIVEN}`)
      .hears(`ipcp request 2 ${GIVEN}`)
      .says(`ipcp ack 2 ${GIVEN}`)
      .isUp('10.0.0.20')
    const event = s.owner.ppp.find((e) => e.type === 'ipv4-up')
    t.same(event?.type === 'ipv4-up' && event.peer && [...event.peer], [192, 0, 2, 8])
  }),
)

t.test('RRAS ends an idle session: LCP with a reason for people, then CALL_DISCONNECT', async (t) =>
  play(t, {}, (s) => {
    up(s).after(14_000).says(`lcp terminate 9 51a2411c 003ccd74 00000000`).hears('lcp terminate-ack 9')
    s.pppError('TERMINATED', /^the server ended the link/)
    s.says(DISCONNECT).hears('CALL_DISCONNECT_ACK 0').after(1000).isOver()
  }),
)

t.test('RRAS answers ECHO_REQUEST, and one that falls silent is noticed', async (t) => {
  play(t, { keepAlive: true }, (s) => {
    up(s).lives(120_000, answerEcho)
    t.equal(s.dead, undefined)
    const from = s.now
    s.lives(60_000, () => [])
    t.ok(s.dead !== undefined && s.now - from <= 20_000, `noticed after ${s.now - from} ms`)
  })
  play(t, { client: { lcpEchoInterval: 0 } }, (s) => {
    // MS-SSTP's own timer behind it: twice 60 s, and then not a word.
    up(s).after(60_000).hears('ECHO_REQUEST 0').says('ECHO_RESPONSE 0').hearsNothing()
    s.after(60_000).hears('ECHO_REQUEST 0').after(60_000)
    s.hearsNothing().isOver('SSTP_HELLO_TIMEOUT', /nothing came from the server for 120 s/)
  })
})

t.test('RRAS begins IPCP anew in the open link: the address may be another, the call goes on', async (t) =>
  play(t, {}, (s) => {
    up(s)
    s.says('ipcp request 20 0306 0a000009').hears(`ipcp request 3 ${GIVEN}`, 'ipcp ack 20 0306 0a000009')
    t.notOk(s.call.ppp.ipv4Open, 'not until it is agreed on again')
    s.says('ipcp nak 3 0306 0a000015').hears('ipcp request 4 0306 0a000015 8106 0a000002 8306 0a000003')
    s.says('ipcp ack 4 0306 0a000015 8106 0a000002 8306 0a000003').isUp('10.0.0.21')
  }),
)

t.test('RRAS begins LCP anew in the open link: one SSTP call has one binding, so the call ends', async (t) =>
  play(t, {}, (s) => {
    up(s).says(`lcp request 9 ${rest(AUTH.mschapv2)}`)
    s.hears('lcp terminate 1').pppError('LCP_RESTARTED', /only a new call can follow/)
    s.says('lcp terminate-ack 1').hears(DISCONNECT).says('CALL_DISCONNECT_ACK 0').isOver()
    t.notOk(s.call.sstp.mayData)
  }),
)
