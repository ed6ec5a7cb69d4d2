/** How long a connection may go without an answer: MUST-20, 21 of RFC 9293, and RFC 5482. */
import t from 'tap'
import type { TcpOptionsWanted } from '../../../../stack/index.js'
import { Dialogue, readIp, stream } from '../../../helpers/segment.js'
import { tapOf } from './flight.js'

/** Kind 28: granularity in minutes or seconds, and 15 bits of time. */
const option = (minutes: boolean, n: number): Uint8Array =>
  Uint8Array.of(28, 4, (minutes ? 0x80 : 0) | (n >>> 8), n & 255)

/** The user time-out option of a packet, in milliseconds. */
function advertised(packet: Uint8Array): number | undefined {
  const { payload } = readIp(packet)
  const end = ((payload[12] as number) >>> 4) * 4
  for (let o = 20; o < end; ) {
    const kind = payload[o] as number
    if (kind === 0) return undefined
    if (kind === 1) {
      o++
      continue
    }
    if (kind === 28) {
      const field = ((payload[o + 2] as number) << 8) | (payload[o + 3] as number)
      return (field & 0x7fff) * (field & 0x8000 ? 60_000 : 1000)
    }
    o += payload[o + 1] as number
  }
  return undefined
}

/** When the connection was given up, from the first loss on. */
function givenUp(d: Dialogue, write: () => void, closed: () => boolean): number {
  write()
  const begin = d.time
  for (let i = 0; i < 9000 && !closed(); i++) d.pass(500)
  return d.time - begin
}

t.test('MUST-21: each connection has its own limit', async (t) => {
  for (const [userTimeout, least, most] of [
    [5000, 5000, 15_000],
    [undefined, 100_000, 190_000],
    [400_000, 400_000, 520_000],
  ] as const) {
    const d = new Dialogue(t)
    const wanted: TcpOptionsWanted = userTimeout === undefined ? {} : { userTimeout }
    const c = d.open({}, wanted)
    const took = givenUp(
      d,
      () => c.write(stream(100)),
      () => c.stateName === 'CLOSED',
    )
    t.equal(c.error, 'timed-out')
    t.ok(took >= least && took <= most, `${userTimeout}: ${took} ms`)
  }
})

t.test('the option goes out on the SYN only if that is wanted, in the unit that fits', async (t) => {
  for (const [wanted, expected] of [
    [{}, undefined],
    [{ userTimeout: 30_000 }, undefined],
    [{ userTimeout: 30_000, advertiseUserTimeout: true }, 30_000],
    [{ userTimeout: 86_400_000, advertiseUserTimeout: true }, 86_400_000],
  ] as readonly [TcpOptionsWanted, number | undefined][]) {
    const d = new Dialogue(t)
    d.connect(wanted)
    const buffer = new Uint8Array(2000)
    const n = d.stack.output(buffer, 0, d.now)
    t.equal(advertised(buffer.subarray(0, n)), expected, JSON.stringify(wanted))
  }
})

t.test('what the other side advertises lengthens the wait where that is wanted (RFC 5482 3.1)', async (t) => {
  for (const [wanted, minutes, value, least, most] of [
    // Not asked for: the option is passed over.
    [{}, false, 300, 100_000, 190_000],
    [{ advertiseUserTimeout: true }, false, 300, 300_000, 400_000],
    [{ advertiseUserTimeout: true }, true, 10, 600_000, 700_000],
    // Never shorter than the RFC’s hundred seconds because somebody says so, and not for ever.
    [{ advertiseUserTimeout: true }, false, 1, 100_000, 190_000],
    [{ advertiseUserTimeout: true }, true, 32_767, 1_000_000, 4_000_000],
    // The application has said what it wants (CHANGEABLE is false).
    [{ userTimeout: 5000, advertiseUserTimeout: true }, false, 300, 5000, 15_000],
  ] as readonly [TcpOptionsWanted, boolean, number, number, number][]) {
    const d = new Dialogue(t)
    const c = d.connect(wanted)
    const buffer = new Uint8Array(2000)
    const n = d.stack.output(buffer, 0, d.now)
    const { payload } = readIp(buffer.slice(0, n))
    d.stackIss = new DataView(payload.buffer, payload.byteOffset).getUint32(4)
    d.in({
      flags: 'SA',
      seq: 0,
      ack: 1,
      options: Uint8Array.of(2, 4, 4, 0, ...option(minutes, value)),
    })
    tapOf(d.stack)
    const took = givenUp(
      d,
      () => c.write(stream(100)),
      () => c.stateName === 'CLOSED',
    )
    t.ok(took >= least && took <= most, `${value}: ${took} ms`)
  }
})

t.test('the option with a wrong length is passed over', async (t) => {
  const d = new Dialogue(t)
  const c = d.open()
  d.in({ flags: 'PA', seq: 1, ack: 1, data: 'x', options: Uint8Array.of(28, 3, 1, 28, 6, 0, 0, 0, 0, 1) })
  d.expect({ flags: 'A', ack: 2 })
  t.equal(c.stateName, 'ESTABLISHED')
})
