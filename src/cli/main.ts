#!/usr/bin/env node
import { buffer } from 'node:stream/consumers'
import { setTimeout as delay } from 'node:timers/promises'
import { createDialer } from '../dns/dialer.js'
import { listenGateway } from '../gateway/gateway.js'
import { listenProxy } from '../proxy/server.js'
import { openTunnel } from '../tunnel/session.js'
import type { Deps } from './deps.js'
import { run } from './program.js'
import { ask } from './prompt.js'

const { stdin, stdout, stderr } = process

const deps: Deps = {
  openTunnel,
  listenGateway,
  listenProxy,
  createDialer,
  stdout: (text) => void stdout.write(text),
  stderr: (text) => void stderr.write(text),
  color: stderr.isTTY === true && !process.env.NO_COLOR,
  env: process.env,
  readStdin: () => buffer(stdin),
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
    process.on(signal, listener)
    return () => void process.off(signal, listener)
  },
  exitNow: (status) => process.exit(status),
  now: () => performance.now(),
  sleep: async (ms, signal) => {
    await delay(ms, undefined, signal === undefined ? {} : { signal }).catch(() => {})
  },
}

// Whoever read our output has gone (`| head`): there is nobody to tell, and no reason to fall over.
stdout.on('error', () => {})
stderr.on('error', () => {})

const status = await run(process.argv.slice(2), deps)
// Not by itself: what is still open (a resolver's timer, a slow close) is not waited for.
stdout.write('', () => process.exit(status))
