import { PassThrough } from 'node:stream'
import t from 'tap'
import { ask } from '../../src/cli/prompt.js'

function terminal() {
  const input = new PassThrough()
  const output = new PassThrough()
  let shown = ''
  let interrupts = 0
  output.on('data', (chunk) => {
    shown += chunk
  })
  return {
    input,
    output,
    onInterrupt: () => {
      interrupts++
    },
    shown: () => shown,
    interrupts: () => interrupts,
  }
}

const never = new AbortController().signal

t.test('a hidden answer is not shown', async (t) => {
  const tty = terminal()
  const answer = ask('Password: ', true, never, tty)
  for (const key of 's3cretX\u007f') tty.input.write(key)
  tty.input.write('\r')
  t.equal(await answer, 's3cret', 'and can be corrected')
  t.equal(tty.shown(), 'Password: \n')
})

t.test('a plain answer is', async (t) => {
  const tty = terminal()
  const answer = ask('User: ', false, never, tty)
  tty.input.write('alice\r')
  t.equal(await answer, 'alice')
  t.match(tty.shown(), /User: [\s\S]*alice/)
})

t.test('Ctrl-C, Ctrl-D, and being called off', async (t) => {
  const tty = terminal()
  const stop = new AbortController()
  const answer = ask('Password: ', true, stop.signal, tty)
  tty.input.write('s3c\u0003')
  setImmediate(() => {
    t.equal(tty.interrupts(), 1)
    stop.abort()
  })
  await t.rejects(answer, { name: 'AbortError' })
  t.equal(tty.shown(), 'Password: \n')

  const closed = terminal()
  const none = ask('Password: ', true, never, closed)
  closed.input.write('\u0004')
  await t.rejects(none, { name: 'UsageError', message: 'no answer at the terminal' })
})
