/** Servers that want EAP first, each in its own way, against the client's whole call. */
import t from 'tap'
import {
  AUTH,
  DISCONNECT,
  IPCP_REQUEST,
  LCP_REQUEST,
  MSCHAPV2,
  play,
  type ScriptedServer,
  type ScriptOptions,
  text,
} from '../helpers/scripted-server.js'

const CLIENT: ScriptOptions = { client: { auth: ['eap-mschapv2', 'mschapv2', 'pap'] } }
const EAP_ALONE: ScriptOptions = { client: { auth: ['eap-mschapv2'] } }

const hex = (n: number): string => n.toString(16).padStart(2, '0')

/** Type data of EAP-MSCHAPv2, with its own header: op code, its identifier, its length. */
function ms(op: number, id: number, data: string): string {
  const length = 4 + data.replace(/\s/g, '').length / 2
  return `1a ${hex(op)} ${hex(id)} ${length.toString(16).padStart(4, '0')} ${data}`
}

const challenge = (id: number): string => ms(1, id, `10 ${MSCHAPV2.challenge} ${text('server')}`)
const response = (id: number): string => ms(2, id, `${MSCHAPV2.response} ${text('User')}`)
const IDENTITY = `01${text('User')}`

/** LCP of a server that asks by itself and gets EAP. */
function lcp(s: ScriptedServer, request: string = AUTH.eap): ScriptedServer {
  s.connect(3).hears(`lcp request 1 ${LCP_REQUEST}`)
  return s.says(`lcp ack 1 ${LCP_REQUEST}`, `lcp request 1 ${request}`).hears(`lcp ack 1 ${request}`)
}

/** EAP-MSCHAPv2 to the Success of the method. */
function proven(s: ScriptedServer, id: number, message: string = MSCHAPV2.proof): ScriptedServer {
  s.says(`eap request ${id} ${challenge(id)}`).hears(`eap response ${id} ${response(id)}`)
  return s.says(`eap request ${id + 1} ${ms(3, id, text(message))}`).hears(`eap response ${id + 1} 1a 03`)
}

const CONNECTED = ['CALL_CONNECTED sha256 mschapv2', `ipcp request 1 ${IPCP_REQUEST}`] as const

t.test(
  'RRAS with NPS: EAP first, PEAP offered, EAP-MSCHAPv2 on our Nak; CALL_CONNECTED behind EAP-Success',
  async (t) =>
    play(t, CLIENT, (s) => {
      const rest = `0104 0ffb ${AUTH.eap} 0506 51a2411c 0702 0802`
      s.connect(3).hears(`lcp request 1 ${LCP_REQUEST}`)
      s.says(`lcp ack 1 ${LCP_REQUEST}`, `lcp request 0 ${rest} 0d03 06 1104 064e 1317 01 ${'0a'.repeat(20)}`)
      s.hears(`lcp reject 0 0d03 06 1104 064e 1317 01 ${'0a'.repeat(20)}`)
      s.says(`lcp request 1 ${rest}`).hears(`lcp ack 1 ${rest}`)
      s.says(`lcp identification 2 51a2411c ${text('MSRASV5.20')}`, 'eap request 0 01').hears(
        `eap response 0 ${IDENTITY}`,
      )
      s.says('eap request 1 19 20').hears('eap response 1 03 1a')
      proven(s, 2, `${MSCHAPV2.proof} M=Welcome`).after(50).hearsNothing()
      s.says('eap success 3').hears(...CONNECTED)
      t.match(
        s.owner.ppp.find((e) => e.type === 'authenticated'),
        { method: 'eap-mschapv2', user: 'User' },
      )
    }),
)

t.test(
  'RRAS with PEAP as its only type asks for it again, or hangs up: the line names both sides',
  async (t) => {
    play(t, CLIENT, (s) => {
      lcp(s).says('eap request 0 01').hears(`eap response 0 ${IDENTITY}`)
      s.says('eap request 1 19 20').hears('eap response 1 03 1a')
      s.says('eap failure 1').hears('lcp terminate 1')
      s.pppError('AUTH_METHOD', /the server wants PEAP; enabled here of EAP: EAP-MSCHAPv2/)
      s.says('lcp terminate-ack 1').hears(DISCONNECT).says('CALL_DISCONNECT_ACK 0').isOver()
    })
    play(t, CLIENT, (s) => {
      lcp(s).says('eap request 0 01').hears(`eap response 0 ${IDENTITY}`)
      s.says('eap request 1 19 20').hears('eap response 1 03 1a')
      s.says('lcp terminate 2').hears('lcp terminate-ack 2')
      s.pppError('AUTH_METHOD', /the server wants PEAP/)
    })
  },
)

