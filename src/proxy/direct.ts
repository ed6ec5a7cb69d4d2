/** The network of this computer itself, past the tunnel: ordinary sockets and the system's resolver. */
import { lookup, reverse } from 'node:dns/promises'
import { connect } from 'node:net'
import { networkInterfaces } from 'node:os'
import { type Clock, systemClock } from '../dns/clock.js'
import { classifyHost, isOrdinaryAddress, normalizeAddress, normalizeName } from '../dns/names.js'
import { DialError, type Dialer, type DialOptions, type Endpoint, type Flow } from '../tunnel/dialer.js'
import { raceAddresses, within } from './address-race.js'
import { DirectDatagrams } from './direct-datagrams.js'
import { DirectFlow, directError, directNameError, HIGH_WATER } from './direct-flow.js'
import type { DirectGate } from './direct-gate.js'
import { isLocalhost, type TransportProtocol } from './rules.js'

/** The system's names. Rejects with Node's errors. */
export interface SystemResolver {
  lookup(name: string): Promise<readonly string[]>
  reverse(address: string): Promise<readonly string[]>
}

export interface DirectOptions {
  /**
   * Whether an address may be reached, and from which name it came, if any. Default: {@link isOrdinaryAddress},
   * so neither this machine nor its links.
   */
  readonly allow?: (
    address: string,
    port: number,
    protocol: TransportProtocol,
    name: string | undefined,
  ) => boolean
  /** Where this process listens: never dialled, it would go round in circles. */
  readonly own?: () => readonly Endpoint[]
  readonly resolver?: SystemResolver
  /** All addresses of this machine. */
  readonly addresses?: () => readonly string[]
  readonly clock?: Clock
}

const SYSTEM: SystemResolver = {
  lookup: async (name) => (await lookup(name, { all: true })).map(({ address }) => address),
  reverse,
}

