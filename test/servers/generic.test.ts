/** What any server may do, by the letter of MS-SSTP and RFC 1661 or against it. */
import t from 'tap'
import {
  ABORT_BACK,
  AUTH,
  ack,
  CONNECT_REQUEST,
  DISCONNECT,
  IPCP_REQUEST,
  LCP_REQUEST,
  MSCHAPV2,
  PAP_REQUEST,
  packet,
  play,
  type ScriptedServer,
  text,
} from '../helpers/scripted-server.js'

function lcp(s: ScriptedServer): ScriptedServer {
  s.connect(3).hears(`lcp request 1 ${LCP_REQUEST}`)
  s.says(`lcp ack 1 ${LCP_REQUEST}`, `lcp request 1 ${AUTH.pap}`)
  return s.hears(`lcp ack 1 ${AUTH.pap}`, `pap request 1 ${PAP_REQUEST}`)
}

function up(s: ScriptedServer): ScriptedServer {
  lcp(s).says('pap ack 1', 'ipcp request 1 0306 0a000001')
  s.hears('CALL_CONNECTED sha256 zero', `ipcp request 1 ${IPCP_REQUEST}`, 'ipcp ack 1 0306 0a000001')
  s.says('ipcp nak 1 0306 0a000005').hears('ipcp request 2 0306 0a000005 8106 00000000 8306 00000000')
  return s.says('ipcp ack 2 0306 0a000005 8106 00000000 8306 00000000').isUp('10.0.0.5')
}

// ---------------------------------------------------------------- SSTP

t.test(
  'the first message is CALL_CONNECT_REQUEST, 14 octets, and nothing of PPP before its answer',
  async (t) =>
    play(t, {}, (s) => {
      s.start().hears('CALL_CONNECT_REQUEST 1 0001 0006 0001')
      t.equal(packet(CONNECT_REQUEST).toString('hex'), '1001000e00010001000100060001')
      s.after(10_000).hearsNothing()
      // PPP that comes too early is dropped.
      s.says(`lcp request 1 ${AUTH.pap}`).hearsNothing()
      s.says(ack(3)).hears(`lcp request 1 ${LCP_REQUEST}`)
    }),
)

t.test('a server in a hurry: CALL_CONNECT_ACK and its LCP in one read, or octet by octet', async (t) => {
  for (const piece of [Number.POSITIVE_INFINITY, 1, 3, 47, 49]) {
    play(t, { piece }, (s) => {
      s.start().hears(CONNECT_REQUEST)
      s.says(ack(3), `lcp request 1 ${AUTH.pap}`)
      s.hears(`lcp request 1 ${LCP_REQUEST}`, `lcp ack 1 ${AUTH.pap}`)
    })
  }
})

t.test('the upper four bits of a length, and reserved bits, are not looked at', async (t) =>
  play(t, {}, (s) => {
    const octets = packet(ack(3))
    octets[1] = 0xff
    octets[2] = (octets[2] ?? 0) | 0xf0
    s.start()
      .hears(CONNECT_REQUEST)
      .says(`raw ${octets.toString('hex')}`)
    s.hears(`lcp request 1 ${LCP_REQUEST}`)
    s.says('raw 10fe f004').hearsNothing().isNotOver()
  }),
)

t.test('a length below 4, or another version: the end, without a word', async (t) => {
  for (const [octets, code] of [
    ['raw 1001 0000', 'SSTP_LENGTH'],
    ['raw 1000 0003', 'SSTP_LENGTH'],
    ['raw 1001 f003', 'SSTP_LENGTH'],
    ['raw 2001 0008 0008 0000', 'SSTP_VERSION'],
    ['raw 4854 5450', 'SSTP_VERSION'],
  ] as const) {
    play(t, {}, (s) => {
      s.start().hears(CONNECT_REQUEST).says(octets, 'ECHO_REQUEST 0').hearsNothing()
      s.isOver(code)
    })
  }
})

