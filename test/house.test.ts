/** The house keeps its floors: DESIGN.md "The house", STYLE.md L20 and "Who may import whom". */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import {
  ambientProblems,
  findCycle,
  folderOf,
  type Import,
  importProblem,
  importsOf,
  isBare,
  lineCount,
  packageOf,
  type Source,
  usesOf,
} from './helpers/house.js'

function sources(folder: string): Source[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((e) => e.isFile() && e.name.endsWith('.ts'))
    .map((e) => join(e.parentPath, e.name).replaceAll('\\', '/'))
    .sort()
    .map((path) => ({ path, text: readFileSync(path, 'utf8') }))
}

const product = [...sources('stack'), ...sources('src')]
const imports = product.flatMap(importsOf)
const inFolders = (...folders: readonly string[]): Source[] =>
  product.filter((s) => folders.some((f) => s.path.startsWith(`${f}/`)))
const protocol = inFolders('stack', 'src/sstp', 'src/ppp')
const { dependencies, devDependencies } = JSON.parse(readFileSync('package.json', 'utf8')) as {
  dependencies: Record<string, string>
  devDependencies: Record<string, string>
}

t.test('the whole house was looked at', async (t) => {
  t.ok(product.length > 60, `${product.length} files`)
  t.ok(imports.length > 300, `${imports.length} imports`)
  const paths = new Set(product.map((s) => s.path))
  // A path that does not exist would be a rule that never bites.
  for (const i of imports) {
    if (!isBare(i.to) && !i.to.startsWith('node:') && !paths.has(i.to))
      t.fail(`${i.from} imports ${i.to}, which is not there`)
  }
})

t.test('imports run only downwards', async (t) => {
  t.same(
    imports.map(importProblem).filter((p) => p !== undefined),
    [],
  )
})

t.test('no circles, of files or of folders', async (t) => {
  const inside = imports.filter((i) => !isBare(i.to) && !i.to.startsWith('node:'))
  t.same(findCycle(inside.map((i) => [i.from, i.to])), undefined)
  t.same(findCycle(inside.map((i) => [folderOf(i.from), folderOf(i.to)])), undefined)
})

t.test('protocol code has no time, chance or waiting of its own', async (t) => {
  t.same(protocol.flatMap(ambientProblems), [])
})

t.test('octets are read through bytes.ts, never through a DataView', async (t) => {
  t.same(
    product.filter((s) => s.path !== 'stack/bytes.ts').flatMap((s) => usesOf(s, ['DataView'])),
    [],
  )
})

t.test('one driver', async (t) => {
  // What moves packets has one clock and one timer. Floors 1 to 3 may bound what they wait for themselves
  // (a connect, a handshake, a farewell, a query) with a timer of one shot; none of them polls.
  const clock = ['setTimeout', 'setInterval', 'setImmediate', 'performance.now', 'Date.now']
  t.same(
    inFolders('src/link')
      .filter((s) => s.path !== 'src/link/driver.ts')
      .flatMap((s) => usesOf(s, clock)),
    [],
  )
  t.same(
    inFolders('src/tunnel', 'src/gateway', 'src/transport', 'src/dns', 'src/proxy').flatMap((s) =>
      usesOf(s, ['setInterval']),
    ),
    [],
  )
})

t.test('only the commands end the process', async (t) => {
  const elsewhere = product.filter((s) => !s.path.startsWith('src/cli/'))
  t.same(
    elsewhere.flatMap((s) => usesOf(s, ['process.exit', 'process.abort', 'process.kill'])),
    [],
  )
})

t.test('no file above 800 lines', async (t) => {
  t.same(
    product.filter((s) => lineCount(s.text) > 800).map((s) => `${s.path}: ${lineCount(s.text)}`),
    [],
  )
})

t.test('dependencies are those that are used', async (t) => {
  const used = new Set(imports.filter((i) => isBare(i.to)).map((i) => packageOf(i.to)))
  t.same([...used].sort(), Object.keys(dependencies).sort())
  const tested = sources('test')
    .flatMap(importsOf)
    .filter((i) => isBare(i.to))
  const known = { ...dependencies, ...devDependencies }
  t.same(
    tested.map((i) => packageOf(i.to)).filter((p) => !(p in known)),
    [],
    'and of the tests',
  )
})

