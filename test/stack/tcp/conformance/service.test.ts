/** What an application may say about the packets of a connection: RFC 9293 3.9.1.9, 3.9.2, 3.9.1.1. */
import t from 'tap'
import type { IpAddress, TcpConnection, TcpOptionsWanted } from '../../../../stack/index.js'
import { Dialogue, ip, stream, type Test } from '../../../helpers/segment.js'
import { tapOf } from './flight.js'

/** DSCP and ECN bits of a packet. */
function trafficClass(p: Uint8Array): number {
  return (p[0] as number) >>> 4 === 4
    ? (p[1] as number)
    : (((p[0] as number) & 15) << 4) | ((p[1] as number) >>> 4)
}

function hopLimit(p: Uint8Array): number {
  return ((p[0] as number) >>> 4 === 4 ? p[8] : p[7]) as number
}

/** All kinds of segments of a connection that asked for that. @returns its packets */
function conversation(
  family: 4 | 6,
  test: Test,
  wanted: TcpOptionsWanted & { readonly dscp?: number; readonly hopLimit?: number },
): Uint8Array[] {
  const d = new Dialogue(test, { family })
  const packets = tapOf(d.stack)
  const c: TcpConnection = d.connect(wanted)
  d.drain()
  d.in({ flags: wanted.ecn ? 'SAE' : 'SA', seq: 0, ack: 1, mss: 1000, sackOk: true })
  d.drain()
  c.write(stream(3000))
  d.drain()
  d.in({ flags: 'PA', seq: 11, ack: 1, data: 'ahead' })
  d.pass(3000)
  c.abort()
  d.drain()
  return packets
}

t.test('MUST-48, SHLD-22: the traffic class is what the application says, on every segment', async (t) => {
  for (const family of [4, 6] as const) {
    for (const dscp of [undefined, 0, 46, 63]) {
      const packets = conversation(family, t, dscp === undefined ? {} : { dscp })
      t.ok(packets.length >= 8, `${packets.length} packets`)
      for (const p of packets) t.equal(trafficClass(p) >>> 2, dscp ?? 0)
    }
    const both = conversation(family, t, { dscp: 10, ecn: true })
    for (const p of both) t.equal(trafficClass(p) >>> 2, 10)
    t.ok(
      both.some((p) => (trafficClass(p) & 3) === 2),
      'and the two bits of ECN are left alone',
    )
  }
})

t.test('MUST-49: the hop limit is what the application says, 64 if it says nothing', async (t) => {
  for (const family of [4, 6] as const) {
    for (const limit of [undefined, 1, 5, 255]) {
      for (const p of conversation(family, t, limit === undefined ? {} : { hopLimit: limit }))
        t.equal(hopLimit(p), limit ?? 64)
    }
  }
})

t.test('MUST-43: an active open goes out from the address that it asks for', async (t) => {
  const d = new Dialogue(t)
  const second = ip('10.0.0.3')
  d.stack.addAddress(second)
  const wanted: TcpOptionsWanted & { readonly local?: IpAddress } = { local: second }
  const c = d.connect(wanted)
  d.expect({ flags: 'S', from: '10.0.0.3' })
  t.ok(c.tuple.local.equals(second))
  const nobody: TcpOptionsWanted & { readonly local?: IpAddress } = { local: ip('10.9.9.9') }
  t.type(
    d.stack.connect({ address: ip(d.peerAddress), port: 1 }, d.now, nobody),
    'string',
    'not an address of ours',
  )
})