t.test('control messages that do not fit themselves are aborted with INVALID_FRAME_RECEIVED', async (t) => {
  for (const octets of [
    'raw 1001 0004',
    'raw 1001 0006 0008',
    'raw 1001 0008 0005 0001',
    'raw 1001 000c 0005 0001 0002 0003',
    'raw 1001 000c 0005 0001 0002 000c',
    'raw 1001 0008 0005 ffff',
    'raw 1001 0008 0042 0000',
  ]) {
    play(t, {}, (s) => {
      up(s).says(octets).hears('CALL_ABORT 1 0002000c 00000000 00000007')
      s.says('CALL_ABORT 0').hearsNothing().after(999).isNotOver().after(1)
      s.isOver(octets.includes('0042') ? 'SSTP_UNKNOWN_MESSAGE' : 'SSTP_INVALID_MESSAGE')
    })
  }
})

t.test('a data packet without a frame is nothing, and neither is a frame without a protocol', async (t) =>
  play(t, {}, (s) => {
    up(s)
      .says('raw 1000 0004', 'raw 1000 0005 c0', 'raw 1000 0006 ff03', 'raw 1000 0008 ff03 c020')
      .hearsNothing()
    s.isUp('10.0.0.5')
  }),
)

t.test(
  'CALL_CONNECT_ACK without a crypto binding request, with a short one, or with no hash of ours',
  async (t) => {
    for (const [line, answer, code] of [
      ['CALL_CONNECT_ACK 0', '00000004 0000000a', 'SSTP_INVALID_MESSAGE'],
      ['CALL_CONNECT_ACK 1 0004 0008 00000003', '00000004 00000003', 'SSTP_INVALID_MESSAGE'],
      [ack(4), '00000004 00000004', 'SSTP_NO_COMMON_HASH'],
      [ack(0), '00000004 00000004', 'SSTP_NO_COMMON_HASH'],
    ] as const) {
      play(t, {}, (s) => {
        s.start().hears(CONNECT_REQUEST).says(line).hears(`CALL_ABORT 1 0002000c ${answer}`)
        s.says('CALL_ABORT 0').after(1000).isOver(code)
      })
    }
  },
)

t.test('CALL_CONNECT_NAK: two more requests, then CALL_ABORT with RETRY_COUNT_EXCEEDED', async (t) => {
  for (const nak of ['CALL_CONNECT_NAK 0', 'CALL_CONNECT_NAK 1 0002 000e 00000001 00000004 0002']) {
    play(t, {}, (s) => {
      s.start().hears(CONNECT_REQUEST).says(nak).hears(CONNECT_REQUEST).says(nak).hears(CONNECT_REQUEST)
      s.says(nak).hears('CALL_ABORT 1 0002000c 00000000 00000006')
      s.says(nak, ack(3)).hearsNothing()
      s.after(3000).isOver('SSTP_REQUEST_REFUSED', /refused CALL_CONNECT_REQUEST 3 times/)
    })
  }
  play(t, {}, (s) => {
    s.start().hears(CONNECT_REQUEST).says('CALL_CONNECT_NAK 0').hears(CONNECT_REQUEST)
    s.says(ack(2)).hears(`lcp request 1 ${LCP_REQUEST}`)
  })
})

t.test('messages out of place are aborted with UNACCEPTED_FRAME_RECEIVED', async (t) => {
  const abort = 'CALL_ABORT 1 0002000c 00000000 00000005'
  for (const line of [
    'ECHO_REQUEST 0',
    'ECHO_RESPONSE 0',
    CONNECT_REQUEST,
    'CALL_DISCONNECT_ACK 0',
    ack(3),
  ]) {
    play(t, {}, (s) => {
      s.connect(3).hears(`lcp request 1 ${LCP_REQUEST}`).says(line).hears(abort)
      s.says('CALL_ABORT 0')
        .after(1000)
        .isOver('SSTP_UNACCEPTED_MESSAGE', /where it has no place/)
    })
  }
  for (const line of [ack(3), 'CALL_CONNECT_NAK 0', 'CALL_CONNECTED 0', 'CALL_DISCONNECT_ACK 0']) {
    play(t, {}, (s) => {
      up(s).says(line).hears(abort)
      s.after(3000).isOver('SSTP_UNACCEPTED_MESSAGE')
    })
  }
})

