import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { HostsFile, parseHosts } from '../../src/dns/hosts.js'
import { candidates, searchDomains } from '../../src/dns/search.js'
import { VirtualClock } from '../helpers/virtual-clock.js'

t.test('hosts(5)', async (t) => {
  const { addresses, names, badLines } = parseHosts(
    [
      '# a comment',
      '10.0.0.1  Host.Example host\t# and more',
      '10.0.0.2 host',
      '10.0.0.2 host',
      '2001:0DB8::1 host',
      '127.0.0.1 localhost me x.localhost',
      '',
      '10.0.0.300 bad',
      'name first',
      '10.0.0.3',
      '10.0.0.4 fine a..b',
      '   fe80::1%lo0 localhost\r',
    ].join('\n'),
  )
  t.same(Object.fromEntries(addresses), {
    'host.example': ['10.0.0.1'],
    host: ['10.0.0.1', '10.0.0.2', '2001:db8::1'],
    me: ['127.0.0.1'],
    fine: ['10.0.0.4'],
  })
  t.equal(names.get('1.0.0.10.in-addr.arpa'), 'host.example', 'the first name is the one')
  t.equal(names.get('1.0.0.127.in-addr.arpa'), 'me')
  t.same(badLines, [8, 9, 10, 11, 12])
  t.throws(() => parseHosts('10.0.0.1 a b c d e f g h\n'.repeat(40_000)), /more than 200000 names/)
  t.equal(parseHosts('\0'.repeat(10_000)).addresses.size, 0)
})

t.test('a file that changes', async (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'hosts-'))
  t.teardown(() => rmSync(dir, { recursive: true }))
  const path = join(dir, 'hosts')
  writeFileSync(path, '10.0.0.1 a\n2001:db8::1 a\n')
  const clock = new VirtualClock()
  const reloads: string[] = []
  const file = new HostsFile(path, {
    clock,
    onReload: (table, error) => reloads.push(error === undefined ? `${table.addresses.size}` : 'error'),
  })
  t.same(file.get('a', 'A'), ['10.0.0.1'])
  t.same(file.get('a', 'AAAA'), ['2001:db8::1'])
  t.equal(file.get('b', 'A'), undefined)
  t.same(file.get('1.0.0.10.in-addr.arpa', 'PTR'), ['a'])
  t.equal(file.get('2.0.0.10.in-addr.arpa', 'PTR'), undefined)

  // Changed before the first look.
  writeFileSync(path, '10.0.0.2 a\n10.0.0.3 b\n')
  await file.refresh()
  t.same(file.get('a', 'A'), ['10.0.0.1'], 'not looked at for each question')
  await clock.advance(2_000)
  await Promise.all([file.refresh(), file.refresh()])
  t.same(file.get('a', 'A'), ['10.0.0.2'])
  t.same(file.get('a', 'AAAA'), [], 'known, and without one')

  rmSync(path)
  for (let i = 0; i < 2; i++) {
    await clock.advance(2_000)
    await file.refresh()
  }
  t.same(file.get('b', 'A'), ['10.0.0.3'], 'what it said holds')
  writeFileSync(`${path}.new`, '10.0.0.4 b\n')
  renameSync(`${path}.new`, path)
  await clock.advance(2_000)
  await file.refresh()
  t.same(file.get('b', 'A'), ['10.0.0.4'])
  t.equal(file.get('a', 'A'), undefined)
  await clock.advance(2_000)
  await file.refresh()
  t.same(reloads, ['2', 'error', '1'], 'each change is told once')
  t.throws(() => new HostsFile(join(dir, 'none')), { code: 'ENOENT' })
})

t.test('what a short name may stand for', async (t) => {
  t.same(searchDomains(['Corp.Example.', 'corp.example', 'bad domain', 'x.onion', '.', 'home', 'a.local']), [
    'corp.example',
    'home',
    'a.local',
  ])
  t.equal(searchDomains(Array.from({ length: 9 }, (_, i) => `d${i}.example`)).length, 6)
  const domains = ['a.example', 'b.example']
  t.same(candidates('host', 'host', domains), ['host.a.example', 'host.b.example', 'host'])
  t.same(candidates('host.', 'host', domains), ['host'])
  t.same(candidates('x.host', 'x.host', domains), ['x.host', 'x.host.a.example', 'x.host.b.example'])
  t.same(candidates('x.host', 'x.host', domains, 2), ['x.host.a.example', 'x.host.b.example', 'x.host'])
  t.same(candidates('host', 'host', domains, 0), ['host', 'host.a.example', 'host.b.example'])
  const long = `${'x'.repeat(62)}.`.repeat(4).slice(0, -1)
  t.same(candidates(long, long, domains), [long], 'not beyond what a message can hold')
})
