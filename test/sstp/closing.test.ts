import t, { type Test } from 'tap'
import type { Attribute } from '../../src/sstp/attribute.js'
import { statusInfo } from '../../src/sstp/attribute.js'
import { SstpClient } from '../../src/sstp/client.js'
import type { MessageName } from '../../src/sstp/packet.js'
import { SstpServer } from '../../src/sstp/server.js'
import { hex, seededBytes, Talk } from '../helpers/sstp.js'

/*
 * Section by section the rows on closing, run against both ends: they share the rows, so one list of
 * expectations must hold for both.
 */

const certificate = hex('3082')
const zeroKey = new Uint8Array(32)
const ppp: Attribute = { kind: 'ENCAPSULATED_PROTOCOL_ID', protocol: 1 }
const offer: Attribute = { kind: 'CRYPTO_BINDING_REQ', hashes: 3, nonce: new Uint8Array(32) }

/** Both ends in each of their own states, drained. */
const own: Record<string, () => Talk<SstpClient> | Talk<SstpServer>> = {
  Client_Connect_Request_Sent: () => client(1),
  Client_Connect_Ack_Received: () => client(2),
  Client_Call_Connected: () => client(3),
  Server_Connect_Request_Pending: () => server(1),
  Server_Call_Connected_Pending: () => server(2),
  Server_Call_Connected: () => server(3),
}

function client(steps: number): Talk<SstpClient> {
  const talk = new Talk(new SstpClient({ certificate }))
  talk.call.start(talk.now)
  if (steps > 1) talk.hear('CALL_CONNECT_ACK', [offer])
  if (steps > 2) talk.call.authenticated(zeroKey, talk.now)
  talk.packets()
  talk.events()
  return talk
}

function server(steps: number): Talk<SstpServer> {
  const talk = new Talk(new SstpServer({ certificate, random: seededBytes(1) }))
  talk.call.start(talk.now)
  if (steps > 1) talk.hear('CALL_CONNECT_REQUEST', [ppp])
  if (steps > 2) {
    const peer = client(1)
    for (const p of talk.packets()) peer.hear(p)
    peer.call.authenticated(zeroKey, peer.now)
    talk.call.authenticated(zeroKey, talk.now)
    for (const p of peer.packets()) talk.hear(p)
  }
  talk.packets()
  talk.events()
  return talk
}

const DISCONNECT_TIMER_1 = 5_000
const DISCONNECT_TIMER_2 = 1_000
const ABORT_TIMER_1 = 3_000
const ABORT_TIMER_2 = 1_000
type Both = Talk<SstpClient> | Talk<SstpServer>

function check(
  t: Test,
  talk: Both,
  what: string,
  want: { said: string[]; told: string[]; state: string; timer: number },
): void {
  const left = talk.call.nextTimeout() - talk.now
  t.same({ said: talk.said(), told: talk.told(), state: talk.call.state, timer: left }, want, what)
  if (want.state.includes('Abort') || want.state.includes('_Disconnect')) {
    t.same([talk.call.mayControl, talk.call.mayData], [false, false], `${what}: no more PPP`)
  }
}

