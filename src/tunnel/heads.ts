/** The HTTP exchange by which a TLS connection becomes one of SSTP (MS-SSTP 3.2.4.1), on the socket. */
import { randomBytes } from 'node:crypto'
import {
  closedWithoutAnswer,
  HeadReader,
  notHttp,
  refusal,
  requestHead,
  responseStatus,
} from '../transport/http-handshake.js'
import { explainClientCertificate } from '../transport/network-errors.js'
import { endpointText } from '../transport/text.js'
import type { TlsLink } from '../transport/tls.js'
import type { TunnelOptions } from './options.js'

/**
 * Asks, and waits for `200`. Rejects with {@link CallError}, or with the signal's reason.
 *
 * @param onDone - told what was answered, before the promise resolves
 * @returns what came behind the response head
 */
export function exchangeHeads(
  link: TlsLink,
  options: TunnelOptions,
  signal: AbortSignal,
  onDone: (detail: Readonly<Record<string, string>>) => void,
): Promise<Buffer> {
  const { socket } = link
  const reader = new HeadReader('HTTP/')
  return new Promise((resolve, reject) => {
    const settle = (error: unknown, rest?: Buffer): void => {
      signal.removeEventListener('abort', onAbort)
      socket.off('error', onError)
      socket.off('close', onEnd)
      socket.off('end', onEnd)
      link.receiver = undefined
      if (rest !== undefined) resolve(rest)
      else reject(error)
    }
    const onAbort = (): void => settle(signal.reason)
    const onEnd = (): void => settle(reader.pending > 0 ? notHttp() : closedWithoutAnswer())
    // With TLS 1.3 a server that wants a client certificate says so only now.
    const onError = (error: Error): void => {
      const wanted = explainClientCertificate(error, endpointText(options.host, options.port))
      if (wanted === undefined) onEnd()
      else settle(wanted)
    }
    signal.addEventListener('abort', onAbort, { once: true })
    socket.once('error', onError)
    socket.once('close', onEnd)
    socket.once('end', onEnd)
    link.receiver = (b, length) => {
      const state = reader.push(b, 0, length)
      if (state === 'more') return
      const { head, rest } = reader
      const answer = head === undefined ? undefined : responseStatus(head)
      if (head === undefined || answer === undefined) {
        settle(notHttp())
      } else if (answer.status !== 200) {
        settle(refusal(head, rest.toString('latin1')))
      } else {
        onDone({
          status: `200 ${answer.reason}`.trim(),
          server: head.fields.get('server') ?? '',
        })
        settle(undefined, Buffer.from(rest))
      }
    }
    const guid = randomBytes(16)
    const host = options.trust?.servername ?? options.host
    socket.write(requestHead(host, options.port, guid, options.outer?.hostHeader))
  })
}
