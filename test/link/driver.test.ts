import { Duplex } from 'node:stream'
import t from 'tap'
import { Driver, type Machine } from '../../src/link/driver.js'

/** A machine with packets to send and a deadline. */
class Script implements Machine {
  readonly got: Buffer[] = []
  packets: number[] = []
  deadline = Number.POSITIVE_INFINITY
  timeouts = 0
  dispatched = 0
  finished = false

  input(b: Uint8Array, off: number, len: number): void {
    this.got.push(Buffer.from(b.subarray(off, off + len)))
  }

  output(dst: Uint8Array, off: number): number {
    const n = this.packets.shift()
    if (n === undefined) return 0
    dst.fill(n & 255, off, off + n)
    return n
  }

  get hasOutput(): boolean {
    return this.packets.length > 0
  }

  nextTimeout(): number {
    return this.deadline
  }

  handleTimeout(): void {
    this.timeouts++
    this.deadline = Number.POSITIVE_INFINITY
  }

  dispatch(): void {
    this.dispatched++
  }
}

/** A socket that takes writes only when it is told to. */
class Sink extends Duplex {
  readonly writes: number[] = []
  private readonly waiting: (() => void)[] = []

  override _read(): void {}

  override _write(chunk: Buffer, _encoding: string, callback: () => void): void {
    this.writes.push(chunk.length)
    this.waiting.push(callback)
  }

  release(): void {
    this.waiting.shift()?.()
  }
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

t.test('what comes in one turn is answered by one write', async (t) => {
  const machine = new Script()
  const sink = new Sink()
  const driver = new Driver(sink, machine)
  machine.packets = [1400, 1400, 40]
  driver.received(Buffer.from('abc'), 0, 3)
  driver.received(Buffer.from('xdefx'), 1, 3)
  t.same(machine.got.map(String), ['abc', 'def'], 'input is not put off')
  t.same(sink.writes, [])
  await turn()
  t.same(sink.writes, [2840])
  t.equal(machine.dispatched, 1)
  driver.stop()
})

t.test('two batches are on their way at most: then the machine waits, and goes on', async (t) => {
  const machine = new Script()
  const sink = new Sink()
  const driver = new Driver(sink, machine)
  machine.packets = new Array(200).fill(1400)
  driver.wake()
  await turn()
  // The second write waits inside the stream until the first is through.
  const perBatch = Math.ceil((65_536 - 4095) / 1400)
  t.equal(machine.packets.length, 200 - 2 * perBatch)
  for (let i = 0; i < 10; i++) {
    await turn()
    sink.release()
    await turn()
  }
  t.equal(machine.packets.length, 0)
  t.equal(
    sink.writes.reduce((a, b) => a + b, 0),
    200 * 1400,
  )
  driver.stop()
})

t.test('a deadline is met, a later one replaces nothing, an earlier one does', async (t) => {
  let now = 0
  const machine = new Script()
  const driver = new Driver(new Sink(), machine, () => now)
  machine.deadline = 5
  driver.wake()
  await turn()
  t.equal(machine.timeouts, 0)
  now = 5
  await new Promise<void>((resolve) => {
    const wait = (): void => (machine.timeouts > 0 ? resolve() : void setImmediate(wait))
    wait()
  })
  t.equal(machine.timeouts, 1)
  driver.stop()
})

t.test(
  'a machine that has finished closes the connection, and nothing is asked of it any more',
  async (t) => {
    const machine = new Script()
    const sink = new Sink()
    const driver = new Driver(sink, machine)
    machine.finished = true
    const ended = new Promise((resolve) => sink.once('finish', resolve))
    driver.wake()
    await ended
    driver.received(Buffer.from('late'), 0, 4)
    driver.wake()
    await turn()
    t.same(machine.got, [])
    t.equal(machine.dispatched, 1)
  },
)
