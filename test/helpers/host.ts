import { NetStack, type NetStackOptions } from '../../stack/index.js'
import { address, type ReadPacket, readIp } from './ip-packet.js'
import { SeededRandom } from './random.js'

/** One stack, packets made by hand on the other side, time moved by hand. */
export class Host {
  readonly stack: NetStack
  now: number
  // A Node Buffer, as drivers have: `slice` of it is a view, which would show here.
  private readonly buffer = Buffer.alloc(70_000, 0xa5)

  constructor(options: Partial<NetStackOptions> = {}, addresses = ['10.0.0.1', 'fd00::1'], now = 1000) {
    this.stack = new NetStack({ mtu: 1400, random: new SeededRandom(7).fill, ...options })
    for (const a of addresses) this.stack.addAddress(address(a))
    this.now = now
  }

  /** At an odd place in a poisoned buffer that is poisoned again afterwards: nothing may be kept of it. */
  input(packet: Uint8Array): void {
    this.buffer.set(packet, 7)
    this.stack.input(this.buffer, 7, packet.length, this.now)
    this.buffer.fill(0xa5, 7, 7 + packet.length)
  }

  /** All packets that the stack wants to send now, as octets. */
  outputBytes(): Uint8Array[] {
    const all: Uint8Array[] = []
    for (;;) {
      const n = this.stack.output(this.buffer, 5, this.now)
      if (n === 0) return all
      if (n > this.stack.mtu) throw new Error(`a packet of ${n} octets is above the MTU`)
      for (let i = 0; i < 5; i++)
        if (this.buffer[i] !== 0xa5) throw new Error('written in front of the packet')
      for (let i = 5 + n; i < 5 + n + 80; i++) {
        if (this.buffer[i] !== 0xa5) throw new Error('written behind the packet')
      }
      all.push(new Uint8Array(this.buffer.subarray(5, 5 + n)))
      this.buffer.fill(0xa5, 5, 5 + n)
    }
  }

  /** The same, read by the book. */
  output(): ReadPacket[] {
    return this.outputBytes().map(readIp)
  }

  /** Puts a packet in and gives back what comes out. */
  answer(packet: Uint8Array): ReadPacket[] {
    this.input(packet)
    return this.output()
  }
}