t.test(
  'SoftEther: a greeting in the Identity request, S= without M, one identifier in both headers',
  async (t) =>
    play(t, CLIENT, (s) => {
      s.connect(2).hears(`lcp request 1 ${LCP_REQUEST}`)
      s.says('lcp reject 1 0506 a1b2c3d4', `lcp request 0 ${AUTH.eap}`)
      s.hears('lcp request 2 0104 0578', `lcp ack 0 ${AUTH.eap}`).says('lcp ack 2 0104 0578')
      s.after(600).says(`eap request 1 01 ${text('Welcome to the SoftEther VPN server!\0')}`)
      s.hears(`eap response 1 ${IDENTITY}`)
      proven(s, 2)
        .says('eap success 3')
        .hears(...CONNECTED)
    }),
)

t.test('SoftEther does not know the user: EAP-Failure at the Identity already', async (t) =>
  play(t, CLIENT, (s) => {
    lcp(s).says('eap request 1 01').hears(`eap response 1 ${IDENTITY}`)
    s.says('eap failure 1').hears('lcp terminate 1')
    s.pppError('AUTH_REFUSED', /refused us before it asked for any proof/)
  }),
)

t.test('SoftEther: wrong password, the Failure request is answered and nobody tries again', async (t) =>
  play(t, CLIENT, (s) => {
    lcp(s).says('eap request 1 01').hears(`eap response 1 ${IDENTITY}`)
    s.says(`eap request 2 ${challenge(2)}`).hears(`eap response 2 ${response(2)}`)
    s.says(`eap request 3 ${ms(4, 2, text(`E=691 R=0 C=${MSCHAPV2.challenge} V=3`))}`)
    s.hears('eap response 3 1a 04', 'lcp terminate 1')
    s.pppError('AUTH_REFUSED', /^wrong user name or password \(E=691\)/)
    s.says('eap failure 3', 'lcp terminate 4').hears('lcp terminate-ack 4')
    t.notOk(s.owner.told.includes('authenticated'))
  }),
)

t.test(
  'SoftEther answers a legacy Nak by rejecting EAP and beginning LCP anew: the call ends, and says what was wanted',
  async (t) =>
    play(t, CLIENT, (s) => {
      lcp(s).says('eap request 1 01').hears(`eap response 1 ${IDENTITY}`)
      s.says('eap request 2 0d 20').hears('eap response 2 03 1a')
      s.says('lcp protocol-reject 3 c227 0202000603 1a', `lcp request 4 ${AUTH.mschapv2}`)
      const heard = s.heard()
      t.equal(heard[0], 'lcp terminate 1', 'a new call is needed')
      s.pppError('REJECTED', /EAP/)
      t.notOk(s.owner.told.includes('authenticated'))
    }),
)

t.test('pppd 2.4.9 says nothing after EAP-MSCHAPv2: its IPCP request stands for EAP-Success', async (t) =>
  play(t, CLIENT, (s) => {
    lcp(s).says('eap request 120 01').hears(`eap response 120 ${IDENTITY}`)
    s.says(`eap request 121 ${challenge(121)}`).hears(`eap response 121 ${response(121)}`)
    // Its Success has the new identifier inside, too.
    s.says(
      `eap request 122 ${ms(3, 122, text(`${MSCHAPV2.proof} M=Access granted`))}`,
      'ipcp request 1 0306 c0a84e01',
    )
    s.hears(
      'CALL_CONNECTED sha256 mschapv2',
      'eap response 122 1a 03',
      `ipcp request 1 ${IPCP_REQUEST}`,
      'ipcp ack 1 0306 c0a84e01',
    )
  }),
)

t.test('pppd, later ones: EAP-Success with an identifier of its own', async (t) =>
  play(t, CLIENT, (s) => {
    lcp(s).says('eap request 120 01').hears(`eap response 120 ${IDENTITY}`)
    proven(s, 121)
      .says('eap success 123')
      .hears(...CONNECTED)
  }),
)

