/** Segments of somebody who knows both addresses and ports, but not the numbers: RFC 5961, RFC 9293 3.10.7. */
import t from 'tap'
import { ACK, FIN, PSH, RST, Siege, SYN, stamp, undisturbed } from './siege.js'

const quiet = undisturbed()
/** Forged segments in each millisecond. */
const BURST = 20

/** Sends forged segments to both sides all the time. */
function spray(flags: number, data: number, options: ConstructorParameters<typeof Siege>[0] = {}): Siege {
  const s = new Siege(options)
  s.run(() => {
    for (let k = 0; k < BURST; k++) {
      const forged = { seq: s.anySeq(), ack: s.anySeq(), flags, data: s.random.bytes(data) }
      s.attack(s.asClient(forged))
      s.attack(s.asServer(forged), s.pair.a)
    }
  })
  return s
}

t.test('resets with guessed numbers reset nothing', async (t) => {
  for (const flags of [RST, RST | ACK]) {
    const s = spray(flags, 0)
    t.ok(s.forged > 10_000, `${s.forged} forged segments`)
    t.ok(s.packetsOut <= quiet.packets * 1.1 + 20, `${s.packetsOut} packets out, ${quiet.packets} in peace`)
    t.equal(s.pair.b.counters.resetsSent, 0)
    s.survived()
  }
})

t.test('a reset at every place of the window but one is challenged, at a bounded rate', async (t) => {
  const s = new Siege()
  const begin = s.pair.now
  let hits = 0
  // The attacker has learnt where the window is. Only RCV.NXT itself is missing from what it tries.
  s.run(() => {
    for (let k = 0; k < BURST; k++) {
      s.attack(s.asClient({ seq: s.fromClient.seq + 50_000 + k * 4096, flags: RST }))
      hits++
    }
  })
  const challenged = s.pair.b.counters.challengeAcks
  t.ok(hits >= 2000, `${hits} tries`)
  const halfSeconds = Math.ceil((s.pair.now - begin) / 500) + 1
  t.ok(
    challenged >= 1 && challenged <= halfSeconds,
    `${challenged} challenges in ${halfSeconds} half seconds`,
  )
  s.survived()
})

t.test('SYNs with guessed numbers open nothing and close nothing', async (t) => {
  for (const flags of [SYN, SYN | ACK, SYN | FIN, SYN | RST, SYN | PSH]) {
    const s = spray(flags, 0)
    t.ok(s.packetsOut <= quiet.packets * 1.1 + 40, `${s.packetsOut} packets out, ${quiet.packets} in peace`)
    t.equal(s.pair.b.held.connections, s.server.stateName === 'CLOSED' ? 0 : 1)
    s.survived()
  }
})

t.test('data and acknowledgements with guessed numbers put nothing in and take nothing out', async (t) => {
  for (const [flags, data] of [
    [ACK, 0],
    [ACK | PSH, 1],
    [ACK | PSH, 500],
    [ACK | FIN, 0],
    [FIN, 0],
    [0, 0],
    [0, 100],
    [0xff, 10],
  ] as const) {
    const s = spray(flags, data)
    t.ok(s.peak <= quiet.peak + 300_000, `${s.peak} octets held, ${quiet.peak} in peace`)
    // RFC 9293 3.10.7.4: data in the wrong place is answered, at most once for each segment.
    const answers = data > 0 || flags & FIN ? s.forged : 40
    t.ok(
      s.packetsOut <= quiet.packets * 1.1 + answers,
      `${s.packetsOut} packets out, ${quiet.packets} in peace`,
    )
    // Those answers are duplicates to the other side, which must not take them for losses.
    const { a, b } = s.pair
    const again = a.counters.retransmissions + b.counters.retransmissions
    t.ok(again <= 20, `${again} segments were sent again in vain`)
    const took = s.pair.now - 1000
    t.ok(took <= quiet.took * 1.5 + 100, `${Math.round(took)} ms, ${Math.round(quiet.took)} in peace`)
    s.survived()
  }
})

t.test('data in the window with a guessed acknowledgement is not taken (RFC 5961 5.2)', async (t) => {
  const s = new Siege()
  const text = new Uint8Array(100).fill(0x41)
  s.run(() => {
    for (let k = 0; k < BURST; k++) {
      const seq = s.fromClient.seq + k * 100
      s.attack(s.asClient({ seq, ack: s.anySeq(), flags: ACK | PSH, data: text }))
    }
  })
  t.ok(s.forged >= 2000, `${s.forged} tries`)
  t.ok(s.packetsOut <= quiet.packets * 1.1 + 40, `${s.packetsOut} packets out, ${quiet.packets} in peace`)
  s.survived()
})

t.test('one who knows the numbers but not the timestamps gets nowhere either (RFC 7323 5)', async (t) => {
  const s = new Siege()
  s.run(() => {
    for (const ago of [1, 1000, 1_000_000_000]) {
      const old = { ...s.fromClient, tsVal: (s.fromClient.tsVal - 100_000 - ago) >>> 0 }
      const { seq, ack } = s.fromClient
      s.attack(
        s.asClient({ seq, ack, flags: ACK | PSH, data: new Uint8Array(100).fill(0x41), options: stamp(old) }),
      )
      s.attack(s.asClient({ seq, ack, flags: ACK | FIN, options: new Uint8Array(0) }))
    }
  })
  t.ok(s.forged >= 2000, `${s.forged} tries`)
  s.survived()
})
