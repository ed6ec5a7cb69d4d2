// Lets Node run the project's TypeScript as `tsc -p test` has compiled it. tap's own loader compiles it anew in every
// process, which costs more than most of the tests.
import { register } from 'node:module'

register('./hooks.mjs', import.meta.url)
