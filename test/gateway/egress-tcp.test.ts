import t from 'tap'
import { socketError } from '../../src/gateway/egress-tcp.js'

t.test('what the system says, in the words of ICMP; what we lack ourselves is silence', (t) => {
  const said = (code: string): string => socketError(Object.assign(new Error(code), { code }))
  t.equal(said('ECONNREFUSED'), 'refused')
  t.equal(said('ENETUNREACH'), 'network-unreachable')
  t.equal(said('EHOSTUNREACH'), 'host-unreachable')
  t.equal(said('EACCES'), 'prohibited')
  for (const ours of ['ETIMEDOUT', 'EMFILE', 'ENFILE', 'ENOBUFS']) t.equal(said(ours), 'timed-out', ours)
  t.equal(said('EWHATEVER'), 'refused')
  t.end()
})
