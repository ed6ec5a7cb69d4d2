/** Names to addresses, by the system's resolver. */
import type { LookupAddress } from 'node:dns'
import { lookup } from 'node:dns/promises'
import { isIP } from 'node:net'
import { CallError } from './errors.js'

/** All addresses of a host, the system's favourite first. Rejects with {@link CallError}. */
export async function resolveHost(host: string, signal: AbortSignal): Promise<LookupAddress[]> {
  const family = isIP(host)
  if (family !== 0) return [{ address: host, family }]
  try {
    return await unlessAborted(lookup(host, { all: true, verbatim: true }), signal)
  } catch (error) {
    if (signal.aborted) throw error
    const code = (error as NodeJS.ErrnoException).code
    const what =
      code === 'ENOTFOUND'
        ? `there is no host named ${host}`
        : `the name ${host} could not be resolved (${code ?? 'no answer'})`
    const hint = "check the spelling and this computer's DNS"
    throw new CallError('dns', 'unreachable', 'DNS_FAILED', what, hint)
  }
}

/** The system's resolver cannot be called off, only left alone. */
export function unlessAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const onAbort = (): void => reject(signal.reason)
    if (signal.aborted) onAbort()
    signal.addEventListener('abort', onAbort, { once: true })
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort))
  })
}
