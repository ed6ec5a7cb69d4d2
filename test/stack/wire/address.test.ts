import t from 'tap'
import { IpAddress, ipVersion, isBadSource } from '../../../stack/wire/address.js'
import { SeededRandom } from '../../helpers/random.js'

const parse = (text: string) => IpAddress.parse(text)?.toString()

t.test('IPv4 text', async (t) => {
  for (const text of ['0.0.0.0', '10.0.0.1', '127.0.0.1', '192.168.255.1', '255.255.255.255']) {
    t.equal(parse(text), text)
    t.equal(IpAddress.parse(text)?.family, 4)
  }
  for (const text of [
    '',
    '.',
    '1',
    '1.2',
    '1.2.3',
    '1.2.3.4.5',
    '1.2.3.',
    '.1.2.3',
    '1..2.3',
    '256.1.1.1',
    '1.2.3.1000',
    '01.2.3.4',
    '1.2.3.04',
    '00.0.0.0',
    '0x1.2.3.4',
    '1.2.3.4 ',
    ' 1.2.3.4',
    '1.2.3.4\n',
    '1.2.3.-4',
    '+1.2.3.4',
    '1.2.3.4/8',
    '1e1.0.0.0',
    '١.٢.٣.٤',
    '1.2.3.4:80',
    'localhost',
    '16909060',
  ]) {
    t.equal(parse(text), undefined, JSON.stringify(text))
  }
})

t.test('IPv6 text: RFC 5952', async (t) => {
  const cases: readonly (readonly [string, string])[] = [
    ['::', '::'],
    ['::1', '::1'],
    ['1::', '1::'],
    ['0:0:0:0:0:0:0:0', '::'],
    ['2001:0db8:0000:0000:0000:0000:0000:0001', '2001:db8::1'], // 4.1: no leading zeros
    ['2001:db8:0:0:0:0:2:1', '2001:db8::2:1'], // 4.2.1: as short as can be
    ['2001:db8:0:1:1:1:1:1', '2001:db8:0:1:1:1:1:1'], // 4.2.2: not for one group
    ['2001:db8::1:1:1:1:1', '2001:db8:0:1:1:1:1:1'],
    ['2001:0:0:1:0:0:0:1', '2001:0:0:1::1'], // 4.2.3: the longest run
    ['2001:db8:0:0:1:0:0:1', '2001:db8::1:0:0:1'], // 4.2.3: the first of equals
    ['2001:DB8::ABCD', '2001:db8::abcd'], // 4.3: lower case
    ['1:2:3:4:5:6:7::', '1:2:3:4:5:6:7:0'],
    ['::2:3:4:5:6:7:8', '0:2:3:4:5:6:7:8'],
    ['1:0:0:4:5:6:0:0', '1::4:5:6:0:0'],
    ['fe80:0:0:0:1:0:0:0', 'fe80::1:0:0:0'],
    ['64:ff9b::192.0.2.33', '64:ff9b::c000:221'],
    ['::ffff:192.0.2.1', '::ffff:192.0.2.1'], // 5: IPv4-mapped in mixed notation
    ['::ffff:c000:201', '::ffff:192.0.2.1'],
    ['0:0:0:0:0:ffff:0.0.0.1', '::ffff:0.0.0.1'],
    ['ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255', 'ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff'],
  ]
  for (const [text, canonical] of cases) {
    t.equal(parse(text), canonical, text)
    t.equal(IpAddress.parse(text)?.family, 6)
  }
  for (const text of [
    ':',
    ':::',
    '::::',
    '1::2::3',
    '1:2:3:4:5:6:7',
    '1:2:3:4:5:6:7:8:9',
    '1:2:3:4:5:6:7:8::',
    '::1:2:3:4:5:6:7:8',
    ':1:2:3:4:5:6:7:8',
    '1:2:3:4:5:6:7:8:',
    '1:2:3:4:5:6:7:',
    ':1::',
    '1::2:',
    '12345::',
    'g::',
    '::g',
    '1.2.3.4::',
    '::1.2.3',
    '::1.2.3.4.5',
    '::1.2.3.256',
    '::1.2.3.4:5',
    '1:2:3:4:5:6:7:1.2.3.4',
    'fe80::1%eth0',
    '[::1]',
    '::1/128',
    ' ::1',
    '::1 ',
    '::-1',
    '::0x1',
    '::١',
    '0000:0000:0000:0000:0000:0000:0000:0000:0000:0000',
    '::ffff:255.255.255.255.255.255.255.255.255.255.255',
  ]) {
    t.equal(parse(text), undefined, JSON.stringify(text))
  }
})

t.test('IPv6 text against the URL parser of Node', async (t) => {
  const r = new SeededRandom(11)
  for (let i = 0; i < 2000; i++) {
    // Many zero groups, so that runs of every length and place come up.
    const groups = Array.from({ length: 8 }, () => (r.chance(0.55) ? 0 : r.below(65536)))
    if (groups.slice(0, 5).every((g) => g === 0) && groups[5] === 0xffff) continue
    const text = groups.map((g) => g.toString(16)).join(':')
    const expected = new URL(`http://[${text}]/`).hostname.slice(1, -1)
    const got = IpAddress.parse(text)
    if (got?.toString() !== expected) t.equal(got?.toString(), expected, text)
    const again = IpAddress.parse(expected)
    if (!(got && again?.equals(got))) t.fail(`${expected} does not read back`)
  }
  t.pass('2000 addresses')
})

