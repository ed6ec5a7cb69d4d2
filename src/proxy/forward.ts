/**
 * Forwards: ports of this machine that lead to one host behind the tunnel (`-L`), and ports of the tunnel's own
 * address that lead to one service of this machine (`-R`), for TCP and UDP.
 */
import { listenLocal } from './forward-local.js'
import { listenLocalUdp } from './forward-local-udp.js'
import { listenRemote } from './forward-remote.js'
import { listenRemoteUdp } from './forward-remote-udp.js'
import type { Forward, ForwardOptions, ForwardSpec } from './forward-spec.js'

export * from './forward-spec.js'

/**
 * Opens a forward. Rejects with Node's error if the local address cannot be listened on, with `no-resources` if the
 * tunnel's port is taken. A tunnel that is down is waited for: the port is opened as soon as it is up.
 */
export function openForward(spec: ForwardSpec, options: ForwardOptions): Promise<Forward> {
  if (spec.kind === 'local') return (spec.protocol === 'tcp' ? listenLocal : listenLocalUdp)(spec, options)
  return (spec.protocol === 'tcp' ? listenRemote : listenRemoteUdp)(spec, options)
}
