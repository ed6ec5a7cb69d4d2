/** docs/tcp-conformance.md says where each rule is tested: those tests exist, and no requirement is missing. */
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'

const root = fileURLToPath(new URL('..', import.meta.url))
const PAGE = 'docs/tcp-conformance.md'

/** The labels that RFC 9293 gives out, appendix B: all numbers of these ranges, and one REC. */
const LABELS: readonly (readonly [prefix: string, last: number])[] = [
  ['MUST', 69],
  ['SHLD', 31],
  ['MAY', 18],
  ['REC', 1],
]

interface Row {
  readonly section: string
  readonly rule: string
  readonly what: string
  readonly test: string
}

/** The rows of all tables of the page. */
function rows(): Row[] {
  const found: Row[] = []
  let section = ''
  for (const line of readFileSync(join(root, PAGE), 'utf8').split('\n')) {
    if (line.startsWith('## ')) section = line.slice(3)
    if (!line.startsWith('| ') || line.startsWith('| rule |')) continue
    const cells = line.slice(2, -2).split(' | ')
    if (cells.length !== 3) throw new Error(`${PAGE}: ${cells.length} cells in: ${line}`)
    const [rule = '', what = '', test = ''] = cells
    found.push({ section, rule, what, test })
  }
  return found
}

/** Names of the tests of a file as they stand in it; what is put in when it runs is `*`. */
function testNames(path: string): Set<string> {
  const names = new Set<string>()
  for (const [, , name = ''] of readFileSync(join(root, path), 'utf8').matchAll(
    /\bt(?:ap)?\.test\(\s*(['"`])((?:\\.|(?!\1).)*)\1/gs,
  )) {
    names.add(name.replace(/\$\{[^}]*\}/g, '*').replace(/\\(['"`])/g, '$1'))
  }
  return names
}

const all = rows()

t.test('every test that the page names exists', async (t) => {
  const known = new Map<string, Set<string>>()
  let references = 0
  for (const { rule, test } of all) {
    if (isExcuse(test)) continue
    for (const reference of test.split('<br>')) {
      const [, path = '', name = ''] = /^`([^`]+)`: "(.+)"$/.exec(reference) ?? []
      t.ok(path, `${rule}: \`file\`: "name", not ${reference}`)
      let names = known.get(path)
      if (names === undefined) {
        t.ok(existsSync(join(root, path)), path)
        names = existsSync(join(root, path)) ? testNames(path) : new Set()
        known.set(path, names)
      }
      t.ok(names.has(name), `${rule}: ${path} has a test "${name}"`)
      references++
    }
  }
  t.ok(references > 200, `${references} references to ${known.size} files`)
})

t.test('every label of RFC 9293 is there, once', async (t) => {
  const seen = new Map<string, number>()
  for (const { section, rule } of all) {
    if (section.startsWith('RFC 9293')) seen.set(rule, (seen.get(rule) ?? 0) + 1)
  }
  for (const [prefix, last] of LABELS) {
    for (let n = 1; n <= last; n++) t.equal(seen.get(`${prefix}-${n}`), 1, `${prefix}-${n}`)
    t.equal(seen.get(`${prefix}-${last + 1}`), undefined, `there is no ${prefix}-${last + 1}`)
  }
})

/** The row says why there is no test. */
function isExcuse(test: string): boolean {
  return test.startsWith('does not apply: ') || test.startsWith('not done')
}

t.test('every MUST has a test, or a reason why it does not apply', async (t) => {
  let excused = 0
  for (const { rule, test } of all) {
    if (!rule.startsWith('MUST-')) continue
    t.notOk(test.startsWith('not done'), `${rule} cannot be left out`)
    if (!test.startsWith('does not apply: ')) continue
    t.ok(test.length > 20, `${rule}: a reason`)
    excused++
  }
  t.ok(excused <= 5, `${excused} do not apply`)
})

t.test('every rule says what it asks for, and what is left out may be', async (t) => {
  for (const { section, rule, what, test } of all) {
    t.ok(what.length > 2, `${section}, ${rule}`)
    t.ok(test.length > 0, `${section}, ${rule}`)
    if (test.startsWith('not done')) t.match(rule, /^(SHLD|MAY)-/, `${section}, ${rule}`)
    if (test.startsWith('not done') && rule.startsWith('SHLD-')) t.match(test, /^not done: .{10}/, rule)
  }
})
