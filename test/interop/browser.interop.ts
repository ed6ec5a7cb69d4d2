/** The stack in a browser: examples/browser/ in a headless chromium, as plain ES modules from a static web server. */
import { type ChildProcess, spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { extname, join } from 'node:path'
import type { Readable, Writable } from 'node:stream'
import { fileURLToPath } from 'node:url'
import t from 'tap'

const root = fileURLToPath(new URL('../..', import.meta.url))
const PATIENCE = 120_000

/** The message of examples/browser/echo.js. */
const message = new Uint8Array(1 << 20).map((_, i) => (i * 31) ^ (i >> 8))
const sha256 = createHash('sha256').update(message).digest('hex')

const TYPES: Readonly<Record<string, string>> = { '.html': 'text/html', '.js': 'text/javascript' }

interface Web {
  readonly server: Server
  readonly url: string
  /** Path and status of every answer. */
  readonly answers: (readonly [path: string, status: number])[]
}

/** A web server for the page and the built stack, and for nothing else. */
async function serveFiles(): Promise<Web> {
  const answers: Web['answers'] = []
  const server = createServer((request, response) => {
    const path = new URL(request.url ?? '/', 'http://localhost').pathname
    const type = TYPES[extname(path)]
    const allowed = /^\/(examples\/browser|dist\/stack)\/[\w/.-]+$/.test(path) && !path.includes('..')
    const body = type !== undefined && allowed ? readFile(join(root, path)) : Promise.reject(new Error(path))
    body.then(
      (bytes) => {
        answers.push([path, 200])
        response.writeHead(200, { 'content-type': type }).end(bytes)
      },
      () => {
        answers.push([path, 404])
        response.writeHead(404).end()
      },
    )
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject).listen(0, '127.0.0.1', resolve)
  })
  const { port } = server.address() as AddressInfo
  return { server, url: `http://127.0.0.1:${port}/examples/browser/index.html`, answers }
}

interface Message {
  readonly id?: number
  readonly method?: string
  readonly params?: Readonly<Record<string, unknown>>
  readonly result?: Readonly<Record<string, unknown>>
  readonly error?: { readonly message: string }
}

/** A browser on the other end of a pipe, which speaks the DevTools protocol: JSON, each ended by a NUL. */
class Browser {
  readonly events: Message[] = []
  private readonly child: ChildProcess
  private readonly commands: Writable
  private readonly waiting = new Map<number, (m: Message) => void>()
  private readonly dead: Promise<never>
  private readonly exited: Promise<void>
  private stderr = ''
  private text = ''
  private lastId = 0

  constructor(profile: string) {
    const quiet = ['component-update', 'sync', 'background-networking', 'gpu', 'quic'].map(
      (f) => `--disable-${f}`,
    )
    const args = ['--headless', '--no-sandbox', '--no-first-run', ...quiet, '--remote-debugging-pipe']
    this.child = spawn('chromium', [...args, `--user-data-dir=${profile}`, 'about:blank'], {
      stdio: ['ignore', 'ignore', 'pipe', 'pipe', 'pipe'],
    })
    this.child.stderr?.setEncoding('utf8').on('data', (s: string) => {
      this.stderr += s
    })
    this.exited = new Promise((resolve) => {
      this.child.once('close', () => resolve()).once('error', () => resolve())
    })
    this.dead = new Promise((_, reject) => {
      this.child.once('error', (e) => reject(new Error(`chromium cannot be started: ${e.message}`)))
      this.child.once('close', (code) => reject(new Error(`chromium ended with ${code}\n${this.stderr}`)))
    })
    this.dead.catch(() => {})
    const [, , , commands, replies] = this.child.stdio as [null, null, Readable, Writable, Readable]
    commands.on('error', () => {})
    replies.setEncoding('utf8').on('data', (s: string) => this.received(s))
    this.commands = commands
  }

