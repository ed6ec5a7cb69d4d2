import { Duplex } from 'node:stream'
import type { TLSSocket } from 'node:tls'
import t from 'tap'
import { AddressPool } from '../../src/gateway/address-pool.js'
import { ClientCall } from '../../src/gateway/client-call.js'
import { LoginGuard } from '../../src/gateway/login-guard.js'
import { ownAddress } from '../../src/gateway/policy.js'
import { Reporter } from '../../src/gateway/reporter.js'

/** A connection whose peer takes nothing: no write ever ends. */
class Stuck extends Duplex {
  override _read(): void {}
  override _write(): void {}
  destroySoon(): void {
    if (this.writable) this.end()
    if (this.writableFinished) this.destroy()
    else this.once('finish', () => this.destroy())
  }
}

t.test('a peer that takes nothing more cannot keep its connection', async (t) => {
  const timers: { ms: number; expire: () => void }[] = []
  const real = globalThis.setTimeout
  const cleared: unknown[] = []
  const realClear = globalThis.clearTimeout
  t.teardown(() => Object.assign(globalThis, { setTimeout: real, clearTimeout: realClear }))
  Object.assign(globalThis, {
    setTimeout: (expire: () => void, ms: number) => timers[timers.push({ ms, expire }) - 1],
    clearTimeout: (timer: unknown) => cleared.push(timer),
  })
  const pool = new AddressPool('192.168.30.0/24')
  const socket = new Stuck()
  const over = new Promise<ClientCall>((resolve) => {
    const call = new ClientCall(
      { id: 1, from: 'x', source: 'x', deadline: Number.POSITIVE_INFINITY, quiet: false },
      socket as unknown as TLSSocket,
      {
        options: { address: '', port: 0, cert: '', key: '', accounts: { password: () => undefined } },
        pool,
        own: ownAddress(pool.gateway),
        dns: [],
        certificate: new Uint8Array(1),
        guard: new LoginGuard(),
        reporter: new Reporter(undefined, () => 0),
      },
      { known: () => true, over: resolve },
    )
    socket.write('what waits')
    call.start(new Uint8Array(0))
    socket.push(null)
  })
  await over
  t.notOk(socket.destroyed, 'it may still take what waits')
  const timer = timers.find(({ ms }) => ms === 3000)
  t.ok(timer)
  const closed = new Promise((resolve) => socket.once('close', resolve))
  timer?.expire()
  await closed
  t.ok(socket.destroyed)
  t.ok(cleared.includes(timer))
})
