/** docs/programs.md as the tests use it: each row's lines are what the test of that name types. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { root } from '../lab.js'

export const PAGE = 'docs/programs.md'

export interface Row {
  readonly program: string
  /** What to type, in a shell; more than one line stand in one shell. */
  readonly lines: readonly string[]
  readonly entrance: string
  /** What is known not to work. */
  readonly limits: string
  /** The test's file and name. */
  readonly file: string
  readonly test: string
}

/** The rows of all tables of the page. */
export function rows(): Row[] {
  const found: Row[] = []
  for (const line of readFileSync(join(root, PAGE), 'utf8').split('\n')) {
    if (!line.startsWith('| ') || line.startsWith('| program |')) continue
    const cells = line.slice(2, -2).split(' | ')
    const [program = '', typed = '', entrance = '', limits = '', reference = ''] = cells
    if (cells.length !== 5) throw new Error(`${PAGE}: ${cells.length} cells in: ${line}`)
    const lines = typed
      .split('<br>')
      .map((cell) => /^`` ?(.+?) ?``$/.exec(cell)?.[1] ?? /^`([^`]+)`$/.exec(cell)?.[1])
    const [, file, test] = /^`([^`]+)`: "(.+)"$/.exec(reference) ?? []
    if (!lines.every((l) => l !== undefined) || file === undefined || test === undefined) {
      throw new Error(`${PAGE}: a line is not in code, or no \`file\`: "name": ${line}`)
    }
    found.push({ program, lines: lines.filter((l) => l !== undefined), entrance, limits, file, test })
  }
  return found
}

/** The line that starts the bridge, from the page's first block of code. */
export function bridgeLine(): string {
  const text = readFileSync(join(root, PAGE), 'utf8')
  const [, block = ''] = /^```sh\n(sstp-socks [\s\S]*?)```$/m.exec(text) ?? []
  const line = block.replaceAll('\\\n', ' ').trim()
  if (line === '') throw new Error(`${PAGE} does not say how to start the bridge`)
  return line
}
