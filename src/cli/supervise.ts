/** The tunnel of `connect` and `run`, which is kept up, and the bridge over it. */
import type { BridgeSettings } from '../config/schema.js'
import { logTunnelEvent } from '../observe/logger.js'
import { CallError } from '../transport/errors.js'
import type { SupervisorEvent } from '../tunnel/events.js'
import type { TunnelOptions } from '../tunnel/options.js'
import { Supervisor } from '../tunnel/supervisor.js'
import { type Bridge, openBridge, prepareBridge } from './bridge.js'
import { closeInTime, prepareCall } from './call.js'
import type { Console } from './console.js'
import type { Deps } from './deps.js'
import { describeError } from './exit.js'
import type { Stop } from './stop.js'

export interface Bridged {
  readonly supervisor: Supervisor
  readonly bridge: Bridge
  /** Rejects when the tunnel is at its end. */
  readonly ended: Promise<never>
}

/**
 * Brings the tunnel up, opens every entrance, lets `use` have it all, and closes it again, whatever comes. `onEvent` hears what
 * happens to the tunnel from the moment on at which `use` was called.
 */
export async function withBridge<T>(
  settings: BridgeSettings,
  deps: Deps,
  console: Console,
  stop: Stop,
  onEvent: (event: SupervisorEvent, bridge: Bridge) => void,
  use: (bridged: Bridged) => Promise<T>,
): Promise<T> {
  const prepared = await prepareBridge(settings, deps, console, stop)
  const call = await prepareCall(settings, deps, console, stop)
  stop.check()
  let bridge: Bridge | undefined
  let using = false
  const supervisor = supervise(call, settings, deps, console, (event) => {
    if (event.type === 'reconnecting') warnOfAttempt(event, console)
    if (event.type === 'probing') {
      console.logger.info({ reason: event.reason }, 'asking the server for a sign of life')
    }
    // Before the first `ready` nothing is said on standard output.
    if (using && bridge !== undefined) onEvent(event, bridge)
  })
  try {
    await stop.race(supervisor.start())
    const over = ended(supervisor)
    // Nobody may have begun to wait for it when it comes.
    over.catch(() => {})
    bridge = await openBridge(settings, prepared, supervisor, deps, console)
    // It may have been lost meanwhile, and who hears that it is ready relies on it.
    await stop.race(Promise.race([supervisor.whenUp(Number.POSITIVE_INFINITY), over]))
    using = true
    return await use({ supervisor, bridge, ended: over })
  } finally {
    await closeInTime(deps, console, async () => {
      await bridge?.close()
      await supervisor.close()
    })
  }
}

async function ended(supervisor: Supervisor): Promise<never> {
  throw (await supervisor.stopped) ?? new CallError('ip', 'lost', 'CALL_ENDED', 'the tunnel has ended')
}

function supervise(
  call: TunnelOptions,
  settings: BridgeSettings,
  deps: Deps,
  console: Console,
  onEvent: (event: SupervisorEvent) => void,
): Supervisor {
  const { reconnect, retryStart, reconnectWait, keepalive } = settings
  return new Supervisor({
    tunnel: {
      ...call,
      trace: console.logger.isLevelEnabled('debug'),
      onEvent: (event) => logTunnelEvent(console.logger, event),
      ...(keepalive === undefined ? {} : { keepAlive: { idle: keepalive } }),
    },
    open: deps.openTunnel,
    reconnect,
    retryStart,
    ...(reconnectWait === undefined ? {} : { reconnectWait }),
    ...deps.supervision,
    onEvent,
  })
}

function warnOfAttempt(event: SupervisorEvent & { type: 'reconnecting' }, console: Console): void {
  const { message } = describeError(event.error)
  const when = event.wait < 1000 ? 'now' : `in ${Math.round(event.wait / 1000)} s`
  console.warn(`${message}: next attempt ${when}`)
}
