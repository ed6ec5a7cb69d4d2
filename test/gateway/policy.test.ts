import t from 'tap'
import { Policy } from '../../src/gateway/policy.js'
import { IpAddress } from '../../stack/index.js'

const own = IpAddress.parse('192.168.30.1') as IpAddress
const judge = (policy: Policy, address: string, port: number): string => {
  const d = policy.judge(IpAddress.parse(address) as IpAddress, port)
  return d.kind === 'host' ? `${d.endpoint.address}:${d.endpoint.port}` : d.kind
}

t.test('what clients may reach', (t) => {
  for (const allow of [false, true]) {
    const policy = new Policy(own, allow)
    t.equal(judge(policy, '192.168.30.1', 53), 'dns')
    t.equal(judge(policy, '192.168.30.1', 80), allow ? '127.0.0.1:80' : 'refused')
    t.equal(judge(policy, '10.1.2.3', 80), '10.1.2.3:80')
    t.equal(judge(policy, '2001:db8::1', 80), '2001:db8::1:80')
    for (const never of [
      '127.0.0.1',
      '127.8.9.10',
      '::1',
      '169.254.169.254',
      'fe80::1',
      '0.0.0.0',
      '::',
      '224.0.0.1',
      'ff02::1',
      '255.255.255.255',
      '240.0.0.1',
      '::ffff:127.0.0.1',
      '::127.0.0.1',
    ]) {
      t.equal(judge(policy, never, 80), 'refused', `${never}, allowLoopback ${allow}`)
    }
    t.equal(judge(policy, '10.1.2.3', 0), 'refused')
  }
  t.end()
})
