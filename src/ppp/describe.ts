/**
 * Control packets as one line for people. Passwords, challenges, responses and the server's proof are never
 * part of it.
 */
import { u8, u16, u32 } from '../../stack/bytes.js'
import { ChapCode } from './auth/chap.js'
import { EapCode } from './auth/eap/method.js'
import { eapTypeName } from './auth/eap/packet.js'
import { authLabel } from './auth/method.js'
import { PapCode } from './auth/pap.js'
import { CONTROL_HEADER, Code, controlLength } from './control.js'
import { peerText } from './errors.js'
import { Protocol } from './frame.js'
import { IpcpOption } from './ipcp.js'
import { LcpOption } from './lcp.js'
import { optionsValid } from './option.js'

const hex = (value: number, digits: number): string => value.toString(16).padStart(digits, '0')

const PROTOCOL_NAMES: ReadonlyMap<number, string> = new Map(
  Object.entries(Protocol).map(([name, number]) => [number, name]),
)

const CODE_NAMES: ReadonlyMap<number, string> = new Map([
  [Code.CONFIGURE_REQUEST, 'Configure-Request'],
  [Code.CONFIGURE_ACK, 'Configure-Ack'],
  [Code.CONFIGURE_NAK, 'Configure-Nak'],
  [Code.CONFIGURE_REJECT, 'Configure-Reject'],
  [Code.TERMINATE_REQUEST, 'Terminate-Request'],
  [Code.TERMINATE_ACK, 'Terminate-Ack'],
  [Code.CODE_REJECT, 'Code-Reject'],
  [Code.PROTOCOL_REJECT, 'Protocol-Reject'],
  [Code.ECHO_REQUEST, 'Echo-Request'],
  [Code.ECHO_REPLY, 'Echo-Reply'],
  [Code.DISCARD_REQUEST, 'Discard-Request'],
  [Code.IDENTIFICATION, 'Identification'],
  [Code.TIME_REMAINING, 'Time-Remaining'],
])

const PAP_NAMES: ReadonlyMap<number, string> = new Map([
  [PapCode.REQUEST, 'Authenticate-Request'],
  [PapCode.ACK, 'Authenticate-Ack'],
  [PapCode.NAK, 'Authenticate-Nak'],
])

const CHAP_NAMES: ReadonlyMap<number, string> = new Map([
  [ChapCode.CHALLENGE, 'Challenge'],
  [ChapCode.RESPONSE, 'Response'],
  [ChapCode.SUCCESS, 'Success'],
  [ChapCode.FAILURE, 'Failure'],
  [ChapCode.CHANGE_PASSWORD, 'Change-Password'],
])

const EAP_NAMES: ReadonlyMap<number, string> = new Map([
  [EapCode.REQUEST, 'Request'],
  [EapCode.RESPONSE, 'Response'],
  [EapCode.SUCCESS, 'Success'],
  [EapCode.FAILURE, 'Failure'],
])

/** Options beyond this many are only counted. */
const MAX_OPTIONS = 16

/** The assigned name of a protocol, or its number. */
export function protocolName(protocol: number): string {
  return PROTOCOL_NAMES.get(protocol) ?? hex(protocol, 4)
}

/** One frame's information field, e.g. `LCP Configure-Request id 1: mru 1400, magic deadbeef`. */
export function describe(protocol: number, b: Uint8Array, o: number, len: number): string {
  const name = protocolName(protocol)
  const length = controlLength(b, o, len)
  if (length < 0) return `${name}, ${len} octets without a header`
  const at = o + CONTROL_HEADER
  const size = length - CONTROL_HEADER
  const code = u8(b, o)
  const head = (names: ReadonlyMap<number, string>): string =>
    `${name} ${names.get(code) ?? `code ${code}`} id ${u8(b, o + 1)}`
  switch (protocol) {
    case Protocol.LCP:
    case Protocol.IPCP:
    case Protocol.IPV6CP:
      return head(CODE_NAMES) + controlDetail(protocol, code, b, at, size)
    case Protocol.PAP:
      return head(PAP_NAMES) + papDetail(code, b, at, size)
    case Protocol.CHAP:
      return head(CHAP_NAMES) + chapDetail(code, b, at, size)
    case Protocol.EAP:
      return head(EAP_NAMES) + eapDetail(b, at, size)
    default:
      return `${name}, ${length} octets`
  }
}