t.test(
  'CALL_ABORT with a status, with a strange one, and with none: answered, and closed a second later',
  async (t) => {
    for (const [line, words] of [
      ['CALL_ABORT 0', /^the server aborted the call$/],
      ['CALL_ABORT 1 0002 000c 00000000 00000008', /NEGOTIATION_TIMEOUT/],
      ['CALL_ABORT 1 0002 000c 00000000 0000000b', /STATUS_INFO_NOT_SUPPORTED_IN_MSG/],
      ['CALL_ABORT 1 0002 000c 00000000 deadbeef', /deadbeef|3735928559/],
      ['CALL_ABORT 1 00ff 0006 0000', /^the server aborted the call$/],
    ] as const) {
      play(t, {}, (s) => {
        lcp(s).says(line).hears(ABORT_BACK)
        s.says('CALL_ABORT 0', 'CALL_DISCONNECT 0', 'ECHO_REQUEST 0').hearsNothing()
        s.after(999).isNotOver().after(1).isOver('SSTP_PEER_ABORT', words)
      })
    }
  },
)

t.test('CALL_DISCONNECT in each phase: acknowledged, and closed a second later', async (t) => {
  for (const to of [(s: ScriptedServer) => s.start().hears(CONNECT_REQUEST), lcp, up]) {
    play(t, {}, (s) => {
      to(s).says('CALL_DISCONNECT 0').hears('CALL_DISCONNECT_ACK 0')
      s.says('CALL_DISCONNECT 0', 'CALL_ABORT 0').hearsNothing()
      s.after(999).isNotOver().after(1).isOver()
    })
  }
})

t.test('a farewell that crosses its own, is aborted, or is never answered', async (t) => {
  const leaving = (s: ScriptedServer): ScriptedServer =>
    up(s).leaves().hears('lcp terminate 1').says('lcp terminate-ack 1').hears(DISCONNECT)
  play(t, {}, (s) => {
    leaving(s).says('CALL_DISCONNECT 0').hears('CALL_DISCONNECT_ACK 0').after(1000).isOver()
  })
  play(t, {}, (s) => {
    leaving(s).says('CALL_ABORT 0').hears(ABORT_BACK).after(1000).isOver()
  })
  play(t, {}, (s) => {
    leaving(s).after(4999).isNotOver().after(1).isOver()
  })
  play(t, {}, (s) => {
    // Deaf to LCP: two Terminate-Requests, then SSTP.
    up(s).leaves().hears('lcp terminate 1').after(3000).hears('lcp terminate 2')
    s.after(3000).hears(DISCONNECT).says('CALL_DISCONNECT_ACK 0').isOver()
  })
})

t.test('ECHO_REQUEST by the dozen costs one answer a turn, and unasked responses none', async (t) =>
  play(t, {}, (s) => {
    up(s)
      .says(...Array.from({ length: 50 }, () => 'ECHO_REQUEST 0'))
      .hears('ECHO_RESPONSE 0')
    s.says('ECHO_RESPONSE 0', 'ECHO_RESPONSE 0').hearsNothing().isUp('10.0.0.5')
  }),
)