  /** Sends a command; a refusal, the end of the browser and a long silence are errors. */
  async ask(method: string, params: Readonly<Record<string, unknown>> = {}, sessionId?: string) {
    const id = ++this.lastId
    const answered = new Promise<Message>((resolve) => void this.waiting.set(id, resolve))
    this.commands.write(`${JSON.stringify({ id, method, params, sessionId })}\0`)
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new Error(`${method}: no answer\n${this.stderr}`)), PATIENCE)
    })
    const answer = await Promise.race([answered, late, this.dead]).finally(() => clearTimeout(timer))
    if (answer.error !== undefined) throw new Error(`${method}: ${answer.error.message}`)
    return answer.result ?? {}
  }

  /** Asks it to go, so that its own children are gone too; one that does not go is killed. */
  async end(): Promise<void> {
    const timer = setTimeout(() => this.child.kill('SIGKILL'), 10_000)
    await this.ask('Browser.close').catch(() => {})
    await this.exited
    clearTimeout(timer)
  }

  private received(s: string): void {
    const parts = (this.text + s).split('\0')
    this.text = parts.pop() ?? ''
    for (const part of parts) {
      const m = JSON.parse(part) as Message
      if (m.id === undefined) this.events.push(m)
      else this.waiting.get(m.id)?.(m)
    }
  }
}

/** In the page: waits until it says that it is over, and tells what stands in it. */
const WHEN_OVER = `new Promise((resolve) => {
  const over = () => {
    const state = document.querySelector('#state')?.textContent
    if (state !== 'done' && state !== 'failed') return false
    const cells = [...document.querySelectorAll('#result td[id]')].map((c) => [c.id, c.textContent])
    resolve({ state, errors: document.querySelector('#errors').textContent, ...Object.fromEntries(cells) })
    return true
  }
  const watch = () => over() || new MutationObserver((_, o) => over() && o.disconnect())
    .observe(document, { subtree: true, childList: true, characterData: true })
  if (document.readyState === 'complete') watch()
  else addEventListener('load', watch)
})`

t.test('two stacks in a page echo a megabyte', async (t) => {
  const web = await serveFiles()
  const profile = await mkdtemp(join(tmpdir(), 'browser-'))
  const browser = new Browser(profile)
  t.teardown(async () => {
    await browser.end()
    web.server.close()
    await rm(profile, { recursive: true, force: true, maxRetries: 5 })
  })
  const { targetId } = await browser.ask('Target.createTarget', { url: 'about:blank' })
  const { sessionId } = (await browser.ask('Target.attachToTarget', { targetId, flatten: true })) as {
    sessionId: string
  }
  for (const domain of ['Runtime', 'Log', 'Page']) await browser.ask(`${domain}.enable`, {}, sessionId)
  const { errorText } = await browser.ask('Page.navigate', { url: web.url }, sessionId)
  t.equal(errorText, undefined, 'the page loads')
  const evaluated = await browser.ask(
    'Runtime.evaluate',
    { expression: WHEN_OVER, awaitPromise: true, returnByValue: true },
    sessionId,
  )
  const page = (evaluated as { result: { value: Record<string, string> } }).result.value
  t.same([page.state, page.errors], ['done', ''], 'the page has come to its end without an error')
  t.same(
    [page.sent, page.received],
    [String(message.length), String(message.length)],
    'every octet came back',
  )
  t.same([page['sha256-sent'], page['sha256-received']], [sha256, sha256], 'the right ones')
  t.equal(page.held, '0', 'the closed stacks hold nothing')
  // Nothing is lost on a MessageChannel: what one end sent the other got.
  t.equal(page['server-packets-in'], page['client-packets-out'])
  t.equal(page['client-packets-in'], page['server-packets-out'])
  t.ok(Number(page['client-packets-out']) > message.length / 1440, 'the data went through packets')

  const complaints = browser.events.filter(
    (e) =>
      e.method === 'Runtime.exceptionThrown' ||
      e.method === 'Runtime.consoleAPICalled' ||
      e.method === 'Log.entryAdded',
  )
  t.same(complaints, [], 'no exception, and nothing on the console')
  t.same(
    web.answers.filter(([, status]) => status !== 200),
    [],
    'every file that was asked for is there',
  )
  const modules = web.answers.map(([path]) => path).filter((path) => path.startsWith('/dist/stack/'))
  t.ok(
    modules.includes('/dist/stack/netstack.js') && modules.length > 20,
    `${modules.length} modules of the stack`,
  )
  t.comment(`${page.milliseconds} ms for 2 MiB in the page`)
})
