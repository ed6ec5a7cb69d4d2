/** How hosts, foreign text and hashes are shown. */
import { createHash } from 'node:crypto'

/** `host:port`, with brackets around IPv6. */
export function endpointText(host: string, port: number): string {
  return `${host.includes(':') ? `[${host}]` : host}:${port}`
}

/** Foreign text on one line, 200 characters at most. */
export function oneLine(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]+/gu, ', ').slice(0, 200)
}

export function sha256(data: Uint8Array): Buffer {
  return createHash('sha256').update(data).digest()
}