t.test('the lock file names no registry', async (t) => {
  const lock = readFileSync('package-lock.json', 'utf8')
  t.ok(lock.includes('"lockfileVersion"'))
  t.notOk(/"resolved":/.test(lock), 'npm config set omit-lockfile-registry-resolved true')
})

t.test('test helpers do not import tests', async (t) => {
  const wrong = sources('test')
    .flatMap(importsOf)
    .filter((i) => i.to.endsWith('.test.ts'))
  t.same(wrong, [])
})

// ---------------------------------------------------------------- the rules themselves

const file = (path: string, text: string): Source => ({ path, text })
const problem = (from: string, line: string): string | undefined => {
  const found = importsOf(file(from, line))
  return found.map(importProblem).find((p) => p !== undefined)
}

t.test('rule: imports are found in every form', async (t) => {
  const text = `
    import a, { b } from '../a.js'
    import type { C } from './c.js'
    import { type D } from './d.js'
    import * as e from 'node:e'
    import '../f.js'
    export { g } from './g.js'
    export * from './h.js'
    export type { I } from './i.js'
    const j = await import('./j.js')
    let k: import('./k.js').K
    const l = require('l')
    // import { no } from './comment.js'
    const s = "import { no } from './string.js'"
    import m from '@scope/m/deep'
  `
  const found = importsOf(file('src/x/y.ts', text))
  t.same(
    found.map((i) => i.to).sort(),
    ['@scope/m/deep', 'l', 'node:e', 'src/a.ts', 'src/f.ts', ...'cdghijk']
      .map((n) => (n.length === 1 && n !== 'l' ? `src/x/${n}.ts` : n))
      .sort(),
  )
  t.same(
    found
      .filter((i) => i.typeOnly)
      .map((i) => i.to)
      .sort(),
    ['src/x/c.ts', 'src/x/i.ts', 'src/x/k.ts'],
  )
  t.equal(isBare('@scope/m/deep'), true)
  t.equal(packageOf('@scope/m/deep'), '@scope/m')
  t.equal(packageOf('l/deep'), 'l')
  t.equal(isBare('node:fs'), false)
  t.equal(isBare('src/a.ts'), false)
})

t.test('rule: floors', async (t) => {
  const good: readonly (readonly [string, string])[] = [
    ['stack/tcp/connection.ts', '../wire/tcp.js'],
    ['stack/wire/tcp.ts', '../bytes.js'],
    ['stack/wire/icmpv6.ts', './icmpv4.js'],
    ['stack/tcp/rtt.ts', '../types.js'],
    ['src/sstp/packet.ts', '../../stack/bytes.js'],
    ['src/sstp/binding.ts', 'node:crypto'],
    ['src/ppp/auth/pap.ts', '../control.js'],
    ['src/ppp/auth/mschap-crypto.ts', 'js-md4'],
    ['src/transport/tls.ts', 'node:tls'],
    ['src/link/call.ts', '../sstp/call.js'],
    ['src/link/call.ts', '../../stack/index.js'],
    ['src/tunnel/session.ts', '../link/driver.js'],
    ['src/gateway/gateway.ts', '../transport/tls.js'],
    ['src/dns/resolver.ts', '../tunnel/dialer.js'],
    ['src/cli/connect.ts', '../index.js'],
    ['src/index.ts', './tunnel/session.js'],
    ['src/config/schema.ts', '../gateway/address-pool.js'],
  ]
  for (const [from, to] of good) {
    t.equal(problem(from, `import { x } from '${to}'`), undefined, `${from} may import ${to}`)
  }
  const bad: readonly (readonly [string, string])[] = [
    ['stack/netstack.ts', '../src/sstp/packet.js'],
    ['stack/netstack.ts', 'node:crypto'],
    ['stack/netstack.ts', 'pino'],
    ['stack/wire/tcp.ts', '../tcp/connection.js'],
    ['stack/wire/tcp.ts', '../tuple.js'],
    ['stack/tcp/rtt.ts', './connection.js'],
    ['stack/tcp/congestion/newreno.ts', '../sender.js'],
    ['stack/bytes.ts', './checksum.js'],
    ['src/sstp/packet.ts', '../ppp/frame.js'],
    ['src/sstp/packet.ts', '../../stack/index.js'],
    ['src/sstp/client.ts', 'node:net'],
    ['src/ppp/link.ts', '../sstp/call.js'],
    ['src/ppp/link.ts', 'node:timers'],
    ['src/ppp/auth/chap.ts', 'js-md4'],
    ['src/cli/connect.ts', 'js-md4'],
    ['src/transport/tls.ts', '../ppp/link.js'],
    ['src/transport/tls.ts', '../tunnel/session.js'],
    ['src/transport/tls.ts', '../link/driver.js'],
    ['src/link/call.ts', '../tunnel/events.js'],
    ['src/tunnel/session.ts', '../gateway/gateway.js'],
    ['src/tunnel/session.ts', '../dns/resolver.js'],
    ['src/tunnel/session.ts', '../config/schema.js'],
    ['src/gateway/gateway.ts', '../tunnel/dialer.js'],
    ['src/dns/resolver.ts', '../tunnel/session.js'],
    ['src/dns/resolver.ts', '../link/flow.js'],
    ['src/proxy/socks5.ts', '../../stack/index.js'],
    ['src/proxy/socks5.ts', '../cli/exit.js'],
    ['src/observe/logger.ts', '../tunnel/session.js'],
    ['src/proxy/http.ts', '../index.js'],
    ['src/other/x.ts', '../sstp/packet.js'],
  ]
  for (const [from, to] of bad) {
    t.ok(problem(from, `import { x } from '${to}'`), `${from} may not import ${to}`)
    t.ok(problem(from, `import type { x } from '${to}'`), 'nor its types')
  }
  t.ok(problem('src/observe/logger.ts', `import { x } from '../tunnel/events.js'`), 'types only')
  t.equal(problem('src/observe/logger.ts', `import type { X } from '../tunnel/events.js'`), undefined)
})

