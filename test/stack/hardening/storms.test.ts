/** Acknowledgements that answer acknowledgements, packets from oneself, floods of ends and of errors. */
import t from 'tap'
import { icmp, udp } from '../../helpers/ip-packet.js'
import { ADDRESS_B, Pair } from '../../helpers/pair.js'
import { buildPacket, icmpError } from '../../helpers/segment.js'
import { ACK, B, FIN, PSH, RST, Siege, SYN, undisturbed } from './siege.js'

const quiet = undisturbed()

t.test('two stacks with different ideas of the numbers do not talk for ever', async (t) => {
  // Both are told, in the other’s name, of octets that were never sent: each answers, and the other one’s answer
  // is wrong in turn.
  for (const payload of [0, 1]) {
    const s = new Siege()
    const data = new Uint8Array(payload)
    const ahead = 500_000_000
    s.run(() => {
      const { seq, ack } = s.fromClient
      s.attack(s.asClient({ seq: seq + ahead, ack: ack + 1_000_000, flags: ACK, data }))
      s.attack(s.asServer({ seq: ack + ahead, ack: seq + 1_000_000, flags: ACK, data }), s.pair.a)
      // And with numbers that are right, about octets that do not exist.
      s.attack(s.asClient({ seq, ack: ack + 1_000_000, flags: ACK }))
      s.attack(s.asServer({ seq: ack, ack: seq + 1_000_000, flags: ACK }), s.pair.a)
    })
    const out = s.packetsOut - quiet.packets
    // Empty ones are answered at most twice a second by each side, others at most one for one.
    t.ok(s.forged > 1000)
    t.ok(
      out <= (payload === 0 ? 20 : s.forged / 2 + 20),
      `${out} packets more after ${s.forged} that were forged`,
    )
    s.survived()
  }
})

t.test('packets from ourselves (land) are not for us', async (t) => {
  const s = new Siege()
  s.run(() => {
    for (const flags of [SYN, ACK, RST, SYN | ACK, FIN | ACK]) {
      s.attack(s.asClient({ from: B, to: B, fromPort: 80, toPort: 80, seq: s.anySeq(), flags }))
      s.attack(s.asClient({ from: B, to: B, fromPort: s.client.tuple.localPort, seq: s.anySeq(), flags }))
    }
  })
  t.ok(s.forged > 2000)
  t.ok(s.pair.b.counters.unwanted >= s.forged)
  t.ok(s.packetsOut <= quiet.packets + 4, `${s.packetsOut} packets out, ${quiet.packets} in peace`)
  s.survived()
})

t.test('martians are met with silence', async (t) => {
  const s = new Siege()
  const senders = ['0.0.0.0', '127.0.0.1', '224.0.0.1', '255.255.255.255', '240.1.2.3', '0.9.9.9']
  s.run((i) => {
    for (const from of senders)
      s.attack(s.asClient({ from, seq: s.anySeq(), flags: SYN, fromPort: 1024 + (i % 60_000) }))
    for (const to of ['224.0.0.1', '255.255.255.255', '127.0.0.1', '0.0.0.0', '9.9.9.9'])
      s.attack(s.asClient({ to, seq: s.anySeq(), flags: SYN }))
  })
  t.ok(s.pair.b.counters.unwanted >= s.forged)
  t.equal(s.pair.b.counters.icmpErrorsOut, 0)
  t.ok(s.packetsOut <= quiet.packets + 4)
  s.survived()
})

t.test('a flood of FINs and RSTs to ports where nobody is', async (t) => {
  const s = new Siege()
  const before = s.pair.b.counters.packetsOut
  s.run(() => {
    for (const flags of [FIN, RST, FIN | RST, FIN | ACK, RST | ACK]) {
      s.attack(
        s.asClient({
          from: `10.7.${s.random.below(256)}.${s.random.below(256)}`,
          fromPort: 1024 + s.random.below(60_000),
          toPort: s.random.below(65_536),
          seq: s.anySeq(),
          ack: s.anySeq(),
          flags,
        }),
      )
    }
    s.look()
  })
  t.ok(s.forged > 1500)
  const { resetsSent } = s.pair.b.counters
  t.ok(resetsSent <= (s.forged * 2) / 5, `${resetsSent} answers: none to a RST`)
  t.ok(s.pair.b.counters.packetsOut - before <= resetsSent + quiet.packets)
  t.ok(s.peak <= quiet.peak + 10_000, 'answers are not hoarded')
  s.survived()
})