t.test('the log-in hangs in each of its steps: given up by itself, with the step in the line', async (t) => {
  play(t, {}, (s) => {
    s.start().hears(CONNECT_REQUEST).after(110_000).hears('CALL_ABORT 1 0002000c 00000000 00000008')
    s.after(3000).isOver('SSTP_NEGOTIATION_TIMEOUT', /did not answer CALL_CONNECT_REQUEST/)
  })
  play(t, {}, (s) => {
    s.connect(3)
    for (let n = 0; n < 10; n += 1) s.hears(`lcp request 1 ${LCP_REQUEST}`).after(3000)
    s.hears(DISCONNECT).pppError('NO_ANSWER', /no answer to LCP requests/)
  })
  play(t, { client: { lcpEchoInterval: 0 } }, (s) => {
    lcp(s)
    for (let n = 0; n < 9; n += 1) s.after(3000).hears(`pap request 1 ${PAP_REQUEST}`)
    s.after(62_999).isNotOver().after(1).hears('lcp terminate 1')
    s.pppError('NO_ANSWER', /no answer to our PAP request/)
  })
  for (const [auth, answered, words] of [
    [AUTH.mschapv2, false, /MS-CHAPv2: the server sent no challenge/],
    [AUTH.mschapv2, true, /MS-CHAPv2: no answer to our response/],
    [AUTH.eap, false, /EAP: the server sent no request/],
    [AUTH.eap, true, /EAP: no answer to our response/],
  ] as const) {
    const client = { auth: ['eap-mschapv2', 'mschapv2'], lcpEchoInterval: 0 } as const
    play(t, { client }, (s) => {
      s.connect(3).hears(`lcp request 1 ${LCP_REQUEST}`)
      s.says(`lcp ack 1 ${LCP_REQUEST}`, `lcp request 1 ${auth}`).hears(`lcp ack 1 ${auth}`)
      const ask = auth === AUTH.eap ? 'eap request 1 01' : `chap challenge 1 10 ${MSCHAPV2.challenge}`
      if (answered) s.says(ask).hears(/ response 1 /)
      s.after(89_999).isNotOver().after(1).hears('lcp terminate 1').pppError('NO_ANSWER', words)
      t.notOk(s.owner.told.includes('connected'))
    })
  }
  play(t, {}, (s) => {
    lcp(s).says('pap ack 1').hears('CALL_CONNECTED sha256 zero', `ipcp request 1 ${IPCP_REQUEST}`)
    for (let n = 1; n < 10; n += 1) s.after(3000).hears(`ipcp request 1 ${IPCP_REQUEST}`)
    s.after(3000)
      .hears('lcp terminate 1')
      .pppError('NO_ANSWER', /no answer to IPCP requests/)
  })
})

// ---------------------------------------------------------------- PPP

t.test(
  'frames without FF 03, and with a protocol of one octet, are understood; ours always have both',
  async (t) =>
    play(t, {}, (s) => {
      s.connect(3).hears(`lcp request 1 ${LCP_REQUEST}`)
      s.says(`raw 1000 0014 c021 02 01 000e ${LCP_REQUEST}`, `raw 1000 000e c021 01 01 0008 ${AUTH.pap}`)
      s.hears(`lcp ack 1 ${AUTH.pap}`, `pap request 1 ${PAP_REQUEST}`)
      s.says('raw 1000 000a c023 02 01 0004').hears(
        'CALL_CONNECTED sha256 zero',
        `ipcp request 1 ${IPCP_REQUEST}`,
      )
    }),
)

t.test('octets behind a packet are padding', async (t) =>
  play(t, {}, (s) => {
    s.connect(3).hears(`lcp request 1 ${LCP_REQUEST}`)
    s.says(`raw 1000 001a ff03 c021 02 01 000e ${LCP_REQUEST} 00000000`)
    s.says(`raw 1000 0013 ff03 c021 01 01 0008 ${AUTH.pap} ffffff`)
    s.hears(`lcp ack 1 ${AUTH.pap}`, `pap request 1 ${PAP_REQUEST}`)
    s.says(`raw 1000 0014 ff03 c023 02 01 0005 00 ${text('hello!!')}`)
    s.hears('CALL_CONNECTED sha256 zero', `ipcp request 1 ${IPCP_REQUEST}`)
  }),
)

t.test('lengths that lie, options that do not fit, answers to nothing: dropped without a word', async (t) =>
  play(t, {}, (s) => {
    s.connect(3).hears(`lcp request 1 ${LCP_REQUEST}`)
    s.says(
      'raw 1000 000c ff03 c021 01 01 0003',
      'raw 1000 000c ff03 c021 01 01 00ff',
      'raw 1000 000a ff03 c021 0101',
    )
    s.says('lcp request 1 0100', 'lcp request 1 0101', 'lcp request 1 0305 c2')
    s.says('lcp ack 7 0104 0578', 'lcp nak 9 0104 0578', 'lcp ack 1 0104 0578', `lcp reject 1 0702`)
    s.hearsNothing()
    s.says(`lcp ack 1 ${LCP_REQUEST}`, `lcp request 1 ${AUTH.pap}`).hears(
      `lcp ack 1 ${AUTH.pap}`,
      'pap request 1 *',
    )
  }),
)

