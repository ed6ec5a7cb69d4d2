/** What an answer of a RADIUS server says, as far as it concerns a VPN gateway. */
import { copyOf, u8, u16, u32 } from '../../../stack/bytes.js'
import { eachAttribute, eachVendorAttribute, RadiusCode, revealKey } from './packet.js'

/** Types of attributes (RFC 2865, 2866, 2868, 2869, 3162, 3579). */
export const Attribute = {
  USER_NAME: 1,
  USER_PASSWORD: 2,
  CHAP_PASSWORD: 3,
  NAS_PORT: 5,
  SERVICE_TYPE: 6,
  FRAMED_PROTOCOL: 7,
  FRAMED_IP_ADDRESS: 8,
  FRAMED_MTU: 12,
  REPLY_MESSAGE: 18,
  STATE: 24,
  CLASS: 25,
  SESSION_TIMEOUT: 27,
  IDLE_TIMEOUT: 28,
  CALLING_STATION_ID: 31,
  NAS_IDENTIFIER: 32,
  ACCT_STATUS_TYPE: 40,
  ACCT_DELAY_TIME: 41,
  ACCT_INPUT_OCTETS: 42,
  ACCT_OUTPUT_OCTETS: 43,
  ACCT_SESSION_ID: 44,
  ACCT_AUTHENTIC: 45,
  ACCT_SESSION_TIME: 46,
  ACCT_INPUT_PACKETS: 47,
  ACCT_OUTPUT_PACKETS: 48,
  ACCT_TERMINATE_CAUSE: 49,
  ACCT_INPUT_GIGAWORDS: 52,
  ACCT_OUTPUT_GIGAWORDS: 53,
  EVENT_TIMESTAMP: 55,
  CHAP_CHALLENGE: 60,
  NAS_PORT_TYPE: 61,
  TUNNEL_TYPE: 64,
  TUNNEL_MEDIUM_TYPE: 65,
  TUNNEL_CLIENT_ENDPOINT: 66,
  EAP_MESSAGE: 79,
  ACCT_INTERIM_INTERVAL: 85,
  FRAMED_INTERFACE_ID: 96,
} as const

export const MICROSOFT = 311

/** Types of Microsoft's attributes (RFC 2548). */
export const MsAttribute = {
  CHAP_ERROR: 2,
  CHAP_NT_ENC_PW: 6,
  CHAP_CHALLENGE: 11,
  MPPE_SEND_KEY: 16,
  MPPE_RECV_KEY: 17,
  CHAP2_RESPONSE: 25,
  CHAP2_SUCCESS: 26,
  CHAP2_CPW: 27,
} as const

/** `Service-Type` of a PPP user. */
export const SERVICE_FRAMED = 2

export interface Reply {
  readonly kind: 'accept' | 'reject' | 'challenge' | 'accounted'
  state: Uint8Array | undefined
  /** As often as they came, in order. */
  readonly classes: Uint8Array[]
  /** The pieces put together. */
  eap: Uint8Array | undefined
  userName: string | undefined
  serviceType: number | undefined
  /** 4 octets. */
  framedIp: Uint8Array | undefined
  /** Seconds. */
  sessionTimeout: number | undefined
  idleTimeout: number | undefined
  interimInterval: number | undefined
  /** Reply-Message, for people. */
  message: string
  /** MS-CHAP2-Success and MS-CHAP-Error without the identifier in front. */
  chapSuccess: string | undefined
  chapError: string | undefined
  /** Named from the server's side: Recv is the client's send key. Secrets. */
  recvKey: Uint8Array | undefined
  sendKey: Uint8Array | undefined
}

/** Octets of all Reply-Messages together that are kept. */
const MAX_MESSAGE = 1024

/**
 * Reads an answer that has proved to be one, of `length` octets. Attributes of an odd length are as good as absent;
 * of those that may come once the first counts. Undefined if it is of another kind.
 */
