/** The process around the program: its streams, signals and exit. */
import { setTimeout as delay } from 'node:timers/promises'
import { MAX_PASSWORD_FILE } from '../config/secrets.js'
import { createDialer } from '../dns/dialer.js'
import { listenDns } from '../dns/server.js'
import { readStream } from '../gateway/files.js'
import { listenGateway } from '../gateway/gateway.js'
import { listenProxy } from '../proxy/server.js'
import { openTunnel } from '../tunnel/session.js'
import { startChild } from './child.js'
import { printFailure } from './console.js'
import type { Deps, PassedSignal } from './deps.js'
import { EXIT, OutputError } from './exit.js'
import { run } from './program.js'
import { ask } from './prompt.js'
import { processStdio } from './stdio.js'

const { stdin, stdout, stderr } = process
/** Why standard output failed, once it has. */
let lost: Error | undefined
const losses = new Set<(error: Error) => void>()
/** The last that came. */
let lastSignal: PassedSignal | undefined

/** How long a look-up under way may hold up the end; a command that is told to end has 3 s for all. */
const LOOKUP_PATIENCE = 500

/** Runs the program and ends the process. `main`: the file that it was started with. */
export async function runProcess(main: string): Promise<void> {
  const deps: Deps = {
    openTunnel,
    listenGateway,
    listenProxy,
    listenDns,
    createDialer,
    stdout: (text) => void stdout.write(text),
    stderr: (text) => void stderr.write(text),
    color: stderr.isTTY === true && !process.env.NO_COLOR,
    env: process.env,
    readStdin: () => readStream(stdin, 'standard input', { most: MAX_PASSWORD_FILE }),
    ask:
      stdin.isTTY === true
        ? (question, hidden, signal) =>
            ask(question, hidden, signal, {
              input: stdin,
              output: stderr,
              onInterrupt: () => process.kill(process.pid, 'SIGINT'),
            })
        : undefined,
    hideArguments: () => {
      process.title = 'sstp-socks'
    },
    onSignal: (signal, listener) => {
      const heard = (): void => {
        lastSignal = signal
        listener()
      }
      process.on(signal, heard)
      return () => void process.off(signal, heard)
    },
    onOutputError: (listener) => {
      losses.add(listener)
      return () => void losses.delete(listener)
    },
    stdio: processStdio,
    exitNow: (status) => leave(status, 0),
    startChild,
    terminal: stdin.isTTY === true || stderr.isTTY === true,
    self: [process.execPath, ...process.execArgv, main],
    now: () => performance.now(),
    sleep: async (ms, signal) => {
      await delay(ms, undefined, signal === undefined ? {} : { signal }).catch(() => {})
    },
  }

  stdout.on('error', (error: Error & { readonly code?: string }) => {
    // Whoever read our output has gone (`| head`): there is nobody to tell, and no reason to fall over.
    if (lost !== undefined || error.code === 'EPIPE' || error.code === 'ERR_STREAM_DESTROYED') return
    lost = error
    printFailure(deps, new OutputError(error))
    for (const tell of losses) tell(error)
  })
  stderr.on('error', () => {})

  const status = await run(process.argv.slice(2), deps)
  // Not by itself: what is still open (a resolver's timer, a slow close) is not waited for.
  // In a turn of its own, so that the error of the last line has been told.
  const exit = (): unknown =>
    setImmediate(() =>
      leave(lost !== undefined && status === EXIT.ok ? EXIT.failed : status, LOOKUP_PATIENCE),
    )
  // `--stdio` has ended it.
  if (stdout.writableEnded) exit()
  else stdout.write('', exit)
}

/**
 * Ends the process. Node waits for its threads then, and one in getaddrinfo, which nobody can call off, stays there for
 * as long as a silent name server lets it. Who has asked for the end by a signal gets it by the signal instead.
 *
 * @param patience - milliseconds for that look-up
 */
function leave(status: number, patience: number): void {
  const signal = lastSignal
  // Another status than those of such an end says more than its time.
  const asked = status === EXIT.ok || status > 128
  const stuck = process.getActiveResourcesInfo().includes('GetAddrInfoReqWrap')
  if (signal === undefined || !asked || !stuck) process.exit(status)
  if (patience > 0) {
    setTimeout(() => leave(status, patience - 50), 50)
    return
  }
  process.removeAllListeners(signal)
  process.kill(process.pid, signal)
  // Process 1 of a container, which no signal of its own can end: it waits for the look-up.
  process.exit(status)
}