t.test('unknown codes get a Code-Reject, as RFC 1661 5.6 has it, and ours get one without harm', async (t) =>
  play(t, {}, (s) => {
    up(s)
    s.says('lcp 77 3 0102').hears('lcp code-reject 1 4d030006 0102')
    s.says('ipcp 99 4').hears('ipcp code-reject 1 63040004')
    s.says('lcp code-reject 9 09010008 a1b2c3d4', 'ipcp code-reject 9 63040004').hearsNothing()
    s.isUp('10.0.0.5')
    s.says('lcp code-reject 10 01010004').hears('lcp terminate 2')
    s.pppError('REJECTED', /the peer rejects LCP packets/)
  }),
)

t.test('LCP that never agrees ends after 20 rounds, whichever side disagrees', async (t) => {
  play(t, {}, (s) => {
    s.connect(3).hears(`lcp request 1 ${LCP_REQUEST}`)
    for (let n = 1; n <= 20; n += 1) {
      s.says(`lcp nak ${n} 0104 0${(0x500 + n).toString(16)}`)
      s.hears(`lcp request ${n + 1} 0104 0${(0x500 + n).toString(16)} 0506 a1b2c3d4`)
    }
    s.says('lcp nak 21 0104 0600')
    t.equal(s.heard().at(-1), 'lcp terminate 1')
    s.pppError('NOT_CONVERGING', /the LCP options cannot be agreed on/)
  })
  play(t, {}, (s) => {
    s.connect(3).hears(`lcp request 1 ${LCP_REQUEST}`).says(`lcp ack 1 ${LCP_REQUEST}`)
    let said = 0
    for (; said < 40 && s.call.ppp.error === undefined; said += 1) {
      s.says(`lcp request ${said} 0d03 06 ${AUTH.pap}`).heard()
    }
    s.pppError('NOT_CONVERGING', /the LCP options cannot be agreed on/)
    t.equal(said, 21)
  })
})

t.test('our own magic number in its request: a Nak, and after ten rounds a loop', async (t) =>
  play(t, {}, (s) => {
    s.connect(3).hears(`lcp request 1 ${LCP_REQUEST}`)
    s.says(`lcp request 1 ${LCP_REQUEST}`)
    t.match(s.heard(), [/^lcp request 1 0104/, /^lcp nak 1 0506(?!a1b2c3d4)/])
    for (let n = 0; n < 40 && s.call.ppp.error === undefined; n += 1) {
      const magic = s.call.ppp.magic.toString(16).padStart(8, '0')
      s.says(`lcp request ${n + 2} 0104 0578 0506 ${magic}`).heard()
    }
    s.pppError('LCP_LOOPED', /the link is looped/)
  }),
)

t.test(
  'one CHAP challenge after the other before the Success: each gets its response, the last one counts',
  async (t) =>
    play(t, {}, (s) => {
      s.connect(3).hears(`lcp request 1 ${LCP_REQUEST}`)
      s.says(`lcp ack 1 ${LCP_REQUEST}`, `lcp request 1 ${AUTH.mschapv2}`).hears(`lcp ack 1 ${AUTH.mschapv2}`)
      s.says(`chap challenge 1 10 ${'11'.repeat(16)} 78`).hears('chap response 1 *')
      s.says(`chap challenge 2 10 ${MSCHAPV2.challenge} 78`).hears(
        `chap response 2 ${MSCHAPV2.response} ${text('User')}`,
      )
      s.says(`chap success 1 ${text(MSCHAPV2.proof)}`).hearsNothing()
      s.says(`chap success 2 ${text(MSCHAPV2.proof)}`).hears(
        'CALL_CONNECTED sha256 mschapv2',
        'ipcp request 1 *',
      )
      s.says(`chap success 2 ${text(MSCHAPV2.proof)}`, 'chap failure 2').hearsNothing()
    }),
)

