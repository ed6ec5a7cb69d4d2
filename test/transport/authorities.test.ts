/** The stores of a system, made up; and that the real one is found without harm. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { rootCertificates } from 'node:tls'
import t from 'tap'
import { findAuthorities, systemTrust } from '../../src/transport/authorities.js'
import { issue } from '../helpers/certificates.js'

const [a, b, c] = [
  issue({ name: 'a', ca: true }),
  issue({ name: 'b', ca: true }),
  issue({ name: 'c', ca: true }),
]

t.test('bundle, variables, extra file, the system itself', async (t) => {
  const known = rootCertificates[0] ?? ''
  const directory = t.testdir({
    bundle: `${a.cert}${known}\n${a.cert}`,
    second: b.cert,
    extra: `${c.cert}-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n`,
    folder: { one: a.cert, two: b.cert, three: 'text', deep: {} },
  })
  const at = (name: string): string => join(directory, name)
  const none = { env: {}, bundles: [], ask: undefined }
  t.same(await findAuthorities(none), [])
  t.same(
    await findAuthorities({ ...none, bundles: [at('missing'), at('bundle'), at('second')] }),
    [a.cert],
    'the first that is there; what Node knows and doubles are left out',
  )
  t.same(await findAuthorities({ ...none, env: { NODE_EXTRA_CA_CERTS: at('extra') } }), [c.cert])
  t.same(
    await findAuthorities({
      env: { SSL_CERT_FILE: at('second') },
      bundles: [at('bundle')],
      ask: () => [c.cert],
    }),
    [b.cert],
    'they replace what the system has',
  )
  const env = { SSL_CERT_DIR: `${at('folder')}:${at('nowhere')}` }
  t.same(await findAuthorities({ ...none, env }), [a.cert, b.cert])
  const types: string[] = []
  const ask = (type: string): string[] => {
    types.push(type)
    return [b.cert]
  }
  t.same(await findAuthorities({ ...none, ask, bundles: [at('bundle')] }), [b.cert], 'a Node that can ask')
  t.same(types, ['system'])
  const broken = (): never => {
    throw new Error('no store')
  }
  t.same(await findAuthorities({ ...none, ask: broken }), [])
  writeFileSync(at('large'), Buffer.alloc(8_388_609))
  t.same(await findAuthorities({ ...none, bundles: [at('large'), directory] }), [])
})

t.test('this system', async (t) => {
  const { ca, context } = await systemTrust()
  t.ok(context)
  t.equal((await systemTrust()).context, context, 'made once')
  if (ca !== undefined) t.ok(ca.length > rootCertificates.length, 'Node’s own, and more')
})
