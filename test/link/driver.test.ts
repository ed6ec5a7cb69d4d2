import { Duplex } from 'node:stream'
import t from 'tap'
import { Driver, type Machine } from '../../src/link/driver.js'
import { OuterWindow } from '../../src/link/outer-window.js'

/** A machine with packets to send and a deadline. */
class Script implements Machine {
  readonly got: Buffer[] = []
  packets: number[] = []
  deadline = Number.POSITIVE_INFINITY
  timeouts = 0
  dispatched = 0
  finished = false
  hasControl = false
  readonly outer = new OuterWindow()
  /** Numbers of the marks that were written. */
  readonly marks: number[] = []

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

  mark(): number {
    this.marks.push(this.outer.number)
    return 24
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
  // The first is small, for the sake of its mark. The second waits inside the stream until the first is through.
  const first = Math.ceil(4096 / 1400)
  const perBatch = Math.ceil((65_536 - 4095 - 24) / 1400)
  t.equal(machine.packets.length, 200 - first - perBatch)
  for (let i = 0; i < 10; i++) {
    await turn()
    sink.release()
    await turn()
  }
  t.equal(machine.packets.length, 0)
  t.equal(
    sink.writes.reduce((a, b) => a + b, 0),
    200 * 1400 + 24 * machine.marks.length,
  )
  t.same(machine.marks, [0, 1, 2, 3], 'and no more marks to somebody who answers none')
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

t.test('no more is under way than the window allows, but for what is about the call itself', async (t) => {
  let now = 0
  const machine = new Script()
  const sink = new Sink()
  const driver = new Driver(sink, machine, () => now)
  machine.packets = new Array(20_000).fill(1400)
  /** Lets the kernel take everything that is written. */
  const taken = async (): Promise<void> => {
    for (let i = 0; i < 8; i++) {
      sink.release()
      await turn()
    }
  }
  driver.wake()
  await turn()
  now = 100
  machine.outer.onAnswer(0, now)
  driver.wake()
  await taken()
  const held = machine.packets.length
  t.ok(held > 0 && machine.outer.room <= 0, 'it waits')
  driver.wake()
  await taken()
  t.equal(machine.packets.length, held)
  machine.hasControl = true
  const { output } = machine
  machine.output = (dst, off) => {
    machine.hasControl = false
    return output.call(machine, dst, off)
  }
  driver.wake()
  await taken()
  t.equal(machine.packets.length, held - 1, 'one packet about the call goes')
  now = 200
  machine.outer.onAnswer(machine.marks.at(-1) ?? 0, now)
  driver.wake()
  await taken()
  t.ok(machine.packets.length < held - 1, 'and an answer lets the rest go on')
  driver.stop()
})
