import { createInterface } from 'node:readline/promises'
import { Writable } from 'node:stream'
import { UsageError } from '../config/errors.js'

/**
 * Asks one question at a terminal; `hidden`: what is typed is not shown. Rejects when the signal is
 * aborted, and with `UsageError` when the terminal is closed (Ctrl-D).
 */
export async function ask(
  question: string,
  hidden: boolean,
  signal: AbortSignal,
  terminal: {
    readonly input: NodeJS.ReadableStream
    readonly output: NodeJS.WritableStream
    /** Ctrl-C: the terminal is in raw mode, so that no signal comes by itself. */
    readonly onInterrupt: () => void
  },
): Promise<string> {
  const { input, output, onInterrupt } = terminal
  const nowhere = new Writable({ write: (_chunk, _encoding, done) => done() })
  // In terminal mode readline turns the terminal's own echo off and echoes itself, to `output`.
  const reader = createInterface({
    input,
    output: hidden ? nowhere : output,
    terminal: true,
    historySize: 0,
  })
  try {
    reader.on('SIGINT', onInterrupt)
    const closed = new Promise<never>((_resolve, reject) => {
      reader.on('close', () => reject(new UsageError('no answer at the terminal')))
    })
    if (hidden) output.write(question)
    return await Promise.race([reader.question(hidden ? '' : question, { signal }), closed])
  } finally {
    reader.close()
    if (hidden) output.write('\n')
  }
}
