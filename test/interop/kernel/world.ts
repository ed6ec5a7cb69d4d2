/** A kernel at one end, our stack or another kernel at the other end of each lane, and the relay between them. */
import { KernelHost, type Tools } from './host.js'
import { OurHost, type StackModule } from './our-host.js'
import { Direction, type Lane, Loop, type Profile } from './relay.js'

/** The kernel that is always there. */
export const KERNEL4 = '10.90.0.1'
export const KERNEL6 = 'fd90::1'
export const MAX_LANES = 100

/** The address of the far end of a lane, whoever is there. */
export const far4 = (lane: number): string => `10.90.${lane}.2`
export const far6 = (lane: number): string => `fd90::${lane.toString(16)}:2`

export interface LaneOptions {
  /** Towards the kernel, and from it. */
  readonly up: Profile
  readonly down: Profile
  readonly seed: number
  readonly far: 'ours' | 'kernel'
  readonly mtu?: number
}

/** A lane in use. */
export interface LaneInUse extends Lane {
  readonly number: number
  /** Our stack at its far end; absent if a kernel is there. */
  readonly ours: OurHost | undefined
  close(): void
}

export class World {
  readonly loop = new Loop()
  readonly kernel: KernelHost
  /** The kernel at the far ends of lanes; only if asked for. */
  readonly other: KernelHost | undefined
  private readonly module: StackModule
  private readonly mtu: number
  private readonly lanes = new Map<number, LaneInUse>()

  private constructor(module: StackModule, mtu: number, kernel: KernelHost, other: KernelHost | undefined) {
    this.module = module
    this.mtu = mtu
    this.kernel = kernel
    this.other = other
    kernel.onPacket = (p) => this.lanes.get(laneTo(p))?.down.send(p, this.now())
    if (other !== undefined) other.onPacket = (p) => this.lanes.get(laneFrom(p))?.up.send(p, this.now())
    this.loop.add((now) => this.run(now))
  }

  static async start(
    tools: Tools,
    module: StackModule,
    { mtu = 1400, other = false }: { mtu?: number; other?: boolean } = {},
  ): Promise<World> {
    const kernel = await KernelHost.start(tools, mtu)
    await kernel.addresses(`${KERNEL4}/16`, `${KERNEL6}/64`)
    if (!other) return new World(module, mtu, kernel, undefined)
    const second = await KernelHost.start(tools, mtu)
    const lanes = Array.from({ length: MAX_LANES }, (_, i) => i + 1)
    await second.addresses(...lanes.flatMap((n) => [`${far4(n)}/16`, `${far6(n)}/64`]))
    return new World(module, mtu, kernel, second)
  }

  /** Opens the lowest lane that is free. */
  lane(options: LaneOptions): LaneInUse {
    let number = 1
    while (this.lanes.has(number)) number++
    if (number > MAX_LANES) throw new Error('no lane is free')
    let ours: OurHost | undefined
    if (options.far === 'ours') {
      ours = new OurHost(this.module, this.loop, [far4(number), far6(number)], {
        mtu: options.mtu ?? this.mtu,
      })
    }
    const { kernel, other } = this
    const up = new Direction(options.up, options.seed, (p) => kernel.send(p))
    const down = new Direction(options.down, options.seed + 0x5eed, (p, now) => {
      if (ours !== undefined) ours.input(p, now)
      else other?.send(p)
    })
    if (ours !== undefined) {
      ours.onPacket = (p, now) => {
        up.send(p, now)
        this.loop.wake()
      }
    }
    const lane = {
      number,
      up,
      down,
      ours,
      close: () => {
        ours?.close()
        this.lanes.delete(number)
      },
    }
    this.lanes.set(number, lane)
    return lane
  }

  close(): void {
    for (const lane of this.lanes.values()) lane.close()
    this.loop.stop()
    this.kernel.close()
    this.other?.close()
  }

  private now(): number {
    this.loop.wake()
    return performance.now()
  }

  private run(now: number): number {
    let next = Number.POSITIVE_INFINITY
    for (const { up, down } of this.lanes.values()) {
      up.pump(now)
      down.pump(now)
      next = Math.min(next, up.next, down.next)
    }
    this.kernel.flush()
    this.other?.flush()
    return next
  }
}

/** The far end's number is in its address; packets to groups have none. */
function laneTo(p: Buffer): number {
  return (p[0] ?? 0) >> 4 === 4 ? (p[18] ?? 0) : p.length >= 40 && p[24] === 0xfd ? p.readUInt16BE(36) : 0
}

function laneFrom(p: Buffer): number {
  return (p[0] ?? 0) >> 4 === 4 ? (p[14] ?? 0) : p.length >= 40 && p[8] === 0xfd ? p.readUInt16BE(20) : 0
}
