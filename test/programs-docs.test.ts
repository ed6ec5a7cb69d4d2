/** docs/programs.md and the tests that type its lines: every row has its test, every test its row. */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { root } from './interop/lab.js'
import { bridgeLine, rows } from './interop/programs/page.js'

const FOLDER = 'test/interop'
const all = rows()

/** Names of the tests of a file that type a row. */
function testNames(path: string): Set<string> {
  const text = readFileSync(join(root, path), 'utf8')
  return new Set([...text.matchAll(/\b(?:program|browser)\(\s*'([^']+)'/g)].map(([, name = '']) => name))
}

t.test('every row names a test that types it, and no two the same', async (t) => {
  const seen = new Set<string>()
  for (const { program, file, test } of all) {
    t.ok(existsSync(join(root, file)) && testNames(file).has(test), `${program}: ${file} has "${test}"`)
    t.notOk(seen.has(test), `"${test}" has one row`)
    seen.add(test)
  }
  t.ok(all.length > 30, `${all.length} rows`)
})

t.test('every test that types lines has a row', async (t) => {
  const named = new Set(all.map(({ file, test }) => `${file}: ${test}`))
  for (const file of readdirSync(join(root, FOLDER))) {
    if (!/^programs.*\.interop\.ts$/.test(file)) continue
    for (const name of testNames(`${FOLDER}/${file}`)) {
      t.ok(named.has(`${FOLDER}/${file}: ${name}`), `${file}: "${name}"`)
    }
  }
})

t.test('every row says what to type, by which entrance, and what does not work', async (t) => {
  t.match(bridgeLine(), /^sstp-socks /)
  for (const { lines, entrance, limits, test } of all) {
    for (const cell of [...lines, entrance, limits]) t.ok(cell.trim().length > 0, `${test}: ${cell}`)
  }
})