t.test('pppd offers MD5-Challenge, and EAP-MSCHAPv2 on our Nak', async (t) =>
  play(t, CLIENT, (s) => {
    lcp(s).says('eap request 5 01').hears(`eap response 5 ${IDENTITY}`)
    s.says(`eap request 6 04 10 ${MSCHAPV2.challenge}`).hears('eap response 6 03 1a')
    proven(s, 7)
      .says('eap success 9')
      .hears(...CONNECTED)
  }),
)

t.test('pppd asks for the refused type again and again: ten Naks, and then the end', async (t) =>
  play(t, CLIENT, (s) => {
    lcp(s).says('eap request 5 01').hears(`eap response 5 ${IDENTITY}`)
    let naks = 0
    for (let id = 6; id < 36 && s.call.ppp.error === undefined; id += 1) {
      s.says(`eap request ${id} 04 10 ${MSCHAPV2.challenge}`)
      naks += s.heard().filter((line) => line === `eap response ${id} 031a`).length
    }
    t.equal(naks, 10)
    s.pppError('AUTH_METHOD', /the server wants .*MD5/)
  }),
)

t.test('pppd refuses with R=1 and hangs up without EAP-Failure', async (t) =>
  play(t, CLIENT, (s) => {
    lcp(s).says('eap request 5 01').hears(`eap response 5 ${IDENTITY}`)
    s.says(`eap request 6 ${challenge(6)}`).hears(`eap response 6 ${response(6)}`)
    s.says(
      `eap request 7 ${ms(4, 7, text(`E=691 R=1 C=${MSCHAPV2.challenge} V=0 M=Access denied`))}`,
      'lcp terminate 2',
    )
    const heard = s.heard()
    t.ok(heard.includes('eap response 7 1a04'))
    t.ok(heard.includes('lcp terminate-ack 2'))
    s.pppError('AUTH_REFUSED', /wrong user name or password \(E=691\)/)
  }),
)

t.test('a RADIUS server behind it says EAP-Failure right after the response, without an E code', async (t) =>
  play(t, CLIENT, (s) => {
    lcp(s).says('eap request 5 01').hears(`eap response 5 ${IDENTITY}`)
    s.says(`eap request 6 ${challenge(6)}`).hears(`eap response 6 ${response(6)}`)
    s.says('eap failure 6').hears('lcp terminate 1')
    s.pppError('AUTH_REFUSED', /refused us in EAP-MSCHAPv2: wrong user name, password/)
  }),
)

t.test(
  'a Request that is repeated gets the same Response, octet for octet, and is gone through once',
  async (t) =>
    play(t, CLIENT, (s) => {
      lcp(s).says('eap request 5 01').hears(`eap response 5 ${IDENTITY}`)
      s.after(3000).says('eap request 5 01').hears(`eap response 5 ${IDENTITY}`)
      s.says(`eap request 6 ${challenge(6)}`).hears(`eap response 6 ${response(6)}`)
      s.after(3000)
        .says(`eap request 6 ${challenge(6)}`)
        .hears(`eap response 6 ${response(6)}`)
      s.says(`eap request 7 ${ms(3, 6, text(MSCHAPV2.proof))}`).hears('eap response 7 1a 03')
      s.after(3000)
        .says(`eap request 7 ${ms(3, 6, text(MSCHAPV2.proof))}`)
        .hears('eap response 7 1a 03')
      s.says('eap success 7').hears(...CONNECTED)
      s.says('eap success 7').hearsNothing()
    }),
)

t.test(
  'EAP-Success before the server has proven anything is nothing, and a wrong proof is the end',
  async (t) =>
    play(t, CLIENT, (s) => {
      lcp(s).says('eap success 0').hearsNothing()
      s.says('eap request 5 01').hears(`eap response 5 ${IDENTITY}`).says('eap success 5').hearsNothing()
      s.says(`eap request 6 ${challenge(6)}`).hears(`eap response 6 ${response(6)}`)
      s.says('eap success 6', 'ipcp request 1 0306 0a000001').hearsNothing()
      s.says(`eap request 7 ${ms(3, 6, text(`S=${'0'.repeat(40)}`))}`).hears('lcp terminate 1')
      s.pppError('AUTH_SERVER_UNPROVEN', /impostor/)
      s.says('eap success 7').hearsNothing()
      t.notOk(s.owner.told.includes('connected'))
    }),
)