t.test('rule: circles', async (t) => {
  t.equal(
    findCycle([
      ['a', 'b'],
      ['b', 'c'],
      ['a', 'c'],
      ['a', 'a'],
    ]),
    undefined,
  )
  t.same(
    findCycle([
      ['a', 'b'],
      ['b', 'c'],
      ['c', 'b'],
    ]),
    ['b', 'c', 'b'],
  )
  t.ok(
    findCycle([
      ['x', 'y'],
      ['a', 'b'],
      ['b', 'c'],
      ['c', 'd'],
      ['d', 'a'],
    ]),
  )
  const types: Import[] = [
    ...importsOf(file('stack/a.ts', `import type { B } from './b.js'`)),
    ...importsOf(file('stack/b.ts', `import { a } from './a.js'`)),
  ]
  t.ok(findCycle(types.map((i) => [i.from, i.to])), 'types count')
})

t.test('rule: time and chance', async (t) => {
  for (const line of [
    'const x = Date.now()',
    'const x = new Date()',
    'const { now } = Date',
    'const x = Math.random()',
    'const x = performance.now()',
    'const x = globalThis.performance.now()',
    'setTimeout(f, 1)',
    'setInterval(f, 1)',
    'setImmediate(f)',
    'queueMicrotask(f)',
    `import { randomBytes } from 'node:crypto'`,
    `import { randomBytes as r } from 'node:crypto'`,
    'crypto.getRandomValues(b)',
    'const later = setTimeout',
    'process.nextTick(f)',
    'async function f() { await g }',
    'const p: Promise<void> = q',
  ]) {
    t.ok(ambientProblems(file('stack/x.ts', line)).length > 0, line)
  }
  for (const line of [
    '// Date.now() and Math.random() are not for us',
    '/** setTimeout */',
    `const s = 'Date.now()'`,
    'socket.setTimeout(5)',
    'const x = { process: 1, performance: 2 }',
    'class X { process(): void {} }',
    'this.process()',
    'Math.round(1.5)',
    `import { createHash } from 'node:crypto'`,
    'const dated = 1',
  ]) {
    t.same(ambientProblems(file('stack/x.ts', line)), [], line)
  }
})

t.test('rule: uses and sizes', async (t) => {
  t.same(usesOf(file('x.ts', 'f()\nprocess.exit(1)'), ['process.exit']), ['x.ts:2: process.exit'])
  t.same(usesOf(file('x.ts', 'this.exit(1); deps.process.exiting()'), ['process.exit']), [])
  t.same(usesOf(file('x.ts', 'new DataView(b.buffer)'), ['DataView']), ['x.ts:1: DataView'])
  t.same(usesOf(file('x.ts', '// new DataView(b)'), ['DataView']), [])
  t.equal(lineCount('a\nb\n'), 2)
  t.equal(lineCount('a\nb'), 2)
})
