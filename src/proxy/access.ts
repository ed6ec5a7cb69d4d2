/** Who may use the proxies, by the address that a client comes from. */
import { BlockList, isIPv4, isIPv6 } from 'node:net'

export interface AddressRange {
  readonly address: string
  readonly prefix: number
}

/** `address/prefix`, or an address alone; undefined if it is neither. */
export function parseRange(text: string): AddressRange | undefined {
  const [, address = '', digits] = /^([0-9A-Fa-f:.]+)(?:\/(0|[1-9][0-9]{0,2}))?$/.exec(text) ?? []
  const bits = isIPv4(address) ? 32 : isIPv6(address) ? 128 : undefined
  if (bits === undefined) return undefined
  const prefix = digits === undefined ? bits : Number(digits)
  return prefix <= bits ? { address, prefix } : undefined
}

/** Says whether an address (as a socket has it, IPv4 perhaps in IPv6) is in one of the ranges. */
export function addressFilter(ranges: readonly AddressRange[]): (address: string) => boolean {
  const list = new BlockList()
  for (const { address, prefix } of ranges) {
    list.addSubnet(address, prefix, isIPv4(address) ? 'ipv4' : 'ipv6')
  }
  return (given) => {
    const [address = ''] = given.replace(/^::ffff:(?=[0-9.]+$)/i, '').split('%', 1)
    if (isIPv4(address)) return list.check(address, 'ipv4')
    return isIPv6(address) && list.check(address, 'ipv6')
  }
}
