import { isIP, isIPv4 } from 'node:net'
import type { DialErrorCode } from '../tunnel/dialer.js'
import type { Stage } from './client.js'
import { describeFailure, SocksReply, type SocksReplyCode } from './replies.js'
import type { SocksCall } from './socks-call.js'
import { emitNameReply } from './socks5.js'

/** Tor's RESOLVE: the reply's address is the first of the name's that its version can tell. */
export function socksResolve(call: SocksCall): void {
  const { client, dialect, host } = call
  ask(call, async (signal) => {
    const addresses = await client.context.dialer.resolve(host, { signal })
    const address = dialect.ipv6 ? addresses[0] : addresses.find((a) => isIPv4(a))
    return address === undefined ? undefined : dialect.granted({ address, port: 0 })
  })
}

/** Tor's RESOLVE_PTR, which only SOCKS5 has: the reply has the name of an address. */
export function socksResolvePtr(call: SocksCall): void {
  const { client, dialect } = call
  const host = call.host.replace(/^\[(.*)\]$/, '$1')
  if (isIP(host) === 0) {
    const reply = dialect.refused(SocksReply.ADDRESS_TYPE_NOT_SUPPORTED)
    client.reject('malformed', 'RESOLVE_PTR of what is not an address', reply)
    return
  }
  ask(call, async (signal) => {
    const name = Buffer.from(await client.context.dialer.reverse(host, { signal }))
    if (name.length === 0 || name.length > MAX_NAME) return undefined
    const reply = Buffer.alloc(7 + name.length)
    emitNameReply(reply, 0, name)
    return reply
  })
}

/** `question` gives the whole reply; undefined: there is no answer that could be told. */
function ask(call: SocksCall, question: (signal: AbortSignal) => Promise<Buffer | undefined>): void {
  const { client, dialect, host } = call
  const { emit } = client.context
  const about = { client: client.id, protocol: 'resolve', host, port: 0 } as const
  const abort = new AbortController()
  client.enter(new Asking(() => abort.abort()))
  client.clearDeadline()
  question(abort.signal).then(
    (reply) => {
      if (abort.signal.aborted) return
      if (reply === undefined) {
        const message = `${host} has no answer that fits into a ${dialect.protocol} reply`
        emit({ type: 'failed', ...about, code: 'name-not-found', message })
        client.finish(dialect.refused(SocksReply.HOST_UNREACHABLE))
        return
      }
      emit({ type: 'open', ...about })
      emit({ type: 'done', ...about, up: 0, down: 0, error: undefined })
      client.finish(reply)
    },
    (error: unknown) => {
      const { code, message, reply } = describeFailure(error)
      emit({ type: 'failed', ...about, code, message })
      if (!abort.signal.aborted) client.finish(dialect.refused(resolveFailure(code, reply.socks)))
    },
  )
}

/** A name that has no answer is an unreachable host, for whatever reason; what is not about the name keeps its code. */
function resolveFailure(code: DialErrorCode | 'internal', usual: SocksReplyCode): SocksReplyCode {
  return code === 'name-failed' || code === 'name-timed-out' ? SocksReply.HOST_UNREACHABLE : usual
}

/** The client waits; it may have ended its direction, having nothing more to say. */
class Asking implements Stage {
  readonly #giveUp: () => void

  constructor(giveUp: () => void) {
    this.#giveUp = giveUp
  }

  onLocalData(): void {}

  onLocalEnd(): void {}

  onLocalClose(): void {
    this.#giveUp()
  }
}

const MAX_NAME = 255
