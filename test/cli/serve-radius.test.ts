import { join } from 'node:path'
import t from 'tap'
import { World } from '../helpers/world.js'

t.test('--radius arrives at the gateway, and its secret nowhere else', async (t) => {
  const dir = t.testdir({ secret: 's3cret-Zq7\n' })
  const world = new World()
  world.env = { HOME: dir }
  world.onReady = () => world.signal('SIGTERM')
  const radius = ['--radius', 'a', '--radius', '[::1]:1645', '--radius-secret-file', join(dir, 'secret')]
  t.equal(await world.run('serve', ...radius, '--radius-nas', 'gate', '--radius-timeout', '2', '--json'), 0)
  const secret = Buffer.from('s3cret-Zq7')
  t.match(world.gateways, [
    {
      radius: {
        servers: [
          { host: 'a', port: 1812, secret },
          { host: '::1', port: 1645, secret },
        ],
        accounting: [
          { host: 'a', port: 1813 },
          { host: '::1', port: 1646 },
        ],
        timeout: 2000,
        nasIdentifier: 'gate',
      },
    },
  ])
  t.equal(world.gateways[0]?.accounts.password('alice'), undefined)
  t.notMatch(world.out + world.err, /Zq7/)
})

t.test('a secret that cannot be read', async (t) => {
  const dir = t.testdir({})
  const world = new World()
  world.env = { HOME: dir }
  t.equal(await world.run('serve', '--radius', 'a', '--radius-secret-file', join(dir, 'none')), 2)
  t.match(world.err, /--radius-secret-file: .*none/)
  t.equal(world.gateways.length, 0)
})

t.test('neither accounts nor RADIUS, or both', async (t) => {
  const world = new World()
  t.equal(await world.run('serve'), 2)
  t.match(world.err, /--accounts: is required.*or --radius/)
  const both = new World()
  t.equal(await both.run('serve', '--radius', 'a', '--radius-secret-file', 'f', '--accounts', 'f'), 2)
  t.match(both.err, /--radius: contradicts --accounts/)
})
