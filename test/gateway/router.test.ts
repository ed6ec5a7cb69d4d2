import { createServer } from 'node:net'
import { networkInterfaces } from 'node:os'
import t from 'tap'
import { makeCertificate } from '../../src/gateway/certificate.js'
import { listenGateway } from '../../src/gateway/gateway.js'
import { ClientRouter, type Ipv6Plan, ipv6Plan } from '../../src/gateway/router.js'
import { openTunnel } from '../../src/tunnel/session.js'
import { neighbourSolicitation } from '../helpers/address-server.js'
import { Host } from '../helpers/host.js'
import { hex, icmp, toHex } from '../helpers/ip-packet.js'

const PREFIX = 'fd12:3456:789a:1::/64'
const OWN = 'fd12:3456:789a:1::1'

function plan(): Ipv6Plan {
  const made = ipv6Plan(PREFIX)
  if (made === undefined) throw new Error('no plan')
  return made
}

t.test('prefixes that clients can have', async (t) => {
  t.equal(plan().own.toString(), OWN)
  t.ok(ipv6Plan('2001:db8::/64'))
  const bad = [
    'fd12::/48',
    'fd12::',
    'fd12::1/64',
    'fe80::/64',
    'ff02::/64',
    '::/64',
    '10.0.0.0/64',
    'x/64',
    'fd12::/64/1',
  ]
  for (const text of bad) t.equal(ipv6Plan(text), undefined, text)
})

t.test('what the router says, and how often', async (t) => {
  const host = new Host({ anyAddress: true }, [])
  const router = new ClientRouter(host.stack, plan())
  const rs = icmp({ src: 'fe80::9', dst: 'ff02::2', type: 133 }, new Uint8Array(0), { ttl: 255 })
  t.equal(host.answer(rs).length, 0, 'not before IPV6CP')
  router.up(hex('0000000000000001'), host.now)
  const [ra, more] = host.output()
  t.equal(more, undefined)
  t.match(ra, { src: 'fe80::1', dst: 'ff02::1', ttl: 255 })
  t.equal(
    toHex(ra?.payload.subarray(4) ?? new Uint8Array(0)),
    `40000708${'00'.repeat(8)}03044040${'00015180'.repeat(2)}00000000fd123456789a0001${'00'.repeat(8)}` +
      `1903000000015180fd123456789a0001${'00'.repeat(7)}01`,
  )
  t.equal(host.answer(rs).length, 0, 'too soon')
  host.now += 1000
  router.handleTimeout(host.now)
  t.equal(host.output().length, 1, 'but not forgotten')
  host.now += 1000
  t.equal(host.answer(rs).length, 1)
  let count = 0
  for (let i = 0; i < 10; i++) {
    host.now = router.nextTimeout()
    router.handleTimeout(host.now)
    count += host.output().length
  }
  t.equal(count, 10)
  t.equal(router.nextTimeout() - host.now, 600_000)
  const far = icmp({ src: 'fe80::9', dst: 'ff02::2', type: 133 }, new Uint8Array(0), { ttl: 64 })
  host.now += 5000
  t.equal(host.answer(far).length, 0)
  for (const target of ['fe80::1', OWN]) {
    const [na] = host.answer(neighbourSolicitation({ src: 'fe80::9', dst: target, target }))
    t.match(na, { src: target, dst: 'fe80::9', ttl: 255 })
    t.equal(toHex(na?.payload.subarray(0, 8) ?? new Uint8Array(0)).slice(8), 'e0000000')
  }
  t.equal(host.answer(neighbourSolicitation({ dst: 'fe80::1', target: 'fe80::2' })).length, 0)
  router.down()
  t.equal(host.answer(rs).length, 0)
  t.equal(router.nextTimeout(), Number.POSITIVE_INFINITY)
})

t.test('a client gets an address of the prefix, and reaches the host by it', async (t) => {
  const { cert, key, sha256 } = await makeCertificate()
  const gateway = await listenGateway({
    address: '127.0.0.1',
    port: 0,
    cert,
    key,
    accounts: { password: () => 'secret' },
    allowLoopback: true,
    ipv6Prefix: PREFIX,
  })
  let changed = (): void => {}
  const known = new Promise<void>((resolve) => {
    changed = resolve
  })
  const tunnel = await openTunnel({
    host: '127.0.0.1',
    port: gateway.port,
    user: 'alice',
    password: 'secret',
    trust: { pin: sha256 },
    onEvent: (event) => event.type === 'changed' && event.info.ipv6 !== undefined && changed(),
  })
  if (tunnel.info.ipv6 === undefined) await known
  t.match(tunnel.info.ipv6, /^fd12:3456:789a:1:/)
  t.match(tunnel.info, { ipv4: '192.168.30.2', dns: ['192.168.30.1', OWN] })
  t.same(tunnel.families, { ipv4: true, ipv6: true })
  t.equal((await tunnel.ping(OWN)).size, 56)
  // A host without IPv6 cannot show more than that it says so.
  const hasV6 = Object.values(networkInterfaces()).some((list) => list?.some((a) => a.address === '::1'))
  const server = createServer((socket) => socket.on('error', () => {}).end('hello'))
  await new Promise<void>((resolve) => server.listen(0, hasV6 ? '::1' : '127.0.0.1', resolve))
  const at = server.address()
  const port = at !== null && typeof at === 'object' ? at.port : 0
  const connecting = tunnel.connect({ address: OWN, port })
  if (hasV6) {
    const flow = await connecting
    const text = await new Promise<string>((resolve) => {
      let got = ''
      const read = (): void => {
        for (let v = flow.peek(); v.length > 0; v = flow.peek()) {
          got += Buffer.from(v).toString()
          flow.consume(v.length)
        }
        if (flow.ended) resolve(got)
      }
      flow.handler = { onReadable: read, onWritable() {}, onClose: () => resolve(got) }
      read()
    })
    t.equal(text, 'hello')
    flow.reset()
  } else await t.rejects(connecting)
  await t.rejects(tunnel.connect({ address: 'fe80::1', port }), 'link-local of the host is nobody’s business')
  await tunnel.close()
  await gateway.close()
  server.close()
})