for (const [state, make] of Object.entries(own)) {
  t.test(`${state}: the ways out`, (t) => {
    const end = state.startsWith('Client') ? 'Client_Call_Disconnected' : 'Server_Call_Disconnected'
    t.equal(make().call.state, state)

    let talk = make()
    talk.call.disconnect(talk.now)
    check(t, talk, 'we leave', {
      said: ['CALL_DISCONNECT'],
      told: ['closing'],
      state: 'Call_Disconnect_Ack_Pending',
      timer: DISCONNECT_TIMER_1,
    })
    talk.hear('CALL_DISCONNECT_ACK')
    check(t, talk, 'and they agree', { said: [], told: ['closed by local'], state: end, timer: Infinity })

    talk = make()
    talk.call.abort(4, talk.now)
    check(t, talk, 'we abort', {
      said: ['CALL_ABORT VALUE_NOT_SUPPORTED'],
      told: ['closing: SSTP_LOCAL_ABORT'],
      state: 'Call_Abort_Pending',
      timer: ABORT_TIMER_1,
    })

    for (const attributes of [[], [statusInfo(0, 0)]]) {
      talk = make()
      talk.hear('CALL_DISCONNECT', attributes)
      check(t, talk, 'CALL_DISCONNECT', {
        said: ['CALL_DISCONNECT_ACK'],
        told: [`peer-disconnect ${attributes.length === 0 ? '-' : 0}`, 'closing'],
        state: 'Call_Disconnect_Timeout_Pending',
        timer: DISCONNECT_TIMER_2,
      })
      talk.wait(DISCONNECT_TIMER_2 - 1)
      t.equal(talk.call.state, 'Call_Disconnect_Timeout_Pending')
      talk.wait(1)
      check(t, talk, 'then the end', { said: [], told: ['closed by remote'], state: end, timer: Infinity })
    }

    // The last is sstp-server's.
    const short: Attribute = { kind: 'OTHER', id: 2, value: Uint8Array.of(0, 0, 0, 7) }
    for (const attributes of [[], [statusInfo(2, 7)], [short]]) {
      talk = make()
      talk.hear('CALL_ABORT', attributes)
      check(t, talk, 'CALL_ABORT', {
        said: ['CALL_ABORT'],
        told: [`peer-abort ${attributes.length === 0 ? '-' : 7}`, 'closing: SSTP_PEER_ABORT'],
        state: 'Call_Abort_Timeout_Pending',
        timer: ABORT_TIMER_2,
      })
      talk.wait(ABORT_TIMER_2)
      check(t, talk, 'then the end', {
        said: [],
        told: ['closed by remote: SSTP_PEER_ABORT'],
        state: end,
        timer: Infinity,
      })
    }

    talk = make()
    talk.hear('CALL_DISCONNECT_ACK')
    check(t, talk, 'CALL_DISCONNECT_ACK unasked', {
      said: ['CALL_ABORT UNACCEPTED_FRAME_RECEIVED'],
      told: ['closing: SSTP_UNACCEPTED_MESSAGE'],
      state: 'Call_Abort_Pending',
      timer: ABORT_TIMER_1,
    })

    talk = make()
    talk.hear(hex('10 01 00 08 12 34 00 00'))
    check(t, talk, 'an unknown message', {
      said: ['CALL_ABORT INVALID_FRAME_RECEIVED'],
      told: ['closing: SSTP_UNKNOWN_MESSAGE'],
      state: 'Call_Abort_Pending',
      timer: ABORT_TIMER_1,
    })

    for (const text of ['10 01 00 06 00 08', '10 01 00 0c 00 08 00 01 00 09 00 05', '10 01 00 04']) {
      talk = make()
      talk.hear(hex(text))
      check(t, talk, `invalid: ${text}`, {
        said: ['CALL_ABORT INVALID_FRAME_RECEIVED'],
        told: ['closing: SSTP_INVALID_MESSAGE'],
        state: 'Call_Abort_Pending',
        timer: ABORT_TIMER_1,
      })
    }

    talk = make()
    talk.call.closed(talk.now)
    const closed = ['closed by remote: SSTP_CONNECTION_CLOSED']
    check(t, talk, 'connection closed', { said: [], told: closed, state: end, timer: Infinity })

    talk = make()
    talk.call.framingLost('SSTP_LENGTH')
    const lost = ['closed by remote: SSTP_LENGTH']
    check(t, talk, 'no framing: without a word', { said: [], told: lost, state: end, timer: Infinity })
    talk.hear('ECHO_REQUEST').hear('CALL_ABORT').wait(1e6)
    talk.call.disconnect(talk.now)
    talk.call.abort(0, talk.now)
    talk.call.closed(talk.now)
    talk.call.start(talk.now)
    talk.call.framingLost('SSTP_LENGTH')
    check(t, talk, 'the end is the end', { said: [], told: [], state: end, timer: Infinity })
    t.end()
  })
}

