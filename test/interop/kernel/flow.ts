/** One flow for a time over one lane, and what of it arrived. */
import type { PeerReport } from './host.js'
import type { OurConnection } from './our-host.js'
import type { Profile } from './relay.js'
import { far4, KERNEL4, type World } from './world.js'

export interface FlowOptions {
  /** Download: the kernel that is always there sends. Upload: the far end does. */
  readonly direction: 'download' | 'upload'
  readonly far: 'ours' | 'kernel'
  /** What the far end does: connect, or listen. */
  readonly role: 'client' | 'listener'
  readonly up: Profile
  readonly down: Profile
  readonly seed: number
  /** From the start of the connection at the receiver. */
  readonly ms: number
}

interface End {
  readonly bytes: number
  readonly retransmissions: number
}

export interface FlowResult {
  /** Octets that the receiving application read, as Mbit/s of the time. */
  readonly goodput: number
  /** Of the sender, whoever that is. */
  readonly retransmissions: number
  /** What the relay lost by chance and by its full queue, in the direction of the data. */
  readonly lost: number
  readonly overflowed: number
  readonly sent: number
  /** Packets of both directions that left the relay more than 2 ms after their time. */
  readonly late: number
}

const PIECE = Buffer.alloc(1 << 16, 'sstp-socks')
const megabits = (bytes: number, ms: number) => (bytes * 8) / ms / 1000

let ports = 0

export async function flow(world: World, options: FlowOptions): Promise<FlowResult> {
  const { direction, far, role, ms, up, down, seed } = options
  const lane = world.lane({ up, down, seed, far })
  const port = 20_000 + (ports++ % 10_000)
  const kernelAction = direction === 'download' ? 'send' : 'recv'
  const farAction = direction === 'download' ? 'recv' : 'send'
  // A sender is ended by its receiver; its own time is only there for when that fails.
  const time = (action: 'send' | 'recv') => (action === 'recv' ? ms : ms + 5000)
  const atKernel = (listen: boolean) =>
    world.kernel.peer({
      listen,
      address: listen ? KERNEL4 : far4(lane.number),
      port,
      action: kernelAction,
      ms: time(kernelAction),
    })
  // In an object, so that waiting for the start is not waiting for the end.
  const atFar = async (listen: boolean): Promise<{ done: Promise<End> }> => {
    if (lane.ours !== undefined) {
      const { stack } = lane.ours
      const c = listen ? lane.ours.listen(port) : Promise.resolve(lane.ours.connect(KERNEL4, port))
      const bytes = c.then((c) => run(c, farAction, ms))
      return { done: bytes.then((n) => ({ bytes: n, retransmissions: stack.counters.retransmissions })) }
    }
    const { other } = world
    if (other === undefined) throw new Error('there is no second kernel')
    const from = far4(lane.number)
    const address = listen ? from : KERNEL4
    const peer = await other.peer({ listen, address, port, from, action: farAction, ms: time(farAction) })
    return { done: peer.report.then(facts) }
  }
  try {
    let near: Promise<End>
    let distant: Promise<End>
    if (role === 'client') {
      near = (await atKernel(true)).report.then(facts)
      distant = (await atFar(false)).done
    } else {
      distant = (await atFar(true)).done
      near = (await atKernel(false)).report.then(facts)
    }
    const ends = await Promise.all([near, distant])
    const [receiver, sender] = direction === 'download' ? [ends[1], ends[0]] : ends
    const { counts } = direction === 'download' ? lane.down : lane.up
    return {
      goodput: megabits(receiver.bytes, ms),
      retransmissions: sender.retransmissions,
      lost: counts.lost,
      overflowed: counts.overflowed,
      sent: counts.in,
      late: lane.up.counts.late + lane.down.counts.late,
    }
  } finally {
    lane.close()
  }
}

function facts(report: PeerReport): End {
  return { bytes: report.received, retransmissions: report.retransmissions }
}

async function run(c: OurConnection, action: 'send' | 'recv', ms: number): Promise<number> {
  if (action === 'send') {
    c.source = () => PIECE
    c.resume()
    await c.closed
    return 0
  }
  let bytes = 0
  c.onData = (chunk) => {
    bytes += chunk.length
  }
  await c.connected
  await new Promise((resolve) => setTimeout(resolve, ms))
  const got = bytes
  c.abort()
  return got
}
