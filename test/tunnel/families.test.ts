import t, { type Test } from 'tap'
import { PppError } from '../../src/ppp/errors.js'
import { PppLink } from '../../src/ppp/link.js'
import type { CallError } from '../../src/transport/errors.js'
import type { TlsLink } from '../../src/transport/tls.js'
import { DialError } from '../../src/tunnel/dialer.js'
import { Families, type FamiliesHost } from '../../src/tunnel/families.js'
import { InnerNetwork } from '../../src/tunnel/inner.js'
import { advertisement, IDENTIFIER, prefixOption } from '../helpers/address-server.js'
import { SeededRandom } from '../helpers/random.js'

const OURS = Uint8Array.of(10, 9, 0, 2)
const ENDED = new PppError('ipcp', 'TERMINATED', 'the server ended IPCP')
const RA = advertisement([prefixOption({ prefix: '2001:db8:1::' })])
const random = new SeededRandom(5).fill

/** A call that is up. */
function call(t: Test) {
  const inner = new InnerNetwork({ mtu: 1400, random, now: () => 0 })
  const ppp = new PppLink({ role: 'client', random, user: '', password: '', auth: [] })
  const failed: CallError[] = []
  const told: string[] = []
  const host: FamiliesHost = {
    step: 'ip',
    connected: true,
    up: true,
    options: {},
    link: {} as TlsLink,
    ppp,
    carry: () => void told.push('carry'),
    maybeUp: () => void told.push('maybe up'),
    onChanged() {},
    fail: (error) => void failed.push(error),
  }
  const options = { host: '', port: 443, user: '', password: '' }
  const families = new Families(options, inner, ppp, host, '', random)
  t.teardown(() => inner.close(new DialError('aborted', 'over')))
  return { inner, families, failed, told }
}

/** With IPv4, and somebody who is about to connect to `10.9.0.1`. */
function ipv4Call(t: Test) {
  const made = call(t)
  const { families, inner } = made
  families.ipv4Up(OURS, undefined, [], 0)
  const dialled = inner.sockets.connect({ address: '10.9.0.1', port: 7 }).then(
    () => 'connected',
    (error: DialError) => error.code,
  )
  return { ...made, dialled }
}

t.test('IPv6 is there first: IPv4 gets a moment, and no more', async (t) => {
  const late = call(t)
  late.families.ipv6Up(IDENTIFIER, 1000)
  t.equal(late.families.graceEnds, 1500)
  late.families.handleTimeout(1499)
  t.same(late.told, [])
  late.families.handleTimeout(1500)
  t.same(late.told, ['carry', 'maybe up'])
  const soon = call(t)
  soon.families.ipv6Up(IDENTIFIER, 1000)
  soon.families.ipv4Up(OURS, undefined, [], 1499)
  t.equal(soon.families.graceEnds, Number.POSITIVE_INFINITY)
  t.same(soon.told, ['carry'])
  const never = call(t)
  never.families.ipv4Down(ENDED)
  never.families.ipv6Up(IDENTIFIER, 1000)
  t.same(never.told, ['carry', 'maybe up'], 'nothing is left to wait for')
})

t.test('IPv4 ends in a call that lives on with IPv6: so do its connections, at once', async (t) => {
  const { inner, families, failed, dialled } = ipv4Call(t)
  families.ipv6Up(IDENTIFIER, 0)
  inner.stack.unclaimed?.(RA, 0, RA.length, 0)
  t.match(families.ipv6, /^2001:db8:1:/)
  families.ipv4Down(undefined)
  t.equal(inner.ipv4, '10.9.0.2', 'negotiated anew, or the end: it may be given again')
  families.ipv4Down(ENDED)
  t.equal(inner.ipv4, undefined)
  inner.sockets.dispatch(0)
  const later = new Promise((resolve) => setImmediate(resolve, 'still waiting'))
  t.equal(await Promise.race([dialled, later]), 'tunnel-down')
  t.same(failed, [])
})

t.test('IPv4 ends, and with it the call: the next one may have the same address', async (t) => {
  const { inner, families, failed } = ipv4Call(t)
  families.ipv6Down(new PppError('ipv6cp', 'REJECTED', 'the server rejects IPV6CP'))
  families.ipv4Down(ENDED)
  t.match(failed, [{ kind: 'lost' }])
  t.equal(inner.ipv4, '10.9.0.2')
})
