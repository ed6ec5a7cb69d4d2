/**
 * The rules of the house as functions over sources: who may import whom, and what protocol code may not
 * touch. They read the syntax tree, so comments and strings do not count. `test/house.test.ts` applies them.
 */
import { dirname, posix } from 'node:path'
import ts from 'typescript'

/** A source file by its path from the root of the project. */
export interface Source {
  readonly path: string
  readonly text: string
}

export interface Import {
  readonly from: string
  /** A path of the project, `node:…`, or a package's name. */
  readonly to: string
  readonly typeOnly: boolean
}

function parse(s: Source): ts.SourceFile {
  return ts.createSourceFile(s.path, s.text, ts.ScriptTarget.ES2022, true)
}

function walk(node: ts.Node, visit: (n: ts.Node) => void): void {
  visit(node)
  ts.forEachChild(node, (child) => walk(child, visit))
}

/** All that a file imports in any way: `import`, `export … from`, `import()`, `import('…').Type`, `require()`. */
export function importsOf(s: Source): Import[] {
  const out: Import[] = []
  const add = (specifier: ts.Node | undefined, typeOnly: boolean): void => {
    if (specifier === undefined || !ts.isStringLiteralLike(specifier)) return
    out.push({ from: s.path, to: resolve(s.path, specifier.text), typeOnly })
  }
  walk(parse(s), (n) => {
    if (ts.isImportDeclaration(n)) add(n.moduleSpecifier, n.importClause?.isTypeOnly ?? false)
    else if (ts.isExportDeclaration(n)) add(n.moduleSpecifier, n.isTypeOnly)
    else if (ts.isImportTypeNode(n) && ts.isLiteralTypeNode(n.argument)) add(n.argument.literal, true)
    else if (ts.isCallExpression(n)) {
      const dynamic = n.expression.kind === ts.SyntaxKind.ImportKeyword
      if (dynamic || (ts.isIdentifier(n.expression) && n.expression.text === 'require'))
        add(n.arguments[0], false)
    }
  })
  return out
}

function resolve(from: string, specifier: string): string {
  if (!specifier.startsWith('.')) return specifier
  return posix.join(dirname(from), specifier).replace(/\.js$/, '.ts')
}

export const isBare = (to: string): boolean =>
  !/^(node:|stack\/|src\/|test\/|\.)/.test(to) && !to.endsWith('.ts')

/** `@scope/name/deep` and `name/deep` to the package. */
export const packageOf = (to: string): string =>
  to
    .split('/')
    .slice(0, to.startsWith('@') ? 2 : 1)
    .join('/')

/** `stack`, `src/sstp`, … or the file itself if it lies at the top of `src`. */
export function folderOf(path: string): string {
  const parts = path.split('/')
  return parts[0] === 'src' && parts.length > 2
    ? `src/${parts[1]}`
    : parts[0] === 'src'
      ? path
      : (parts[0] ?? '')
}

const FLOOR_0_AND_1 = ['stack', 'src/sstp', 'src/ppp', 'src/transport', 'src/link']

/**
 * DESIGN.md "The house" and STYLE.md "Who may import whom". A name is a folder with all in it, or one file.
 * `src/link` puts SSTP, PPP and a stack together into one machine and drives sockets and timers.
 */
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  stack: [],
  'src/sstp': ['stack/bytes.ts'],
  'src/ppp': ['stack/bytes.ts'],
  // The interface that memory-tls.ts fulfils
  'src/transport': ['src/sstp', 'src/ppp/auth/eap/tls-engine.ts'],
  'src/link': ['stack', 'src/sstp', 'src/ppp', 'src/transport'],
  'src/tunnel': FLOOR_0_AND_1,
  'src/gateway': FLOOR_0_AND_1,
  'src/dns': ['src/tunnel/dialer.ts', 'src/proxy'],
  'src/proxy': ['src/tunnel/dialer.ts', 'src/dns'],
  'src/observe': [
    'src/tunnel/events.ts',
    'src/gateway/events.ts',
    'src/proxy/events.ts',
    'src/dns/events.ts',
  ],
  'src/config': ['stack', 'src'],
  'src/cli': ['stack', 'src'],
  'src/index.ts': ['stack', 'src'],
}

/** Nobody but floor 4 imports these. */
const TOP = ['src/cli', 'src/config', 'src/index.ts']

/** Modules of Node and packages that a folder may use; folders that are not named may use all. */
const OUTSIDE: Readonly<Record<string, readonly string[]>> = {
  stack: [],
  'src/sstp': ['node:crypto'],
  'src/ppp': ['node:crypto'],
}
const ONLY_HERE: Readonly<Record<string, string>> = { 'js-md4': 'src/ppp/auth/mschap-crypto.ts' }