t.test('challenges of a wrong size, and a Success that nobody asked for: no answer, no access', async (t) =>
  play(t, {}, (s) => {
    s.connect(3).hears(`lcp request 1 ${LCP_REQUEST}`)
    s.says(`lcp ack 1 ${LCP_REQUEST}`, `lcp request 1 ${AUTH.mschapv2}`).hears(`lcp ack 1 ${AUTH.mschapv2}`)
    s.says(
      'chap challenge 1',
      'chap challenge 1 00',
      'chap challenge 1 08 0102030405060708',
      'chap challenge 1 ff 01',
    )
    s.says(
      `chap success 1 ${text(MSCHAPV2.proof)}`,
      'pap ack 1',
      'ipcp request 1 0306 0a000001',
    ).hearsNothing()
    t.notOk(s.owner.told.includes('authenticated'))
  }),
)

t.test('a name or a password beyond ASCII: UTF-8 in PAP and in names, UTF-16 below MS-CHAPv2', async (t) => {
  const user = 'Jürgen'
  const password = 'пароль'
  play(t, { client: { user, password } }, (s) => {
    s.connect(3).hears(`lcp request 1 ${LCP_REQUEST}`)
    s.says(`lcp ack 1 ${LCP_REQUEST}`, `lcp request 1 ${AUTH.pap}`)
    s.hears(`lcp ack 1 ${AUTH.pap}`, `pap request 1 07 4ac3bc7267656e 0c d0bfd0b0d180d0bed0bbd18c`)
  })
  play(t, { client: { user, password } }, (s) => {
    s.connect(3).hears(`lcp request 1 ${LCP_REQUEST}`)
    s.says(`lcp ack 1 ${LCP_REQUEST}`, `lcp request 1 ${AUTH.mschapv2}`).hears(`lcp ack 1 ${AUTH.mschapv2}`)
    s.says(`chap challenge 1 10 ${MSCHAPV2.challenge} 78`)
    // Computed with OpenSSL: the NT hash over UTF-16LE, the challenge hash over UTF-8.
    s.hears(
      `chap response 1 31 ${MSCHAPV2.peerChallenge} 0000000000000000 96ddef651abd8552912914a476e682052f6cc1c3252845c5 00 4ac3bc7267656e`,
    )
  })
})

t.test('a Nak of the magic number, of what was not asked for, and a Nak of nothing', async (t) =>
  play(t, {}, (s) => {
    s.connect(3).hears(`lcp request 1 ${LCP_REQUEST}`)
    s.says('lcp nak 1 0506 01020304')
    const [renewed = ''] = s.heard()
    t.match(renewed, /^lcp request 2 010405780506(?!a1b2c3d4|01020304)/, 'a number of our own')
    s.says('lcp nak 2 0206 00000000 1104 0640').hears(renewed.replace('request 2', 'request 3'))
    s.says('lcp nak 3').hears(renewed.replace('request 2', 'request 4'))
    s.isNotOver()
  }),
)

t.test(
  'IPCP: more than one Reject drops only what is in it, and an Ack of another request is none',
  async (t) =>
    play(t, {}, (s) => {
      lcp(s).says('pap ack 1').hears('CALL_CONNECTED sha256 zero', `ipcp request 1 ${IPCP_REQUEST}`)
      s.says('ipcp reject 1 8106 00000000').hears('ipcp request 2 0306 00000000 8306 00000000')
      s.says('ipcp nak 2 0306 0a000005 8106 0a000001 8306 0a000002').hears(
        'ipcp request 3 0306 0a000005 8306 0a000002',
      )
      s.says(
        'ipcp ack 3 0306 0a000006 8306 0a000002',
        'ipcp ack 2 0306 0a000005 8306 0a000002',
      ).hearsNothing()
      s.says('ipcp ack 3 0306 0a000005 8306 0a000002', 'ipcp request 1 0306 0a000001').hears(
        'ipcp ack 1 0306 0a000001',
      )
      s.isUp('10.0.0.5').hasDns('10.0.0.2')
    }),
)

t.test('the server closes the connection in each phase: one clear line, and no word of ours', async (t) => {
  for (const to of [(s: ScriptedServer) => s.start().hears(CONNECT_REQUEST), lcp]) {
    play(t, {}, (s) => {
      to(s).hangsUp().hearsNothing()
      s.isOver('SSTP_CONNECTION_CLOSED', /^the server closed the connection without ending the call$/)
    })
  }
})