t.test(
  'a second factor: a Notification is shown and answered, and EAP-Success may take a minute',
  async (t) =>
    play(t, CLIENT, (s) => {
      lcp(s).says('eap request 5 01').hears(`eap response 5 ${IDENTITY}`)
      s.says(`eap request 6 02 ${text('Approve the push on your phone')}`).hears('eap response 6 02')
      t.match(
        s.owner.ppp.find((e) => e.type === 'note'),
        { message: /Approve the push on your phone/ },
      )
      proven(s, 7)
      for (let n = 0; n < 8; n += 1) {
        for (const line of s.after(10_000).heard()) t.match(line, /^lcp echo/)
        s.says(`lcp echo ${n} 01020304`).hears(`lcp echo-reply ${n} a1b2c3d4`)
      }
      s.says('eap success 8').hears(...CONNECTED)
    }),
)

t.test('expanded types, token cards and others are refused with what we have', async (t) =>
  play(t, CLIENT, (s) => {
    lcp(s).says('eap request 5 01').hears(`eap response 5 ${IDENTITY}`)
    s.says('eap request 6 fe 000137 00000021').hears('eap response 6 03 1a')
    s.says(`eap request 7 06 ${text('Password:')}`).hears('eap response 7 03 1a')
    s.says('eap request 8 15 20').hears('eap response 8 03 1a')
    proven(s, 9)
      .says('eap success 10')
      .hears(...CONNECTED)
  }),
)

t.test(
  'a server that offers MS-CHAPv2 is not asked for EAP, and one without EAP is told what is missing',
  async (t) => {
    play(t, CLIENT, (s) => {
      s.connect(3).hears(`lcp request 1 ${LCP_REQUEST}`).says(`lcp ack 1 ${LCP_REQUEST}`)
      s.says(`lcp request 1 ${AUTH.mschapv2}`).hears(`lcp ack 1 ${AUTH.mschapv2}`)
    })
    play(t, EAP_ALONE, (s) => {
      s.connect(3).hears(`lcp request 1 ${LCP_REQUEST}`).says(`lcp ack 1 ${LCP_REQUEST}`)
      for (const [id, auth] of [AUTH.mschapv2, AUTH.mschapv1, AUTH.md5, AUTH.pap].entries()) {
        s.says(`lcp request ${id} ${auth}`).hears(`lcp nak ${id} ${AUTH.eap}`)
      }
      s.says(`lcp request 4 ${AUTH.pap}`).hears('lcp terminate 1')
      s.pppError('AUTH_METHOD', /the server wants PAP; enabled here: EAP/)
    })
  },
)

t.test(
  'EAP with names of a domain: whole in the Identity and the Response, the hash over what is behind',
  async (t) =>
    play(t, { client: { auth: ['eap-mschapv2'], user: 'CORP\\User' } }, (s) => {
      lcp(s)
        .says('eap request 5 01')
        .hears(`eap response 5 01${text('CORP\\User')}`)
      s.says(`eap request 6 ${challenge(6)}`)
      s.hears(`eap response 6 ${ms(2, 6, `${MSCHAPV2.response} ${text('CORP\\User')}`)}`)
    }),
)

t.test('EAP packets that do not fit themselves are dropped', async (t) =>
  play(t, CLIENT, (s) => {
    lcp(s)
    s.says(
      'raw 1000 000c ff03 c227 01 05 0003',
      'raw 1000 000c ff03 c227 01 05 0010',
      'eap request 5',
      'eap response 5 01',
    )
    s.hearsNothing().says('eap request 5 01').hears(`eap response 5 ${IDENTITY}`)
    s.says(
      'eap request 6 1a',
      'eap request 6 1a 01',
      `eap request 6 ${ms(1, 6, '08 0102030405060708')}`,
    ).hearsNothing()
    // The length inside is wrong with some servers; EAP's is the one that counts.
    s.says(`eap request 6 ${challenge(6).replace(/^1a 01 06 \w+/, '1a 01 06 ffff')}`)
    s.hears(`eap response 6 ${response(6)}`)
  }),
)
