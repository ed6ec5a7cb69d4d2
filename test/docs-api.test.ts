/** Everything that `sstp-socks/stack` exports is documented: what `npm run docs` would complain of is an error here. */
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { Application, Logger, LogLevel, TSConfigReader, TypeDocReader } from 'typedoc'

class Complaints extends Logger {
  readonly lines: string[] = []

  override log(message: string, level: LogLevel): void {
    if (level >= LogLevel.Warn) this.lines.push(message)
  }
}

t.test('the API pages of the stack have no gaps', async (t) => {
  const options = fileURLToPath(new URL('../typedoc.json', import.meta.url))
  const app = await Application.bootstrap({ options }, [new TypeDocReader(), new TSConfigReader()])
  const complaints = new Complaints()
  app.logger = complaints
  const project = await app.convert()
  t.same(complaints.lines, [], 'it reads without a warning')
  if (project === undefined) return t.fail('nothing was read')
  app.validate(project)
  t.same(complaints.lines, [], 'all of it is documented, exported and linked')
  const names = new Set((project.children ?? []).map((child) => child.name))
  for (const name of [
    'NetStack',
    'TcpConnection',
    'TcpListener',
    'UdpSocket',
    'PingSocket',
    'IpAddress',
    'StackLimits',
  ])
    t.ok(names.has(name), name)

  // And it would have said so: nobody asks for words about each parameter.
  app.options.setValue('requiredToBeDocumented', ['Parameter'])
  app.validate(project)
  t.ok(complaints.lines.some((line) => line.includes('NetStack.input')))
})
