/** The command line, the environment or a file that it names cannot be used: exit status 2, one line, no stack. */
export class UsageError extends Error {
  override readonly name = 'UsageError'
}
