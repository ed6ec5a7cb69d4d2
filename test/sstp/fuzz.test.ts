import t from 'tap'
import type { Attribute } from '../../src/sstp/attribute.js'
import { MAX_OUTPUT, type SstpCall } from '../../src/sstp/call.js'
import { SstpClient } from '../../src/sstp/client.js'
import { describe } from '../../src/sstp/describe.js'
import { Framer, type PacketSink } from '../../src/sstp/framer.js'
import { controlPacket, MESSAGE, type MessageName } from '../../src/sstp/packet.js'
import { SstpServer } from '../../src/sstp/server.js'
import { bindingVectors, hex, packetVectors, seededInt } from '../helpers/sstp.js'

/*
 * Random and mutated packets and verbs into both machines. Whatever comes: nothing is thrown,
 * output and events stay few although nobody drains them for a long time, and in the end the call closes.
 */

const SEED = 4_711
const RUNS = 200_000
const STEPS = 40

/** Those of the vectors, so that a CALL_CONNECTED of theirs is a good one. */
const certificate = Buffer.from('certificate')
const fixedNonce = (dst: Uint8Array): void => dst.set(Array.from(dst, (_, i) => i))
const names = Object.keys(MESSAGE) as MessageName[]
const corpus = [
  ...packetVectors.filter((v) => v.in.message !== undefined).map((v) => hex(v.out.packetHex)),
  ...bindingVectors.map((v) => hex(v.out.messageHex)),
]

t.test('both machines take anything', (t) => {
  t.comment(`seed ${SEED}`)
  const int = seededInt(SEED)
  const states = new Set<string>()
  let worst = 0
  for (let run = 0; run < RUNS; run += 1) {
    const call: SstpCall =
      run % 2 === 0
        ? new SstpClient({ certificate, hashes: 1 + int(3) })
        : new SstpServer({ certificate, random: fixedNonce, hashes: 1 + int(3) })
    let now = int(1_000)
    let ends = 0
    let events = 0
    call.start(now)
    for (let step = 0; step < STEPS; step += 1) {
      states.add(call.state)
      now += int(4) === 0 ? int(30_000) : int(50)
      act(call, now, int)
      if (int(60) === 0) worst = Math.max(worst, drain(call))
    }
    worst = Math.max(worst, drain(call))
    for (let n = 0; call.nextTimeout() !== Infinity; n += 1) {
      if (n > 5) return t.fail(`run ${run}: timers without end`)
      now = Math.max(now, call.nextTimeout())
      call.handleTimeout(now)
    }
    for (let e = call.nextEvent(); e !== undefined; e = call.nextEvent()) {
      events += 1
      if (e.type === 'closed') ends += 1
    }
    if (ends !== 1) return t.fail(`run ${run}: closed ${ends} times`)
    if (events > 6) return t.fail(`run ${run}: ${events} events`)
    if (call.hasOutput || call.mayControl || call.mayData) return t.fail(`run ${run}: not at rest`)
  }
  t.ok(worst > 0 && worst <= 10, `at most ${worst} packets were pending`)
  t.equal(states.size, 12, 'every state was visited')
  t.end()
})

t.test('describe and the framer take anything', (t) => {
  const int = seededInt(SEED + 1)
  let packets = 0
  const sink: PacketSink = {
    onPacket(b, off, len) {
      packets += 1
      if (describe(b, off, len) === '') throw new Error('no words')
    },
  }
  for (let run = 0; run < 5_000; run += 1) {
    const framer = new Framer()
    for (let n = 0; n < 5; n += 1) {
      const p = packet(int)
      framer.push(p, 0, p.length, sink)
      describe(p, 0, p.length)
    }
  }
  t.ok(packets > 5_000)
  t.end()
})

function act(call: SstpCall, now: number, int: (n: number) => number): void {
  switch (int(24)) {
    case 0:
      call.authenticated(new Uint8Array(32).fill(int(2)), now)
      break
    case 1:
      call.handleTimeout(now)
      break
    case 2:
      call.packetReceived(now)
      break
    case 3:
      if (int(10) === 0) call.disconnect(now)
      break
    case 4:
      if (int(10) === 0) call.abort(int(12), now)
      break
    case 5:
      if (int(20) === 0) call.closed(now)
      break
    case 6:
      if (int(20) === 0) call.framingLost('SSTP_LENGTH')
      break
    case 7:
      call.start(now)
      break
    default: {
      const p = packet(int)
      const off = int(5)
      const b = new Uint8Array(off + p.length + int(5))
      b.set(p, off)
      call.inputControl(b, off, p.length, now)
    }
  }
}

/** A good packet more often than not, so that the machines get somewhere. */
function packet(int: (n: number) => number): Uint8Array {
  const ppp: Attribute = { kind: 'ENCAPSULATED_PROTOCOL_ID', protocol: 1 }
  const offer: Attribute = { kind: 'CRYPTO_BINDING_REQ', hashes: 3, nonce: new Uint8Array(32) }
  switch (int(8)) {
    case 0:
      return controlPacket('CALL_CONNECT_REQUEST', [ppp])
    case 1:
      return controlPacket('CALL_CONNECT_ACK', [offer])
    case 2:
      return controlPacket(int(3) === 0 ? (names[int(names.length)] ?? 'CALL_ABORT') : 'ECHO_REQUEST')
    case 3:
      return Uint8Array.from(corpus[int(corpus.length)] ?? [])
    case 4: {
      const p = new Uint8Array(int(int(10) === 0 ? 400 : 40))
      for (let i = 0; i < p.length; i += 1) p[i] = int(3) === 0 ? int(256) : int(6)
      return p
    }
    default: {
      const p = Uint8Array.from(corpus[int(corpus.length)] ?? [])
      for (let n = 1 + int(3); n > 0; n -= 1) p[int(p.length)] = int(2) === 0 ? int(8) : int(256)
      return int(3) === 0 ? p.subarray(0, int(p.length + 1)) : p
    }
  }
}

function drain(call: SstpCall): number {
  const dst = new Uint8Array(MAX_OUTPUT)
  let count = 0
  while (call.hasOutput) {
    const length = call.output(dst, 0)
    if (length === 0) throw new Error('hasOutput, but no output')
    count += 1
  }
  return count
}
