/** docs/servers.md says how each server is met: its tests exist, every test of test/servers is there, and every point. */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'

const root = fileURLToPath(new URL('..', import.meta.url))
const PAGE = 'docs/servers.md'
const FOLDER = 'test/servers'
/** The subjects that the page numbers. */
const POINTS = 46

interface Row {
  readonly points: readonly number[]
  readonly cells: readonly string[]
  /** `file`: "name", as often as there are tests. */
  readonly references: readonly string[]
}

/** The rows of all tables of the page. */
function rows(): Row[] {
  const found: Row[] = []
  for (const line of readFileSync(join(root, PAGE), 'utf8').split('\n')) {
    if (!line.startsWith('| ') || line.startsWith('| point |')) continue
    const cells = line.slice(2, -2).split(' | ')
    if (cells.length !== 5) throw new Error(`${PAGE}: ${cells.length} cells in: ${line}`)
    const [points = '', , , , tests = ''] = cells
    found.push({ points: points.split(', ').map(Number), cells, references: tests.split('<br>') })
  }
  return found
}

/** Names of the tests of a file as they stand in it; what is put in when it runs is `*`. */
function testNames(path: string): Set<string> {
  const names = new Set<string>()
  for (const [, , name = ''] of readFileSync(join(root, path), 'utf8').matchAll(
    /\bt(?:ap)?\.test\(\s*(['"`])((?:\\.|(?!\1).)*)\1/gs,
  )) {
    names.add(name.replace(/\$\{[^}]*\}/g, '*').replace(/\\(['"`\\])/g, '$1'))
  }
  return names
}

const all = rows()

t.test('every test that the page names exists', async (t) => {
  for (const { cells, references } of all) {
    for (const reference of references) {
      const [, path = '', name = ''] = /^`([^`]+)`: "(.+)"$/.exec(reference) ?? []
      t.ok(path, `\`file\`: "name", not ${reference} (${cells[2]})`)
      const there = existsSync(join(root, path)) && testNames(path).has(name)
      t.ok(there, `${path} has a test "${name}"`)
    }
  }
  t.ok(all.length > 130, `${all.length} rows`)
})

t.test(`every test of ${FOLDER} has a row`, async (t) => {
  const named = new Set(all.flatMap((row) => row.references))
  let tests = 0
  for (const file of readdirSync(join(root, FOLDER))) {
    if (!file.endsWith('.test.ts')) continue
    for (const name of testNames(`${FOLDER}/${file}`)) {
      t.ok(named.has(`\`${FOLDER}/${file}\`: "${name}"`), `${file}: "${name}"`)
      tests += 1
    }
  }
  t.ok(tests > 120, `${tests} tests`)
})

t.test('every point has a row, and every row says who, what, and what is done', async (t) => {
  const seen = new Set(all.flatMap((row) => row.points))
  for (let point = 1; point <= POINTS; point += 1) t.ok(seen.has(point), `point ${point}`)
  for (const point of seen) t.ok(point >= 1 && point <= POINTS, `${point} is a point`)
  for (const { cells } of all) {
    for (const cell of cells) t.ok(cell.trim().length > 0, cells.join(' | '))
  }
})