export function createDirectDialer(options: DirectOptions = {}): Dialer {
  const { resolver = SYSTEM, clock = systemClock } = options
  const allow = options.allow ?? ((address: string) => isOrdinaryAddress(address))
  const machine = options.addresses ?? (() => machineAddresses())

  const gate: DirectGate = {
    check(address, port, protocol, name) {
      const at = address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`
      if (isOwnPort(options.own?.() ?? [], address, port, machine))
        throw new DialError('not-allowed', `${at} is this program itself`)
      if (allow(address, port, protocol, name)) return
      const from = name === undefined ? '' : ` (an address of ${name})`
      const message = `${at}${from} is this computer or its own link: only a rule that names it, such as "direct ${at}", allows that`
      throw new DialError('not-allowed', message)
    },

    classify(text) {
      const known = normalizeName(text)
      // RFC 6761 6.3: no resolver is asked.
      if (known !== undefined && isLocalhost(known)) return { name: known, list: LOCALHOST }
      // The system may know multicast DNS.
      const host = classifyHost(text, { claimed: ['local'] })
      if (host.kind === 'bad') throw new DialError(host.code, host.message)
      return host.kind === 'address'
        ? { name: undefined, list: [host.address] }
        : { name: host.name, list: undefined }
    },

    async lookup(name, { timeout = DIAL_TIMEOUT, signal }) {
      const late = (): DialError => directNameError({ name: '', message: '', code: 'ETIMEOUT' }, name)
      const limits = { timeout, ...(signal === undefined ? {} : { signal }) }
      const found = await within(resolver.lookup(name), limits, clock, late).catch((error: unknown) => {
        throw error instanceof DialError ? error : directNameError(error as Error, name)
      })
      const list = new Set(found.map(normalizeAddress).filter((address) => address !== undefined))
      if (list.size === 0) throw directNameError({ name: '', message: '', code: 'ENODATA' }, name)
      return [...list]
    },
  }

  async function addressesOf(host: string, dial: DialOptions) {
    const { name, list } = gate.classify(host)
    return { name, list: list ?? (await gate.lookup(name ?? host, dial)) }
  }

  return {
    async dial(to, dial = {}) {
      if (dial.signal?.aborted) throw new DialError('aborted', 'given up')
      if (!Number.isInteger(to.port) || to.port < 1 || to.port > 65535)
        throw new DialError('not-allowed', `${to.port} is not a port to connect to`)
      const { timeout = DIAL_TIMEOUT } = dial
      const deadline = clock.now() + timeout
      const { name, list } = await addressesOf(to.host, { ...dial, timeout })
      let refusal: unknown
      const addresses = list.filter((address) => {
        try {
          gate.check(address, to.port, 'tcp', name)
          return true
        } catch (error) {
          refusal = error
          return false
        }
      })
      if (addresses.length === 0) throw refusal
      const left = Math.max(1, deadline - clock.now())
      return raceAddresses({
        name: name ?? to.host,
        addresses,
        port: to.port,
        timeout: left,
        clock,
        ...(dial.signal === undefined ? {} : { signal: dial.signal }),
        connect: (at, options) => connectDirect(at, { timeout: left, ...options }, clock),
      })
    },

    resolve: async (host, dial = {}) => (await addressesOf(host, dial)).list,

    async reverse(text, { timeout = DIAL_TIMEOUT, signal } = {}) {
      const address = normalizeAddress(text)
      if (address === undefined)
        throw new DialError('name-invalid', `${JSON.stringify(text)} is not an address`)
      const late = (): DialError => directNameError({ name: '', message: '', code: 'ETIMEOUT' }, address)
      const limits = { timeout, ...(signal === undefined ? {} : { signal }) }
      const names = await within(resolver.reverse(address), limits, clock, late).catch((error: unknown) => {
        throw error instanceof DialError ? error : directNameError(error as Error, address)
      })
      for (const name of names) {
        const normal = normalizeName(name)
        if (normal !== undefined) return normal
      }
      throw directNameError({ name: '', message: '', code: 'ENODATA' }, address)
    },

    openDatagrams: (datagrams = {}) => new DirectDatagrams(gate, datagrams, clock),

    listen() {
      throw new DialError('not-allowed', 'connections are taken at the address of the tunnel only')
    },
  }
}

/** A connection by an ordinary socket. Rejects with {@link DialError}. */
export function connectDirect(
  to: Endpoint,
  { timeout, signal }: DialOptions & { readonly timeout: number },
  clock: Clock,
): Promise<Flow> {
  return new Promise((resolve, reject) => {
    const options = {
      host: to.address,
      port: to.port,
      allowHalfOpen: true,
      noDelay: true,
      keepAlive: true,
      keepAliveInitialDelay: KEEP_ALIVE,
      writableHighWaterMark: HIGH_WATER,
    }
    const socket = connect(options)
    const settle = (): void => {
      cancel()
      signal?.removeEventListener('abort', onAbort)
      socket.off('connect', onConnect)
      socket.off('error', onError)
    }
    const giveUp = (error: DialError): void => {
      settle()
      socket.on('error', () => {})
      socket.destroy()
      reject(error)
    }
    const onConnect = (): void => {
      settle()
      resolve(new DirectFlow(socket, to))
    }
    const onError = (error: Error): void => giveUp(directError(error, to))
    const onAbort = (): void => giveUp(new DialError('aborted', 'given up'))
    const cancel = clock.setTimer(() => giveUp(directError(TIMED_OUT, to)), timeout)
    socket.once('connect', onConnect)
    socket.once('error', onError)
    if (signal?.aborted) onAbort()
    else signal?.addEventListener('abort', onAbort)
  })
}

/** Whether this process itself would take what is sent there. */
export function isOwnPort(
  own: readonly Endpoint[],
  address: string,
  port: number,
  machine: () => readonly string[],
): boolean {
  return own.some((listener) => listener.port === port && listensAt(listener.address, address, machine))
}

/** Whether a socket that listens at `own` takes what is sent to `address` on this machine. */
function listensAt(own: string, address: string, machine: () => readonly string[]): boolean {
  const everywhere = UNSPECIFIED.has(address)
  if (own === address) return true
  if (own === 'localhost') return everywhere || LOCALHOST.includes(address)
  if (UNSPECIFIED.has(own))
    return everywhere || address.startsWith('127.') || address === '::1' || machine().includes(address)
  return everywhere && (own.startsWith('127.') || own === '::1')
}

let lastAddresses: readonly string[] = []

/** Of all interfaces. While the system does not say (no descriptor is left), those that it said last. */
export function machineAddresses(interfaces = networkInterfaces): readonly string[] {
  try {
    lastAddresses = Object.values(interfaces()).flatMap((list) => list?.map(({ address }) => address) ?? [])
  } catch {}
  return lastAddresses
}

const UNSPECIFIED: ReadonlySet<string> = new Set(['0.0.0.0', '::'])
const LOCALHOST = ['127.0.0.1', '::1']
const TIMED_OUT: NodeJS.ErrnoException = Object.assign(new Error('no answer'), { code: 'ETIMEDOUT' })
const DIAL_TIMEOUT = 30_000
const KEEP_ALIVE = 60_000
