/**
 * Programs that people use, as Debian has them, through the bridge to real servers behind `sstp-socks serve`. What is
 * typed is what docs/programs.md says, to the letter: each test types the lines of the row that names it. Needs root.
 */
import { existsSync, readFileSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { exits, type Finished, must } from './process.js'
import { Chromium } from './programs/chromium.js'
import { bridgeLine, type Row, rows } from './programs/page.js'
import { DOWNLOAD, HUGE_TEXT, LARGE, LONG_TEXT, startServers, TREASURE } from './programs/servers.js'
import { World } from './programs/world.js'

const FILE = 'test/interop/programs.interop.ts'
/** What npm brings for the rows that use it; the bridge itself needs none of it. */
const PACKAGES = ['socks@2.8.10', 'socks-proxy-agent@10.1.0', 'socksv5@0.0.6', 'undici@6.29.1']

const NODE24 = `node-${process.platform}-${process.arch}`
const HELLO = 'hello from inside over http\n'
const SECURE_HELLO = 'hello from inside over https\n'

const world = await World.open()
t.teardown(() => world.close())
const quiet = ['--no-audit', '--no-fund', '--no-save', '--loglevel=error']
const ready = [
  startServers(world),
  must('npm', ['install', ...quiet, '--prefix', world.dir, ...PACKAGES, `${NODE24}@24.18.0`]),
]
// Who fails does so when the others have come to rest, so that nothing is left.
await Promise.allSettled(ready)
await Promise.all(ready)
symlinkSync(join(world.dir, 'node_modules', NODE24, 'bin/node'), join(world.dir, 'bin/node24'))
const { daemon: bridge } = await world.bridge(bridgeLine())
t.teardown(() => {
  if (!t.passing()) t.comment(`the bridge said:\n${bridge.said}`)
})

const untyped = new Map(rows().flatMap((row) => (row.file === FILE ? [[row.test, row]] : [])))
let folders = 0

/** The row that names this test. */
function take(name: string): Row {
  const row = untyped.get(name)
  if (row === undefined) throw new Error(`no row for "${name}"`)
  untyped.delete(name)
  return row
}

/** Nothing has left by another way since the last test. */
async function tunnelOnly(t: Test): Promise<void> {
  const { packets, destinations } = await world.leaks()
  t.equal(packets, 0, `nothing left outside the tunnel${destinations}`)
  if (packets > 0) await world.forgive()
}

/** Types the lines of a row in a directory of its own, wants status 0, and has a look at what came. */
function program(name: string, check: (t: Test, done: Finished, folder: string) => unknown): void {
  const row = take(name)
  t.test(name, async (t) => {
    const folder = world.folder(`home/work-${folders++}`)
    world.file(`home/work-${folders - 1}/large.bin`, LARGE)
    const done = await world.type(row.lines.join('\n'), folder)
    exits(t, done, 0, row.program)
    await check(t, done, folder)
    await tunnelOnly(t)
  })
}

/** The same for chromium, which stays: pages, a WebSocket and a download by this proxy setting. */
function browser(name: string): void {
  const row = take(name)
  t.test(name, async (t) => {
    const profile = world.folder(`home/profile-${folders}`)
    const downloads = world.folder(`home/downloads-${folders++}`)
    const chromium = new Chromium(world, row.lines.join('\n'), profile)
    t.teardown(() => chromium.end())
    const tab = await chromium.tab()
    for (const scheme of ['http', 'https']) {
      t.equal(await chromium.load(tab, `${scheme}://web.inside/page`), undefined, `${scheme}: the page loads`)
      const expected = `rgb(1, 2, 3) | ${scheme} | 300000 | 20 | over the tunnel`
      const found = await chromium.evaluate(tab, 'document.querySelector("#result").textContent')
      t.equal(found, expected, `${scheme}: style, script, requests, a download in the page, a WebSocket`)
    }
    const got = await chromium.download(tab, 'http://web.inside/download', downloads)
    t.same(got, { name: 'inside.bin', state: 'completed' }, 'the download is complete')
    t.ok(DOWNLOAD.equals(readFileSync(join(downloads, 'inside.bin'))), 'with every octet')
    const gone = await chromium.load(tab, 'http://nowhere.inside/')
    t.ok(
      gone === undefined || gone.startsWith('net::'),
      `a name that is not there: ${gone ?? 'a page says so'}`,
    )
  })
}

/** In any order. */
const bothHellos = (t: Test, { stdout }: Finished): void => {
  t.same(stdout.split('\n\n').sort(), [HELLO, SECURE_HELLO, ''].map((text) => text.trim()).sort())
}
const says = (text: string | RegExp) => (t: Test, done: Finished) => void t.match(done.stdout, text)
const copies = (name: string) => (t: Test, _: Finished, folder: string) => {
  const path = join(folder, name)
  t.ok(existsSync(path) && LARGE.equals(readFileSync(path)), `${name} has every octet`)
}

t.test('nothing but the tunnel leads to the servers', async (t) => {
  const folder = world.folder('home/direct')
  for (const host of ['10.77.0.10', '[fd77::10]']) {
    const done = await world.type(`curl -sS --max-time 5 http://${host}/`, folder)
    exits(t, done, 7, `${host} without a proxy`)
  }
  exits(
    t,
    await world.type('curl -sS --max-time 5 http://web.inside/', folder),
    6,
    'the name without a proxy',
  )
  const { packets, destinations } = await world.leaks()
  t.ok(packets > 0, `the kernel has seen and refused ${packets} packets: ${destinations}`)
  await world.forgive()
})

program('curl: socks5h', says(HELLO))
program('curl: socks5', says(HELLO))
program('curl: socks5h to an IPv6 address', says(HELLO))
program('curl: socks4a', says(HELLO))
program('curl: socks4', says(HELLO))
program('curl: http', says(HELLO))
program('curl: http, to an https address', says(SECURE_HELLO))
program('curl: a unix socket', says(HELLO))
program('curl: an upload, with Expect: 100-continue', (t, done, folder) => {
  t.equal(done.stdout, 'PUT')
  copies('back.bin')(t, done, folder)
})
program('curl: an upload in chunks', copies('back.bin'))
program('curl: ALL_PROXY', says(HELLO + SECURE_HELLO))
program('wget: http_proxy and https_proxy', says(HELLO + SECURE_HELLO))
browser('chromium: an HTTP proxy')
browser('chromium: a SOCKS5 proxy')
browser('chromium: the PAC file')

program('ssh: nc -X 5', says(TREASURE))
program('ssh: nc -X connect', says(TREASURE))
program('ssh: sstp-socks nc', says(TREASURE))
program('ssh: --stdio', says(TREASURE))
program('scp: nc -X 5, there and back', copies('copy.bin'))
program('sftp: nc -X 5', copies('copy.bin'))
program('scp and sftp: --stdio and sstp-socks nc', copies('copy.bin'))
program('git: a clone over HTTP through SOCKS5', copies('demo/large.bin'))
program('git: a clone and a push over HTTPS through the HTTP proxy', (t, done, folder) => {
  copies('demo/large.bin')(t, done, folder)
  t.match(done.stdout, /^[0-9a-f]{40}\trefs\/heads\/more$/m, 'the server has what was pushed')
})
program('git: a clone over ssh', copies('demo/large.bin'))

program('psql: -L', says(TREASURE))
program('redis-cli: -L', says('OK\nthird palm\n'))
program('smbclient: a share, listed and fetched from through -L', (t, done, folder) => {
  t.match(done.stdout, /^\ttreasures +Disk/m, 'the share')
  t.match(done.stdout, /^ {2}treasure\.txt /m, 'what is in it')
  t.match(done.stderr, /putting file large\.bin/, 'and a file put there')
  copies('large.bin')(t, done, folder)
})
program('psql: through proxychains', says(TREASURE))
program('PostgreSQL: a driver that knows SOCKS', says(TREASURE))
program('smbclient: through proxychains', (t, done, folder) => {
  t.match(done.stdout, /treasure\.txt/)
  copies('large.bin')(t, done, folder)
})

program('npm: an installation', says('hello from a package\n'))
program('pip: an installation through the HTTP proxy', says('hello from a wheel\n'))
program('pip: an installation through SOCKS5', says('hello from a wheel\n'))
program('Python: requests with socks5h', says('over https'))
program('Python: PySocks with UDP ASSOCIATE', says('[(1, 1), (1400, 1400), (5000, 5000)]\n'))
program('Python: urllib with http_proxy', says('hello from inside'))
program('Node: fetch with ProxyAgent', says(`${HELLO}\n${SECURE_HELLO}`))
program('Node 24: fetch by the environment', bothHellos)
program('Node: socks-proxy-agent', says(HELLO))
program('Node: socks', says(HELLO))
program('Node: socks, with UDP ASSOCIATE', says('over UDP ASSOCIATE\n'))
program('Node: socksv5', says(HELLO))
program('Java: the HTTP proxy', says(HELLO))
program('proxychains: a program that knows no proxy', says(HELLO))

program('dig: UDP', (t, { stdout }) => {
  t.equal(stdout.split('\n').slice(0, 4).join(), '10.77.0.10,fd77::10,web.inside.,web.inside.')
  t.match(stdout, /status: NXDOMAIN/)
})
/** What dig shows of a TXT record, whole. */
const joined = (text: string) => text.replaceAll('" "', '')
program('dig: TCP', (t, { stdout }) => t.equal(joined(stdout), `"${HUGE_TEXT}"\n`))
program('dig: EDNS', (t, { stdout }) => {
  const [, large = '', small = '', again = ''] = joined(stdout).split(/^(?=; <<>> DiG|")/m)
  t.match(large, /;; flags: qr rd ra;/, 'it is whole')
  t.match(large, /; EDNS: version: 0/)
  t.ok(large.includes(LONG_TEXT))
  t.match(small, /;; flags: qr tc rd ra;/, 'it is cut short')
  t.notMatch(small, /EDNS/)
  t.equal(again, `"${LONG_TEXT}"\n`, 'and whole by TCP')
})
program('iperf3: datagrams both ways through -L', (t, { stdout }) => {
  const counts = [...stdout.matchAll(/(\d+)\/(\d+) \([\d.e+-]+%\) +receiver/g)].map(([, lost, all]) =>
    [lost, all].map(Number),
  )
  t.equal(counts.length, 2, 'both ways')
  for (const [lost = 0, all = 0] of counts) t.ok(all > 100 && lost < all / 10, `${lost} of ${all} lost`)
})

program('run: curl', says(HELLO + SECURE_HELLO))
program('run: wget', says(HELLO + SECURE_HELLO))
program('run: git over HTTP', copies('demo/large.bin'))
program('run: git over ssh', copies('demo/large.bin'))
program('run: npm', says('hello from a package\n'))
program('run: fetch of Node 24', bothHellos)
program('run: pip', says('hello from a wheel\n'))
program('run: requests of Python', says(HELLO))
program('run: Java', says(HELLO))
program('run: a shell', says(HELLO))
program('run: many programs, and a password', (t, done, folder) => {
  says(HELLO + SECURE_HELLO + HELLO)(t, done)
  for (const name of ['wheels/hello_inside.py', 'node_modules/hello-inside/index.js']) {
    t.ok(existsSync(join(folder, name)), name)
  }
  copies('again/large.bin')(t, done, folder)
})

t.test('every row has been typed', async (t) => {
  t.same([...untyped.keys()], [])
})
