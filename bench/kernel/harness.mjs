/** The interop tests' harness (TypeScript), loaded with the loader that the tests run with. */
process.env.TS_NODE_TRANSPILE_ONLY ??= '1'
await import('@tapjs/typescript/import')

export const { buildTools } = await import('../../test/interop/kernel/host.ts')
export const { flow } = await import('../../test/interop/kernel/flow.ts')
export const { World } = await import('../../test/interop/kernel/world.ts')
export const { Race } = await import('../../test/interop/kernel/race.ts')
