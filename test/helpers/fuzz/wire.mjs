/** Octets of IP packets by hand, in place; nothing here is the stack's own code. */

export const TCP = 6
export const UDP = 17
export const ICMP = 1
export const ICMP6 = 58
export const FRAGMENT = 44

export function put16(b, o, v) {
  b[o] = v >>> 8
  b[o + 1] = v
}

export function put32(b, o, v) {
  b[o] = v >>> 24
  b[o + 1] = v >>> 16
  b[o + 2] = v >>> 8
  b[o + 3] = v
}

export const get16 = (b, o) => (b[o] << 8) | b[o + 1]
export const get32 = (b, o) => ((b[o] << 24) | (b[o + 1] << 16) | (b[o + 2] << 8) | b[o + 3]) >>> 0

/** Not folded. */
function sum(b, from, to) {
  let s = 0
  let i = from
  for (; i + 1 < to; i += 2) s += (b[i] << 8) | b[i + 1]
  if (i < to) s += b[i] << 8
  return s
}

function putSum(b, o, s, zeroIsOnes) {
  while (s > 0xffff) s = (s & 0xffff) + Math.floor(s / 65536)
  const v = ~s & 0xffff
  put16(b, o, v === 0 && zeroIsOnes ? 0xffff : v)
}

/** Where the upper layer begins and what it is, as far as the octets let one tell; `at` -1 if they do not. */
export function upper(b, len) {
  if (len >= 20 && b[0] >>> 4 === 4) {
    const at = (b[0] & 15) * 4
    const fragment = (get16(b, 6) & 0x3fff) !== 0
    return at < 20 || at > len || fragment ? NONE : { at, end: Math.min(len, get16(b, 2)), proto: b[9] }
  }
  if (len < 40 || b[0] >>> 4 !== 6) return NONE
  const end = Math.min(len, 40 + get16(b, 4))
  let at = 40
  let proto = b[6]
  while ((proto === 0 || proto === 43 || proto === 60 || proto === 135) && at + 8 <= end) {
    proto = b[at]
    at += (b[at + 1] + 1) * 8
  }
  return at <= end ? { at, end, proto } : NONE
}
const NONE = { at: -1, end: 0, proto: -1 }

/** Makes the length field of the IP header fit. */
export function fixLength(b, len) {
  if (len >= 20 && b[0] >>> 4 === 4) put16(b, 2, len)
  else if (len >= 40 && b[0] >>> 4 === 6) put16(b, 4, len - 40)
}

/** Sets every checksum right that can be found, so that a mutated packet gets past the door. */
export function fixSums(b, len) {
  const four = b[0] >>> 4 === 4
  if (four && len >= 20) {
    const header = (b[0] & 15) * 4
    if (header >= 20 && header <= len) {
      put16(b, 10, 0)
      putSum(b, 10, sum(b, 0, header), false)
    }
  }
  const { at, end, proto } = upper(b, len)
  if (at < 0) return
  const field = proto === TCP ? 16 : proto === UDP ? 6 : proto === ICMP || proto === ICMP6 ? 2 : -1
  if (field < 0 || at + field + 2 > end) return
  let to = end
  if (proto === UDP && end - at >= 8) {
    const said = get16(b, at + 4)
    if (said >= 8 && at + said <= end) to = at + said
  }
  put16(b, at + field, 0)
  let s = sum(b, at, to)
  if (proto !== ICMP) s += proto + (to - at) + (four ? sum(b, 12, 20) : sum(b, 8, 40))
  putSum(b, at + field, s, proto === UDP)
}

export function toHex(b) {
  return Array.from(b, (x) => x.toString(16).padStart(2, '0')).join('')
}
