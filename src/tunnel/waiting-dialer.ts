/**
 * A dialer for whoever should not notice that a tunnel is being brought up again: what is asked for meanwhile
 * waits a bounded time, and what is caught by the end of a call is asked for once more.
 */
import { DialError, type Dialer, type DialOptions } from './dialer.js'

/** Who knows when the tunnel is up; a supervisor does. */
export interface Gate {
  whenUp(limit?: number, signal?: AbortSignal): Promise<void>
}

export function waitingDialer(gate: Gate, dialer: Dialer): Dialer {
  async function ask<T>(options: DialOptions | undefined, question: () => Promise<T>): Promise<T> {
    await gate.whenUp(undefined, options?.signal)
    try {
      return await question()
    } catch (error) {
      if (!(error instanceof DialError) || error.code !== 'tunnel-down') throw error
    }
    await gate.whenUp(undefined, options?.signal)
    return question()
  }

  return {
    dial: (to, options) => ask(options, () => dialer.dial(to, options)),
    resolve: (host, options) => ask(options, () => dialer.resolve(host, options)),
    reverse: (address, options) => ask(options, () => dialer.reverse(address, options)),
    // Sockets outlive a call, and one that is opened between two of them begins with the next one.
    openDatagrams: (options) => dialer.openDatagrams(options),
    listen: (options) => dialer.listen(options),
  }
}
