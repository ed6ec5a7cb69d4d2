// Module hooks (node:module): `./x.js` means `./x.ts` where there is one, and its code comes from the build. URLs stay
// those of the sources, so paths relative to a test hold, and stack traces show its lines.
import { readFileSync, statSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const ROOT = new URL('../../', import.meta.url).href
const BUILT = new URL('dist/test/', ROOT)

export async function resolve(specifier, context, next) {
  if (specifier.startsWith('.') && specifier.endsWith('.js') && isOurs(context.parentURL)) {
    const url = new URL(`${specifier.slice(0, -3)}.ts`, context.parentURL)
    if (modified(url) > 0) return { url: url.href, format: 'module', shortCircuit: true }
  }
  return next(specifier, context)
}

export async function load(url, context, next) {
  if (!url.endsWith('.ts') || !isOurs(url)) return next(url, context)
  return { format: 'module', source: await compiled(new URL(url)), shortCircuit: true }
}

function isOurs(url) {
  return url?.startsWith(ROOT) === true && !url.startsWith(`${ROOT}node_modules/`)
}

/** From the build; compiled here if that is older, as it is for whoever runs one test again and again. */
async function compiled(url) {
  const built = new URL(url.href.slice(ROOT.length).replace(/\.ts$/, '.js'), BUILT)
  if (modified(built) >= modified(url)) return readFileSync(built, 'utf8')
  const { default: ts } = await import('typescript')
  const { outputText } = ts.transpileModule(readFileSync(url, 'utf8'), {
    fileName: fileURLToPath(url),
    compilerOptions: {
      target: ts.ScriptTarget.ES2022,
      module: ts.ModuleKind.ESNext,
      verbatimModuleSyntax: true,
      inlineSourceMap: true,
    },
  })
  return outputText
}

/** Milliseconds; 0 for what is not there. */
function modified(url) {
  return statSync(url, { throwIfNoEntry: false })?.mtimeMs ?? 0
}