t.test('a flood of FINs in the name of the peer', async (t) => {
  const s = new Siege()
  s.run(() => {
    for (let k = 0; k < 20; k++)
      s.attack(
        s.asClient({ seq: s.anySeq(), ack: s.anySeq(), flags: FIN | ACK | PSH, data: s.random.bytes(3) }),
      )
  })
  t.ok(s.forged > 5000)
  s.survived()
})

// ---------------------------------------------------------------- ICMP

/** The first octets of a full segment of the server’s, as an error would quote them. */
function quote(s: Siege, seq: number): Uint8Array {
  const packet = s.asServer({ seq, ack: s.anySeq(), flags: ACK, data: new Uint8Array(1300) })
  return packet.subarray(0, 28)
}

t.test('errors with guessed numbers change nothing', async (t) => {
  const s = new Siege()
  const kinds = [
    [3, 0],
    [3, 1],
    [3, 2],
    [3, 3],
    [3, 4],
    [3, 13],
    [4, 0],
    [5, 1],
    [11, 0],
    [12, 0],
  ] as const
  s.run(() => {
    for (const [type, code] of kinds)
      s.attack(icmpError(4, '10.0.0.9', B, type, code, 600, quote(s, s.anySeq())))
  })
  t.ok(s.forged > 2000)
  t.equal(s.server.softError, undefined)
  t.ok(s.packetsOut <= quiet.packets + 4, `${s.packetsOut} packets out, ${quiet.packets} in peace`)
  s.survived()
})

t.test('errors that quote what is in flight slow down, but do not end', async (t) => {
  const s = new Siege()
  s.run((i) => {
    for (const [type, code] of [
      [3, 1],
      [3, 2],
      [3, 3],
      [4, 0],
      [11, 0],
    ] as const)
      s.attack(icmpError(4, '10.0.0.9', B, type, code, 0, quote(s, s.fromServer.seq)))
    // Smaller and smaller.
    s.attack(icmpError(4, '10.0.0.9', B, 3, 4, Math.max(0, 1300 - 100 * i), quote(s, s.fromServer.seq)))
  })
  t.ok(s.forged > 1000)
  t.equal(s.server.error, undefined)
  t.ok(Number(s.server.info().mss) >= 500, `segments of ${s.server.info().mss}`)
  t.ok(s.pair.b.counters.retransmissions < 3000, `${s.pair.b.counters.retransmissions} were sent again`)
  s.survived()
})

t.test('a flood of echo requests, and of packets to ports where nobody is', async (t) => {
  const s = new Siege()
  s.run((i) => {
    // Half of what the link carries; all that could be answered would be answered in full.
    const src = `10.8.${i & 255}.${i >>> 8}`
    if (i % 4 === 0) s.attack(icmp({ src, dst: B, type: 8 }, s.random.bytes(1000)))
    for (let k = 0; k < 10; k++)
      s.attack(udp({ src, dst: B, sport: 9, dport: 1024 + s.random.below(9999) }, s.random.bytes(100)))
    s.look()
  })
  const seconds = 1 + s.pair.now / 1000
  t.ok(s.forged > 3000)
  t.ok(s.pair.b.counters.icmpErrorsOut <= 6 + 10 * seconds, `${s.pair.b.counters.icmpErrorsOut} errors`)
  t.ok(s.peak <= quiet.peak + 64 * 1400, `${s.peak} octets held, ${quiet.peak} in peace`)
  s.survived()
})

t.test('a connection being opened is not refused by errors that guess', async (t) => {
  const pair = new Pair({ delay: 50 }, 8)
  const l = pair.b.listen({ port: 80 })
  const c = pair.a.connect({ address: ADDRESS_B, port: 80 }, pair.now)
  if (typeof c === 'string' || l === undefined) throw new Error('no connection')
  for (let i = 0; i < 5000; i++) {
    const quoted = buildPacket(4, '10.0.0.1', '10.0.0.2', {
      fromPort: c.tuple.localPort,
      toPort: 80,
      seq: pair.random.below(0x7fffffff),
      ack: 0,
      flags: SYN,
      window: 0,
      urgent: 0,
      options: new Uint8Array(0),
      data: new Uint8Array(0),
      corrupt: false,
      reserved: 0,
    })
    const error = icmpError(4, '10.0.0.9', '10.0.0.1', 3, 3, 0, quoted.subarray(0, 28))
    pair.a.input(error, 0, error.length, pair.now)
  }
  pair.pass(1000)
  t.equal(c.stateName, 'ESTABLISHED')
  pair.a.close()
  pair.b.close()
})