/** Only the type and the size: all else may be secret. */
function eapDetail(b: Uint8Array, o: number, len: number): string {
  return len < 1 ? '' : `: ${eapTypeName(u8(b, o))}, ${len - 1} octets`
}

function controlDetail(protocol: number, code: number, b: Uint8Array, o: number, len: number): string {
  switch (code) {
    case Code.CONFIGURE_REQUEST:
    case Code.CONFIGURE_ACK:
    case Code.CONFIGURE_NAK:
    case Code.CONFIGURE_REJECT: {
      if (!optionsValid(b, o, len)) return ': broken options'
      const parts: string[] = []
      for (let p = o; p < o + len; p += u8(b, p + 1)) {
        if (parts.length === MAX_OPTIONS) {
          parts.push('and more')
          break
        }
        parts.push(option(protocol, u8(b, p), b, p + 2, u8(b, p + 1) - 2))
      }
      return parts.length === 0 ? ': no options' : `: ${parts.join(', ')}`
    }
    case Code.TERMINATE_REQUEST:
    case Code.TERMINATE_ACK:
      return quoted(b, o, len)
    case Code.CODE_REJECT:
      return len < 1 ? '' : `: code ${u8(b, o)}`
    case Code.PROTOCOL_REJECT:
      return len < 2 ? '' : `: ${protocolName(u16(b, o))}`
    case Code.IDENTIFICATION:
      return len < 4 ? '' : quoted(b, o + 4, len - 4)
    default:
      return ''
  }
}

function option(protocol: number, type: number, b: Uint8Array, o: number, len: number): string {
  if (protocol === Protocol.LCP) {
    if (type === LcpOption.MRU && len === 2) return `mru ${u16(b, o)}`
    if (type === LcpOption.AUTH) return `auth ${authLabel(b, o, len)}`
    if (type === LcpOption.MAGIC && len === 4) return `magic ${hex(u32(b, o), 8)}`
    if (type === LcpOption.ACCM && len === 4) return `accm ${hex(u32(b, o), 8)}`
    if (type === LcpOption.PFC) return 'pfc'
    if (type === LcpOption.ACFC) return 'acfc'
    if (type === LcpOption.CALLBACK) return 'callback'
    if (type === LcpOption.MRRU && len === 2) return `mrru ${u16(b, o)}`
    if (type === LcpOption.ENDPOINT) return 'endpoint'
  }
  if (protocol === Protocol.IPCP && len === 4) {
    const value = `${u8(b, o)}.${u8(b, o + 1)}.${u8(b, o + 2)}.${u8(b, o + 3)}`
    if (type === IpcpOption.ADDRESS) return `address ${value}`
    if (type === IpcpOption.DNS_1) return `dns ${value}`
    if (type === IpcpOption.DNS_2) return `second dns ${value}`
    if (type === IpcpOption.NBNS_1) return `nbns ${value}`
    if (type === IpcpOption.NBNS_2) return `second nbns ${value}`
  }
  if (protocol === Protocol.IPV6CP && type === 1 && len === 8) {
    const words = [0, 2, 4, 6].map((i) => u16(b, o + i).toString(16))
    return `interface ${words.join(':')}`
  }
  return `option ${type}`
}

function papDetail(code: number, b: Uint8Array, o: number, len: number): string {
  if (len < 1) return ''
  const text = quoted(b, o + 1, Math.min(u8(b, o), len - 1))
  return code === PapCode.REQUEST ? ` user${text}` : text
}

function chapDetail(code: number, b: Uint8Array, o: number, len: number): string {
  if (code === ChapCode.CHALLENGE || code === ChapCode.RESPONSE) {
    if (len < 1 || 1 + u8(b, o) > len) return ': broken'
    return ` name${quoted(b, o + 1 + u8(b, o), len - 1 - u8(b, o))}`
  }
  if (code === ChapCode.SUCCESS || code === ChapCode.CHANGE_PASSWORD) return ''
  // C= is a challenge
  return quoted(b, o, len).replace(/C=[0-9A-Fa-f]+/g, 'C=...')
}

function quoted(b: Uint8Array, o: number, len: number): string {
  const text = peerText(b, o, len)
  return text === '' ? '' : ` "${text}"`
}