/** Walls inside `stack`: STYLE.md, the rows of `stack/wire` and of what only a connection tells things. */
const STACK_WALLS: readonly { readonly files: RegExp; readonly may: RegExp }[] = [
  { files: /^stack\/wire\//, may: /^stack\/(wire\/.*|bytes|seq|checksum)(\.ts)?$/ },
  {
    files:
      /^stack\/tcp\/((rtt|scoreboard|rack|dup-acks|loss-detector|prr|recovery|path-mtu|user-timeout)\.ts|congestion\/)/,
    may: /^stack\/(seq|types|timers|tcp\/(rtt|scoreboard|rack|dup-acks|loss-detector|prr|recovery)|tcp\/congestion\/.*)(\.ts)?$/,
  },
  { files: /^stack\/(bytes|seq|checksum)\.ts$/, may: /^stack\/bytes\.ts$/ },
]

const within = (path: string, place: string): boolean => path === place || path.startsWith(`${place}/`)

/** What is wrong with an import, or undefined. */
export function importProblem(i: Import): string | undefined {
  const { from, to } = i
  const folder = folderOf(from)
  const say = (why: string): string => `${from} imports ${to}: ${why}`
  if (isBare(to) || to.startsWith('node:')) {
    const place = ONLY_HERE[packageOf(to)]
    if (place !== undefined) return place === from ? undefined : say(`only ${place} may`)
    const may = OUTSIDE[folder]
    return may === undefined || may.includes(to) ? undefined : say('not in protocol code')
  }
  const wall = STACK_WALLS.find((w) => w.files.test(from))
  if (wall !== undefined && !wall.may.test(to)) return say('it is told things, it does not ask')
  if (within(to, folder)) return undefined
  const may = MAY_IMPORT[folder]
  if (may === undefined) return say('the house knows no such folder')
  if (!may.some((place) => within(to, place))) return say('that is not a floor below')
  if (TOP.some((place) => within(to, place)) && !TOP.includes(folder)) return say('nobody imports floor 4')
  if (folder === 'src/observe' && !i.typeOnly) return say('types only')
  return undefined
}

/** A circle of imports, as the names on it, or undefined. Types count. */
export function findCycle(edges: Iterable<readonly [from: string, to: string]>): string[] | undefined {
  const graph = new Map<string, Set<string>>()
  for (const [from, to] of edges) {
    if (from === to) continue
    const set = graph.get(from) ?? new Set()
    graph.set(from, set.add(to))
  }
  const done = new Set<string>()
  const path: string[] = []
  const visit = (name: string): string[] | undefined => {
    const at = path.indexOf(name)
    if (at >= 0) return [...path.slice(at), name]
    if (done.has(name)) return undefined
    path.push(name)
    for (const next of graph.get(name) ?? []) {
      const cycle = visit(next)
      if (cycle !== undefined) return cycle
    }
    path.pop()
    done.add(name)
    return undefined
  }
  for (const name of graph.keys()) {
    const cycle = visit(name)
    if (cycle !== undefined) return cycle
  }
  return undefined
}

/** Names that bring time, chance or waiting with them. */
const AMBIENT = new Set([
  'Date',
  'performance',
  'setTimeout',
  'setInterval',
  'setImmediate',
  'queueMicrotask',
  'randomBytes',
  'randomFill',
  'randomFillSync',
  'randomInt',
  'randomUUID',
  'getRandomValues',
  'webcrypto',
  'process',
  'Promise',
])
const AMBIENT_MEMBERS = new Set([
  'Math.random',
  'crypto.getRandomValues',
  'crypto.randomBytes',
  'crypto.randomFillSync',
  'crypto.randomUUID',
  'process.nextTick',
])

/** Identifiers that are used as a value or imported (not names of fields and methods), with their lines. */
function names(s: Source, visit: (name: string, line: number) => void): void {
  const file = parse(s)
  const lineOf = (n: ts.Node): number => file.getLineAndCharacterOfPosition(n.getStart(file)).line + 1
  walk(file, (n) => {
    if (ts.isPropertyAccessExpression(n)) visit(`${n.expression.getText(file)}.${n.name.text}`, lineOf(n))
    if (ts.isPropertyAccessExpression(n) && n.expression.getText(file) === 'globalThis') {
      visit(n.name.text, lineOf(n))
    }
    if (n.kind === ts.SyntaxKind.AwaitExpression) visit('await', lineOf(n))
    if (!ts.isIdentifier(n)) return
    const { parent } = n
    const isMember =
      (ts.isPropertyAccessExpression(parent) && parent.name === n) ||
      ((ts.isPropertyAssignment(parent) ||
        ts.isPropertyDeclaration(parent) ||
        ts.isPropertySignature(parent) ||
        ts.isMethodDeclaration(parent) ||
        ts.isMethodSignature(parent) ||
        ts.isGetAccessor(parent) ||
        ts.isSetAccessor(parent)) &&
        parent.name === n)
    if (!isMember) visit(n.text, lineOf(n))
  })
}

/** Places where protocol code takes time, chance or a promise from its surroundings. */
export function ambientProblems(s: Source): string[] {
  const out: string[] = []
  names(s, (name, line) => {
    if (AMBIENT.has(name) || AMBIENT_MEMBERS.has(name) || name === 'await')
      out.push(`${s.path}:${line}: ${name}`)
  })
  return out
}

/** Lines on which one of `wanted` (an identifier, or `object.member`) is used. */
export function usesOf(s: Source, wanted: readonly string[]): string[] {
  const out: string[] = []
  names(s, (name, line) => {
    if (wanted.includes(name)) out.push(`${s.path}:${line}: ${name}`)
  })
  return out
}

export const lineCount = (text: string): number => text.split('\n').length - (text.endsWith('\n') ? 1 : 0)