const closing: Record<string, { make: (t: Both) => void; timer: number; error: string }> = {
  Call_Abort_Pending: {
    make: (talk) => talk.call.abort(0, talk.now),
    timer: ABORT_TIMER_1,
    error: ' by local: SSTP_LOCAL_ABORT',
  },
  Call_Abort_Timeout_Pending: {
    make: (talk) => talk.hear('CALL_ABORT'),
    timer: ABORT_TIMER_2,
    error: ' by remote: SSTP_PEER_ABORT',
  },
  Call_Disconnect_Ack_Pending: {
    make: (talk) => talk.call.disconnect(talk.now),
    timer: DISCONNECT_TIMER_1,
    error: ' by local',
  },
  Call_Disconnect_Timeout_Pending: {
    make: (talk) => talk.hear('CALL_DISCONNECT'),
    timer: DISCONNECT_TIMER_2,
    error: ' by remote',
  },
}

const messages: MessageName[] = [
  'CALL_CONNECT_REQUEST',
  'CALL_CONNECT_ACK',
  'CALL_CONNECT_NAK',
  'CALL_CONNECTED',
  'CALL_ABORT',
  'CALL_DISCONNECT',
  'CALL_DISCONNECT_ACK',
  'ECHO_REQUEST',
  'ECHO_RESPONSE',
]

/** All that is not ignored while closing. */
const heeded: Record<string, { said: string[]; told: string[]; state: string; timer: number }> = {
  'Call_Abort_Pending CALL_ABORT': {
    said: [],
    told: [],
    state: 'Call_Abort_Timeout_Pending',
    timer: ABORT_TIMER_2,
  },
  'Call_Disconnect_Ack_Pending CALL_ABORT': {
    said: ['CALL_ABORT'],
    told: ['peer-abort -'],
    state: 'Call_Abort_Timeout_Pending',
    timer: ABORT_TIMER_2,
  },
  'Call_Disconnect_Ack_Pending CALL_DISCONNECT': {
    said: ['CALL_DISCONNECT_ACK'],
    told: ['peer-disconnect -'],
    state: 'Call_Disconnect_Timeout_Pending',
    timer: DISCONNECT_TIMER_2,
  },
  'Call_Disconnect_Ack_Pending CALL_DISCONNECT_ACK': {
    said: [],
    told: ['closed by local'],
    state: 'Client_Call_Disconnected',
    timer: Infinity,
  },
}

for (const [side, connected] of [
  ['Client', () => client(3)],
  ['Server', () => server(3)],
] as const) {
  for (const [state, { make, timer, error }] of Object.entries(closing)) {
    t.test(`${side} in ${state}`, (t) => {
      const enter = (): Both => {
        const talk = connected()
        make(talk)
        talk.packets()
        talk.events()
        t.equal(talk.call.state, state)
        return talk
      }
      const same = { said: [], told: [], state, timer: timer - 100 }
      for (const name of messages) {
        const talk = enter()
        talk.wait(100)
        talk.hear(name)
        const want = heeded[`${state} ${name}`] ?? same
        check(t, talk, name, { ...want, state: want.state.replace('Client', side) })
      }
      let talk = enter()
      talk.wait(100)
      talk.hear(hex('10 01 00 08 12 34 00 00')).hear(hex('10 01 00 06 00 05')).hear(hex('10 01 00 04'))
      check(t, talk, 'nonsense is ignored', same)
      talk.call.disconnect(talk.now)
      talk.call.abort(7, talk.now)
      talk.call.authenticated(zeroKey, talk.now)
      talk.call.start(talk.now)
      check(t, talk, 'our own wishes come too late', same)
      talk.wait(timer - 101)
      t.equal(talk.call.state, state, 'not before its time')
      talk.wait(1)
      const end = `${side}_Call_Disconnected`
      check(t, talk, 'the timer', { said: [], told: [`closed${error}`], state: end, timer: Infinity })

      talk = enter()
      talk.call.closed(talk.now)
      check(t, talk, 'closed meanwhile', { said: [], told: [`closed${error}`], state: end, timer: Infinity })
      talk = enter()
      talk.call.framingLost('SSTP_VERSION')
      check(t, talk, 'no framing', { said: [], told: [`closed${error}`], state: end, timer: Infinity })
      t.end()
    })
  }

  t.test(`${side}: what was not written when the call ends is dropped`, (t) => {
    const talk = connected()
    talk.call.disconnect(talk.now)
    talk.wait(DISCONNECT_TIMER_1)
    t.equal(talk.call.hasOutput, false)
    t.same(talk.told(), ['closing', 'closed by local'])
    t.end()
  })
}