t.test('any text is an address or undefined', async (t) => {
  const r = new SeededRandom(12)
  const alphabet = '0123456789abcfF:.:.%x '
  let good = 0
  for (let i = 0; i < 20_000; i++) {
    let text = ''
    for (let n = r.below(14); n > 0; n--) text += alphabet[r.below(alphabet.length)]
    const a = IpAddress.parse(text)
    if (a === undefined) continue
    good++
    if (!IpAddress.parse(a.toString())?.equals(a)) t.fail(text)
  }
  t.ok(good > 10, `${good} addresses among them`)
})

t.test('octets', async (t) => {
  const r = new SeededRandom(13)
  for (let i = 0; i < 200; i++) {
    const b = r.bytes(i % 2 ? 4 : 16)
    const a = IpAddress.fromBytes(b)
    if (a === undefined) throw new Error('length')
    t.same([...a.toBytes()], [...b])
    t.ok(IpAddress.words(a.family, a.w0, a.w1, a.w2, a.w3).equals(a))
  }
  for (const n of [0, 1, 3, 5, 15, 17]) t.equal(IpAddress.fromBytes(new Uint8Array(n)), undefined)
  const inside = new Uint8Array(40).fill(9)
  inside.set([1, 2, 3, 4], 5)
  t.equal(IpAddress.fromBytes(inside.subarray(5, 9))?.toString(), '1.2.3.4', 'a view with an offset')
})

t.test('families are told apart', async (t) => {
  const four = IpAddress.parse('192.0.2.1')
  const mapped = IpAddress.parse('::ffff:192.0.2.1')
  if (!four || !mapped) throw new Error('parse')
  t.notOk(four.equals(mapped))
  t.notOk(mapped.equals(four))
})

t.test('kinds of addresses', async (t) => {
  const kinds = ['isUnspecified', 'isMulticast', 'isLoopback', 'isLinkLocal', 'isUnicast'] as const
  const table: Record<string, readonly (typeof kinds)[number][]> = {
    '0.0.0.0': ['isUnspecified'],
    '0.1.2.3': ['isUnspecified'],
    '1.0.0.0': ['isUnicast'],
    '10.0.0.1': ['isUnicast'],
    '127.0.0.1': ['isLoopback', 'isUnicast'],
    '127.255.255.255': ['isLoopback', 'isUnicast'],
    '128.0.0.0': ['isUnicast'],
    '169.254.0.1': ['isLinkLocal', 'isUnicast'],
    '223.255.255.255': ['isUnicast'],
    '224.0.0.0': ['isMulticast'],
    '239.255.255.255': ['isMulticast'],
    '255.255.255.255': [],
    '::': ['isUnspecified'],
    '::1': ['isLoopback', 'isUnicast'],
    '::2': ['isUnicast'],
    'fe80::1': ['isLinkLocal', 'isUnicast'],
    'febf::1': ['isLinkLocal', 'isUnicast'],
    'fec0::1': ['isUnicast'],
    'ff02::1': ['isMulticast'],
    '2001:db8::1': ['isUnicast'],
    // Mapped addresses are never on a wire: RFC 4291 2.5.5.2 has them for interfaces of programs.
    '::ffff:10.0.0.1': [],
  }
  for (const [text, is] of Object.entries(table)) {
    const a = IpAddress.parse(text)
    if (a === undefined) throw new Error(text)
    t.same(
      kinds.filter((k) => a[k]),
      is,
      text,
    )
  }
})

t.test('sources that nobody has', async (t) => {
  const bad = [
    '0.0.0.0',
    '0.255.0.1',
    '127.0.0.1',
    '127.1.2.3',
    '224.0.0.1',
    '239.1.1.1',
    '240.0.0.1',
    '255.255.255.255',
    '::',
    '::1',
    'ff00::',
    'ff02::1',
    '::ffff:10.0.0.1',
    '::ffff:127.0.0.1',
  ]
  const good = [
    '1.0.0.1',
    '10.0.0.1',
    '126.255.255.255',
    '128.0.0.1',
    '169.254.1.1',
    '223.255.255.255',
    '::2',
    'fd00::1',
    'fe80::1',
    '2001:db8::1',
  ]
  const isBad = (text: string) => {
    const a = IpAddress.parse(text)
    if (a === undefined) throw new Error(text)
    return isBadSource(a.family, a.w0, a.w1, a.w2, a.w3)
  }
  for (const text of bad) t.equal(isBad(text), true, text)
  for (const text of good) t.equal(isBad(text), false, text)
})

t.test('version of a packet', async (t) => {
  t.equal(ipVersion(new Uint8Array([9, 0x45]), 1), 4)
  t.equal(ipVersion(new Uint8Array([0x60]), 0), 6)
  t.equal(ipVersion(new Uint8Array(0), 0), 0, 'of nothing')
})
