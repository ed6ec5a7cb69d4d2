/** The stack on its own: its examples run, its README is true, and nothing of Node is in what is built. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, readFileSync } from 'node:fs'
import { join, posix } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { DEFAULT_LIMITS, DEFAULT_TIMES } from '../stack/index.js'
import { must } from './interop/process.js'

const root = fileURLToPath(new URL('..', import.meta.url))
const read = (path: string): string => readFileSync(join(root, path), 'utf8')
const node = (...args: readonly string[]) => must(process.execPath, args, { cwd: root })

t.test('two stacks: a megabyte there and back, in virtual time', async (t) => {
  const { stdout, stderr } = await node('examples/two-stacks.mjs')
  t.match(
    stdout,
    /^20 ms: connected, 10\.0\.0\.1:\d+ - 10\.0\.0\.2:7\n\d+ ms: closed, no error\n1000000 octets came back, all as they were sent\n$/,
  )
  t.equal(stderr, '')
  t.ok(read('examples/two-stacks.mjs').split('\n').length < 80, 'a page of code')
})

t.test('UDP wire: two processes, real time', async (t) => {
  const server = spawn(process.execPath, ['examples/udp-wire.mjs', 'server'], {
    cwd: root,
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  t.teardown(() => server.kill('SIGKILL'))
  const ended = once(server, 'exit').then(([code]) => {
    throw new Error(`the server ended with ${code}`)
  })
  ended.catch(() => {})
  const [line] = (await Promise.race([once(createInterface(server.stdout), 'line'), ended])) as [string]
  const [, port = ''] = /^port (\d+)$/.exec(line) ?? []
  t.ok(Number(port) > 0, line)
  // Twice: the server takes one client after the other.
  for (let i = 0; i < 2; i++) {
    const client = node('examples/udp-wire.mjs', 'client', '127.0.0.1', port)
    const { stdout, stderr } = await Promise.race([client, ended])
    t.equal(stdout, '4194304 octets sent, SHA-256 is right\n')
    t.equal(stderr, '')
  }
})

/** The files that a module of the built stack imports. */
function importsOf(path: string): string[] {
  const found = [...read(path).matchAll(/^(?:import|export)\b[^'"]*?\bfrom\s*['"]([^'"]+)['"]/gm)]
  return found.map(([, to = '']) => to)
}

t.test('the built stack imports nothing but itself', async (t) => {
  const seen = new Set<string>()
  const walk = (path: string): void => {
    if (seen.has(path)) return
    seen.add(path)
    for (const to of importsOf(path)) {
      t.match(to, /^\.\.?\/.*\.js$/, `${path} imports ${to}`)
      const next = posix.join(posix.dirname(path), to)
      t.ok(next.startsWith('dist/stack/'), next)
      walk(next)
    }
  }
  const { exports, files } = JSON.parse(read('package.json'))
  const entry = posix.normalize(exports['./stack'].default)
  walk(entry)
  t.ok(seen.size > 30, `${seen.size} modules`)
  for (const path of seen) {
    t.notMatch(
      read(path).replace(/\/\*[\s\S]*?\*\/|\/\/.*/g, ''),
      /\bimport\s*\(|\brequire\s*\(|\bDate\b|Math\.random/,
      path,
    )
  }
  const page = read('examples/browser/index.html')
  const [, map = ''] = /<script type="importmap">([\s\S]*?)<\/script>/.exec(page) ?? []
  const name = JSON.parse(map).imports['sstp-socks/stack']
  t.equal(posix.join('examples/browser', name), entry, 'the page and the package mean the same file')
  for (const needed of ['dist/stack', 'stack/README.md', 'examples/*.mjs', 'examples/browser'])
    t.ok(files.includes(needed), `${needed} is published`)
})

t.test('the stack lives without the globals of Node and of browsers', async (t) => {
  // Taken away before the example is loaded; it needs only crypto and console itself.
  const gone = [
    'Buffer',
    'process',
    'setTimeout',
    'setImmediate',
    'setInterval',
    'queueMicrotask',
    'performance',
  ]
  const spoil = `
    const write = process.stdout.write.bind(process.stdout)
    globalThis.console = { log: (line) => write(line + '\\n') }
    for (const name of ${JSON.stringify([...gone, 'Date', 'navigator', 'window', 'document'])})
      Object.defineProperty(globalThis, name, { get() { throw new Error(name + ' was touched') } })
    Math.random = () => { throw new Error('Math.random was touched') }
  `
  const preload = `data:text/javascript,${encodeURIComponent(spoil)}`
  const { stdout } = await node('--import', preload, 'examples/two-stacks.mjs')
  t.match(stdout, 'all as they were sent')
  const touch = 'data:text/javascript,Buffer.alloc(1)'
  await t.rejects(
    node('--import', preload, '--import', touch, 'examples/two-stacks.mjs'),
    /Buffer was touched/,
  )
})

const readme = read('stack/README.md')

t.test('the README shows the example as it is', async (t) => {
  const [, sample] = /```js\n([\s\S]*?)```/.exec(readme) ?? []
  t.equal(sample, read('examples/two-stacks.mjs'))
})

/** The rows of the table that begins so: name and second column. */
function tableOf(head: string): [name: string, second: string][] {
  const at = readme.indexOf(head)
  const table = at < 0 ? '' : readme.slice(at, readme.indexOf('\n\n', at))
  const rows = [...table.matchAll(/^\| `(\w+)` \|([^|]*)\|/gm)]
  return rows.map(([, name = '', second = '']) => [name, second.trim()])
}

t.test('the README has every limit and time with its default', async (t) => {
  for (const [head, defaults] of [
    ['| limit | default |', DEFAULT_LIMITS],
    ['| time | default, ms |', DEFAULT_TIMES],
  ] as const) {
    const wanted = Object.entries(defaults).map(([name, value]) => [name, String(value)])
    t.ok(wanted.length > 8)
    t.same(tableOf(head), wanted, 'in the order in which they are declared')
  }
})

/** The members of an interface, by its source. */
function membersOf(path: string, name: string): string[] {
  const [, body = ''] = new RegExp(`export interface ${name} \\{(.*?)\\n\\}`, 's').exec(read(path)) ?? []
  return [...body.matchAll(/^ {2}readonly (\w+)\??:/gm)].map(([, member = '']) => member)
}

t.test('the README has every option', async (t) => {
  const interfaces = [
    ['stack/netstack.ts', 'NetStackOptions', '| option | meaning |'],
    ['stack/tcp/control-block.ts', 'TcpOptionsWanted', '| option of `connect` |'],
    ['stack/tcp/listener.ts', 'ListenOptions', '| option of `listen` |'],
    ['stack/udp/socket.ts', 'UdpOptions', '| option of `openUdp` |'],
  ] as const
  for (const [path, name, head] of interfaces) {
    const members = membersOf(path, name)
    t.ok(members.length > 1, `${name} was read`)
    t.same(
      tableOf(head)
        .map(([option]) => option)
        .sort(),
      members.sort(),
      `options of ${name}`,
    )
  }
})

t.test('the README names what exists', async (t) => {
  for (const [, path = ''] of readme.matchAll(/\]\(\.\.\/([\w/.-]+)\)/g)) {
    const folder = posix.dirname(path)
    t.ok(readdirSync(join(root, folder)).includes(posix.basename(path)), path)
  }
  const declared = ['netstack', 'tcp/connection', 'tcp/control-block', 'udp/socket', 'icmp/ping', 'ready']
    .map((name) => read(`dist/stack/${name}.d.ts`))
    .join('')
  const named = new Set(
    [...readme.replace(/```[\s\S]*?```/g, '').matchAll(/`(\w+)\(/g)].map(([, name = '']) => name),
  )
  named.delete('NetStack')
  t.ok(named.size > 6, [...named].join(' '))
  for (const name of named) t.match(declared, new RegExp(`\\b${name}\\(`), `${name}()`)
})
