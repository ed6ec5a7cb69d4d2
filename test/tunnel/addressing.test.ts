import t, { type Test } from 'tap'
import { Addressing } from '../../src/tunnel/addressing.js'
import { DialError } from '../../src/tunnel/dialer.js'
import { InnerNetwork } from '../../src/tunnel/inner.js'
import {
  advertisement,
  answer6,
  bytes,
  IDENTIFIER,
  isDhcp6,
  option6,
  prefixOption,
  readMessage6,
} from '../helpers/address-server.js'
import { address, be32, type ReadPacket, readIp } from '../helpers/ip-packet.js'
import { SeededRandom } from '../helpers/random.js'

/** A router that gives a prefix of its own, and has a DHCPv6 server asked besides (A and M). */
const RA = advertisement([prefixOption({ prefix: 'fd00:1::' })], { flags: 0x80 })
const LOCAL = 'fd00:1::11:2233:4455:6677'
const LEASED = '2001:db8::77'
const LIFE = option6(5, address(LEASED).toBytes(), be32(3600, 7200))

/** The Reply to a Solicit. */
function lease(p: ReadPacket): Uint8Array | undefined {
  const ours = option6(3, be32(0, 0, 0), LIFE)
  ours.set((readMessage6(p).options.get(3) ?? bytes()).subarray(0, 4), 4)
  return answer6(p, 7, [ours, option6(14)])
}

/** Calls one after the other over one stack, in virtual time. */
class Calls {
  readonly inner: InnerNetwork
  now = 0
  private readonly random = new SeededRandom(5).fill
  private addressing: Addressing | undefined
  private readonly frame = new Uint8Array(4096)

  constructor(t: Test) {
    const turns = { soon() {}, later() {}, cancel() {} }
    this.inner = new InnerNetwork({ mtu: 1400, random: this.random, now: () => this.now, turns })
    t.teardown(() => this.inner.close(new DialError('aborted', 'over')))
  }

  begin(): void {
    this.addressing = new Addressing(this.inner, { onLearnt() {} }, 'server user', this.random)
    this.addressing.ipv6Up(IDENTIFIER, this.now)
  }

  say(packet: Uint8Array): void {
    this.inner.stack.unclaimed?.(packet, 0, packet.length, this.now)
  }

  /** What we ask a DHCPv6 server is answered, by `server` or not at all. */
  hear(server: (p: ReadPacket) => Uint8Array | undefined): void {
    const { frame, inner } = this
    for (let n = inner.stack.output(frame, 0, this.now); n > 0; n = inner.stack.output(frame, 0, this.now)) {
      const packet = readIp(frame.slice(0, n))
      const answer = isDhcp6(packet) ? server(packet) : undefined
      if (answer !== undefined) this.say(answer)
    }
  }

  pass(ms: number): void {
    const end = this.now + ms
    for (let at = this.next; at <= end; at = this.next) {
      this.now = at
      this.addressing?.handleTimeout(at)
    }
    this.now = end
  }

  private get next(): number {
    return Math.max(this.now, this.addressing?.nextTimeout() ?? Number.POSITIVE_INFINITY)
  }

  end(): void {
    this.addressing?.stop()
  }

  get addresses(): string[] {
    return this.inner.ipv6.map(String).sort()
  }
}

function first(t: Test): Calls {
  const calls = new Calls(t)
  calls.begin()
  calls.say(RA)
  calls.hear(lease)
  t.same(calls.addresses, [LEASED, LOCAL])
  calls.end()
  calls.begin()
  t.same(calls.addresses, [LEASED, LOCAL], 'nothing is known yet')
  return calls
}

t.test('a lease that is asked for again is not given up at the router’s word', async (t) => {
  const calls = first(t)
  calls.say(RA)
  t.same(calls.addresses, [LEASED, LOCAL])
  calls.hear(lease)
  t.same(calls.addresses, [LEASED, LOCAL])
  t.equal(calls.inner.forsaken, 0, 'and connections of both live on')
})

t.test('a lease that nobody gives again is given up as soon as that is known', async (t) => {
  const silent = first(t)
  silent.say(RA)
  silent.pass(10_000)
  t.same(silent.addresses, [LEASED, LOCAL])
  silent.pass(10_000)
  t.same(silent.addresses, [LOCAL])
  t.equal(silent.inner.forsaken, 1)
  const unmanaged = first(t)
  unmanaged.say(advertisement([prefixOption({ prefix: 'fd00:1::' })]))
  t.same(unmanaged.addresses, [LOCAL], 'nobody is asked')
  const reset = first(t)
  reset.inner.reset()
  reset.say(RA)
  t.same(reset.addresses, [LOCAL], 'what was given up does not come back by itself')
  const short = first(t)
  for (let n = 2; n < 100; n++) {
    short.say(advertisement([prefixOption({ prefix: `fd00:${n}::` })], { flags: 0x80 }))
    short.end()
    short.begin()
  }
  t.equal(short.addresses.length, 9, 'one and eight of calls that ended before they knew')
  const without = first(t)
  without.say(advertisement([], { flags: 0x80 }))
  without.pass(60_000)
  t.same(without.addresses, [], 'no address at all')
})
