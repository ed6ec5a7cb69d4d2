/**
 * A good call's octets from the server, recorded, and played back cut off behind each octet, and with each bit
 * of each octet turned over: whatever a client is told, it ends within its limits and with one line.
 */
import t from 'tap'
import { IpAddress } from '../../stack/index.js'
import { CLIENT_ADDRESS } from '../helpers/call-pair.js'
import { assertOneLine, ClientEnd, Loop, Rig } from '../helpers/hostile.js'

const AUTHS = ['mschapv2', 'chap', 'pap', 'eap-mschapv2'] as const
type Auth = (typeof AUTHS)[number]
const CLIENT = IpAddress.parse(CLIENT_ADDRESS) as IpAddress
/** Longest time in which a client may wait for somebody who says nothing: hello, and half a minute of PPP. */
const PATIENCE = 200_000

interface Transcript {
  readonly octets: Buffer
  /** Milliseconds, and where the octets end that had come by then. */
  readonly marks: readonly { readonly at: number; readonly end: number }[]
}

/** All that a proper server says, with some packets in between, to its proper end. */
function record(auth: Auth): Transcript {
  const rig = new Rig({ auth: [auth] })
  rig.down.record = []
  rig.comeUp()
  const ping = rig.serverStack.openPing()
  const udp = rig.serverStack.openUdp({ port: 7 })
  ping?.send(CLIENT, 1, new Uint8Array(40))
  udp?.send(new Uint8Array(30), { address: CLIENT, port: 9 })
  rig.serverStack.connect({ address: CLIENT, port: 80 }, rig.loop.now)
  rig.wake()
  rig.pass(100)
  rig.server.close(rig.loop.now)
  rig.wake()
  rig.pass(10_000)
  t.equal(rig.client.failure?.code, 'TERMINATED')
  t.ok(rig.client.call.finished, `${auth}: the call that is recorded is a good one`)
  const marks: { at: number; end: number }[] = []
  let end = 0
  for (const { at, b } of rig.down.record) marks.push({ at, end: (end += b.length) })
  return { octets: Buffer.concat(rig.down.record.map(({ b }) => b)), marks }
}

/** Says the first `length` octets at their times. */
function play(auth: Auth, { marks }: Transcript, octets: Buffer, length: number, close: boolean): ClientEnd {
  const loop = new Loop()
  loop.now = 1000
  const client = new ClientEnd(loop, { auth: [auth] })
  client.stack.addAddress(CLIENT)
  client.start()
  let from = 0
  for (const { at, end } of marks) {
    const to = Math.min(end, length)
    loop.until(at)
    if (to > from) client.hear(Buffer.from(octets.subarray(from, to)))
    from = to
    if (to === length) break
  }
  loop.until(loop.now + 1)
  if (close) client.connectionClosed()
  const started = loop.now
  while (!client.call.finished && loop.now < started + PATIENCE) loop.until(loop.now + 1000)
  check(client, loop)
  return client
}

function check(client: ClientEnd, loop: Loop): void {
  const fail = (what: string): never => {
    throw new Error(what)
  }
  if (!client.call.finished) fail('it has not ended')
  if (client.owner.sstp.filter((e) => e.type === 'closed').length !== 1) fail('its end was not told once')
  if (client.owner.told.length > 40) fail(`${client.owner.told.length} events`)
  if (client.wire.octets > 6000) fail(`${client.wire.octets} octets were said`)
  const { failure } = client
  if (failure === undefined) fail('no reason')
  else assertOneLine(failure.message)
  loop.until(loop.now + 100)
  if (loop.pending !== 0) fail('a timer is left')
  client.stack.close()
  const { held } = client.stack
  if (held.connections + held.udp + held.ping + held.bytes + held.accounted !== 0) fail(JSON.stringify(held))
}

for (const auth of AUTHS) {
  t.test(`${auth}: the connection ends behind each octet of the call`, (t) => {
    const transcript = record(auth)
    const { octets } = transcript
    t.ok(octets.length > 300, `${octets.length} octets`)
    const codes = new Map<string, number>()
    for (let n = 0; n < octets.length; n++) {
      try {
        const { failure } = play(auth, transcript, octets, n, true)
        codes.set(failure?.code ?? 'none', (codes.get(failure?.code ?? 'none') ?? 0) + 1)
      } catch (error) {
        t.fail(`cut off behind octet ${n}: ${error instanceof Error ? error.message : String(error)}`)
        break
      }
    }
    t.comment(Object.fromEntries(codes))
    t.same([...codes.keys()], ['SSTP_CONNECTION_CLOSED'], 'each is told for what it is')
    t.end()
  })

  t.test(`${auth}: bits of each octet of the call are turned over`, (t) => {
    const transcript = record(auth)
    const { octets, marks } = transcript
    const codes = new Map<string, number>()
    const masks = auth === 'mschapv2' ? [1, 2, 4, 8, 16, 32, 64, 128, 255] : [1, 128, 255]
    for (let n = 0; n < octets.length; n++) {
      for (const mask of masks) {
        const spoilt = Buffer.from(octets)
        spoilt[n] = (spoilt[n] ?? 0) ^ mask
        try {
          const { failure } = play(auth, { octets: spoilt, marks }, spoilt, octets.length, false)
          codes.set(failure?.code ?? 'none', (codes.get(failure?.code ?? 'none') ?? 0) + 1)
        } catch (error) {
          t.fail(`octet ${n} xor ${mask}: ${error instanceof Error ? error.message : String(error)}`)
          return t.end()
        }
      }
    }
    t.comment(Object.fromEntries(codes))
    t.ok(codes.size >= 8, 'many ways to fail were seen')
    t.end()
  })
}
