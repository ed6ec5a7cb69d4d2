import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { SSTP_ERROR_CODES } from '../src/sstp/errors.js'

const root = fileURLToPath(new URL('..', import.meta.url))
const read = (path: string): string => readFileSync(join(root, path), 'utf8')

/** All TypeScript files under a folder. */
function sources(folder: string): string[] {
  return readdirSync(join(root, folder), { recursive: true, withFileTypes: true })
    .filter((e) => e.isFile() && e.name.endsWith('.ts'))
    .map((e) => join(e.parentPath, e.name))
}

t.test('every error code that people can see is explained', (t) => {
  const page = read('docs/errors.md')
  const codes = new Set<string>(SSTP_ERROR_CODES)
  for (const file of [
    ...sources('src/transport'),
    ...sources('src/link'),
    ...sources('src/tunnel'),
    ...sources('src/gateway'),
    ...sources('src/cli'),
  ]) {
    for (const [, code = ''] of readFileSync(file, 'utf8').matchAll(
      /'((?:DNS|TCP|TLS|HTTP|PROXY|BINDING|CALLS?|SETUP|ZERO|AUTH|EAP|PASSWORD|OTHER|PEER|ACCEPT|STRANGERS|ADDRESS|ACCOUNT|RADIUS)_[A-Z_]+)'/g,
    )) {
      codes.add(code)
    }
  }
  for (const [, code = ''] of read('src/ppp/errors.ts').matchAll(/^ {2}\| '([A-Z_]+)'$/gm)) codes.add(code)
  t.ok(codes.size > 40, `${codes.size} codes found`)
  for (const code of codes) t.ok(page.includes(`\`${code}\``), code)
  t.end()
})

t.test('the README’s two commands and options exist', (t) => {
  const readme = read('README.md')
  const { scripts, engines } = JSON.parse(read('package.json'))
  for (const [, script = ''] of readme.matchAll(/npm run ([a-z:]+)/g))
    t.ok(scripts[script], `npm run ${script}`)
  t.ok(scripts.test)
  t.equal(engines.node, '>=20')
  const options = ['src/cli/options.ts', 'src/cli/program.ts', 'src/cli/serve.ts', 'bench/run.mjs']
    .map(read)
    .join('')
  for (const [, option = ''] of readme.matchAll(/--([a-z][a-z0-9-]+)/g)) {
    if (option === 'socks5-hostname') continue // curl's
    const name = option.replace(/^no-/, '')
    const camel = name.replace(/-(.)/g, (_, c: string) => c.toUpperCase())
    t.ok(
      options.includes(`'${name}'`) || options.includes(`${camel}:`) || options.includes(`${name}:`),
      `--${option}`,
    )
  }
  t.end()
})