t.test('an echo that was not answered yet is not, once the call closes', (t) => {
  for (const make of [() => client(3), () => server(3)]) {
    const talk: Both = make()
    talk.hear('ECHO_REQUEST').wait(60_000).hear('ECHO_REQUEST')
    talk.call.disconnect(talk.now)
    t.same(talk.said(), ['CALL_DISCONNECT'])
  }
  t.end()
})

t.test('a closing message with broken attributes still counts while closing', (t) => {
  const talk = client(3)
  talk.call.disconnect(talk.now)
  talk.hear(hex('10 01 00 0c 00 06 00 01 00 02 00 03'))
  t.same(talk.said(), ['CALL_DISCONNECT', 'CALL_DISCONNECT_ACK'])
  t.same(talk.told(), ['closing', 'peer-disconnect -'])
  t.end()
})

t.test('before the start there is nothing to say', (t) => {
  for (const make of [
    () => new Talk(new SstpClient({ certificate })),
    () => new Talk(new SstpServer({ certificate, random: seededBytes(1) })),
  ]) {
    const state = make().call.state
    t.match(state, /^(Client|Server)_Call_Disconnected$/)
    let talk: Both = make()
    talk.hear('ECHO_REQUEST').hear('CALL_ABORT').hear(hex('10 01 00 04')).wait(1e6)
    check(t, talk, 'deaf', { said: [], told: [], state, timer: Infinity })
    talk.call.disconnect(talk.now)
    check(t, talk, 'disconnect', { said: [], told: ['closed by local'], state, timer: Infinity })
    talk.call.start(talk.now)
    check(t, talk, 'start after the end', { said: [], told: [], state, timer: Infinity })
    talk = make()
    talk.call.abort(0, talk.now)
    const told = ['closed by local: SSTP_LOCAL_ABORT']
    check(t, talk, 'abort', { said: [], told, state, timer: Infinity })
    talk = make()
    talk.call.closed(talk.now)
    check(t, talk, 'closed', {
      said: [],
      told: ['closed by remote: SSTP_CONNECTION_CLOSED'],
      state,
      timer: Infinity,
    })
  }
  t.end()
})

t.test('errors say whose fault, which status, and what happened', (t) => {
  const talk = client(3).wait(60_000)
  talk.hear('CALL_ABORT', [statusInfo(2, 7)])
  const [, event] = talk.events()
  t.match(event, {
    type: 'closing',
    error: {
      name: 'SstpError',
      layer: 'sstp',
      code: 'SSTP_PEER_ABORT',
      fault: 'remote',
      status: 7,
      message: 'the server aborted the call (INVALID_FRAME_RECEIVED)',
    },
  })
  const ours = server(2)
  ours.call.abort(8, ours.now)
  t.match(ours.events()[0], { error: { fault: 'local', status: 8, code: 'SSTP_LOCAL_ABORT' } })
  t.end()
})
