import t from 'tap'
import { parseSettings, serveSchema } from '../../src/config/schema.js'

t.test('serve --ipv6-prefix', async (t) => {
  const parse = (ipv6Prefix?: string) =>
    parseSettings(serveSchema, {
      accounts: 'accounts.txt',
      ...(ipv6Prefix === undefined ? {} : { ipv6Prefix }),
    }).ipv6Prefix
  t.equal(parse(), undefined)
  t.equal(parse('fd12:3456:789a:1::/64'), 'fd12:3456:789a:1::/64')
  for (const bad of ['fd12::/48', 'fe80::/64', '10.0.0.0/24']) {
    t.throws(() => parse(bad), { message: /ipv6-prefix.*64 bits|64 bits/ }, bad)
  }
})