export function readReply(
  b: Uint8Array,
  length: number,
  requestAuthenticator: Uint8Array,
  secret: Uint8Array,
): Reply | undefined {
  const kind = kindOf(u8(b, 0))
  if (kind === undefined) return undefined
  const reply = emptyReply(kind)
  const eap: Uint8Array[] = []
  eachAttribute(b, length, (type, off, len) => {
    switch (type) {
      case Attribute.STATE:
        if (len > 0) reply.state ??= copyOf(b, off, off + len)
        return
      case Attribute.CLASS:
        if (len > 0) reply.classes.push(copyOf(b, off, off + len))
        return
      case Attribute.EAP_MESSAGE:
        eap.push(b.subarray(off, off + len))
        return
      case Attribute.USER_NAME:
        if (len > 0) reply.userName ??= text(b, off, len)
        return
      case Attribute.REPLY_MESSAGE:
        if (reply.message.length + len <= MAX_MESSAGE) reply.message += text(b, off, len)
        return
      case Attribute.FRAMED_IP_ADDRESS:
        if (len === 4) reply.framedIp ??= copyOf(b, off, off + 4)
        return
      case Attribute.SERVICE_TYPE:
        if (len === 4) reply.serviceType ??= u32(b, off)
        return
      case Attribute.SESSION_TIMEOUT:
        if (len === 4) reply.sessionTimeout ??= u32(b, off)
        return
      case Attribute.IDLE_TIMEOUT:
        if (len === 4) reply.idleTimeout ??= u32(b, off)
        return
      case Attribute.ACCT_INTERIM_INTERVAL:
        if (len === 4) reply.interimInterval ??= u32(b, off)
        return
      default:
        eachVendorAttributeOf(type, b, off, len, (vendorType, at, size) => {
          const value = b.subarray(at, at + size)
          switch (vendorType) {
            case MsAttribute.CHAP2_SUCCESS:
              reply.chapSuccess ??= text(b, at + 1, Math.max(0, size - 1))
              return
            case MsAttribute.CHAP_ERROR:
              reply.chapError ??= text(b, at + 1, Math.max(0, size - 1))
              return
            case MsAttribute.MPPE_RECV_KEY:
              reply.recvKey ??= revealKey(value, requestAuthenticator, secret)
              return
            case MsAttribute.MPPE_SEND_KEY:
              reply.sendKey ??= revealKey(value, requestAuthenticator, secret)
              return
          }
        })
    }
  })
  reply.eap = eapPacket(eap)
  return reply
}

const VENDOR_SPECIFIC = 26

function eachVendorAttributeOf(
  type: number,
  b: Uint8Array,
  off: number,
  len: number,
  visit: (type: number, off: number, len: number) => void,
): void {
  if (type === VENDOR_SPECIFIC) eachVendorAttribute(b, off, len, MICROSOFT, visit)
}

/** The pieces of RFC 3579 3.1 put together, if that is an EAP packet; octets behind its length are dropped. */
function eapPacket(pieces: readonly Uint8Array[]): Uint8Array | undefined {
  let size = 0
  for (const piece of pieces) size += piece.length
  if (size < 4) return undefined
  const packet = new Uint8Array(size)
  let at = 0
  for (const piece of pieces) {
    packet.set(piece, at)
    at += piece.length
  }
  const length = u16(packet, 2)
  return length >= 4 && length <= size ? copyOf(packet, 0, length) : undefined
}

function kindOf(code: number): Reply['kind'] | undefined {
  switch (code) {
    case RadiusCode.ACCESS_ACCEPT:
      return 'accept'
    case RadiusCode.ACCESS_REJECT:
      return 'reject'
    case RadiusCode.ACCESS_CHALLENGE:
      return 'challenge'
    case RadiusCode.ACCOUNTING_RESPONSE:
      return 'accounted'
    default:
      return undefined
  }
}

function text(b: Uint8Array, off: number, len: number): string {
  return new TextDecoder().decode(b.subarray(off, off + len))
}

function emptyReply(kind: Reply['kind']): Reply {
  return {
    kind,
    state: undefined,
    classes: [],
    eap: undefined,
    userName: undefined,
    serviceType: undefined,
    framedIp: undefined,
    sessionTimeout: undefined,
    idleTimeout: undefined,
    interimInterval: undefined,
    message: '',
    chapSuccess: undefined,
    chapError: undefined,
    recvKey: undefined,
    sendKey: undefined,
  }
}
