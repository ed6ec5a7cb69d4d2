/** Debian's chromium without a window, driven over a pipe by the DevTools protocol: JSON, each ended by a NUL. */
import type { ChildProcess } from 'node:child_process'
import type { Readable, Writable } from 'node:stream'
import type { World } from './world.js'

const PATIENCE = 60_000

type Fields = Readonly<Record<string, unknown>>

interface Message {
  readonly id?: number
  readonly method?: string
  readonly params?: Fields
  readonly result?: Fields
  readonly error?: { readonly message: string }
}

/** What a person does not type: no window, no sandbox of its own, no calls home, any certificate. */
const UNSEEN = [
  ...['--headless', '--no-sandbox', '--no-first-run', '--disable-dev-shm-usage', '--disable-gpu'],
  ...['--disable-component-update', '--disable-sync', '--disable-background-networking', '--disable-quic'],
  ...['--disable-domain-reliability', '--disable-default-apps', '--no-pings', '--ignore-certificate-errors'],
  ...['--disable-features=OptimizationHints,MediaRouter,Translate', '--remote-debugging-pipe'],
]

export class Chromium {
  readonly #child: ChildProcess
  readonly #commands: Writable
  readonly #waiting = new Map<number, (m: Message) => void>()
  readonly #listeners = new Set<(m: Message) => void>()
  /** Loaders of the documents that have loaded. */
  readonly #loaded = new Set<unknown>()
  readonly #dead: Promise<never>
  readonly #exited: Promise<void>
  #stderr = ''
  #text = ''
  #lastId = 0

  /** `line`: `chromium`, its options, and no address. */
  constructor(world: World, line: string, profile: string) {
    const all = [line, ...UNSEEN, `--user-data-dir=${profile}`, 'about:blank'].join(' ')
    this.#child = world.spawn(all, ['ignore', 'ignore', 'pipe', 'pipe', 'pipe'])
    this.#child.stderr?.setEncoding('utf8').on('data', (s: string) => {
      this.#stderr = (this.#stderr + s).slice(-4000)
    })
    this.#exited = new Promise((resolve) => {
      this.#child.once('close', () => resolve()).once('error', () => resolve())
    })
    this.#dead = this.#exited.then(() => {
      throw new Error(`chromium has ended\n${this.#stderr}`)
    })
    this.#dead.catch(() => {})
    const [, , , commands, replies] = this.#child.stdio as [null, null, Readable, Writable, Readable]
    commands.on('error', () => {})
    replies.setEncoding('utf8').on('data', (s: string) => this.#received(s))
    this.#commands = commands
  }

  /** Sends a command; a refusal, the end of the browser and a long silence are errors. */
  async ask(method: string, params: Fields = {}, sessionId?: string): Promise<Fields> {
    const id = ++this.#lastId
    const answered = new Promise<Message>((resolve) => void this.#waiting.set(id, resolve))
    this.#commands.write(`${JSON.stringify({ id, method, params, sessionId })}\0`)
    const answer = await this.#inTime(method, answered)
    if (answer.error !== undefined) throw new Error(`${method}: ${answer.error.message}`)
    return answer.result ?? {}
  }

  /** Opens a tab and attaches to it: the session to name in its commands. */
  async tab(): Promise<string> {
    const { targetId } = await this.ask('Target.createTarget', { url: 'about:blank' })
    const { sessionId } = await this.ask('Target.attachToTarget', { targetId, flatten: true })
    await this.ask('Page.enable', {}, String(sessionId))
    await this.ask('Page.setLifecycleEventsEnabled', { enabled: true }, String(sessionId))
    return String(sessionId)
  }

  /** Loads a page and waits for its load event, not that of the page before; why it could not, if it could not. */
  async load(sessionId: string, url: string): Promise<string | undefined> {
    const { errorText, loaderId } = await this.ask('Page.navigate', { url }, sessionId)
    if (errorText !== undefined) return String(errorText)
    if (!this.#loaded.has(loaderId)) await this.event('Page.lifecycleEvent', () => this.#loaded.has(loaderId))
    return undefined
  }

  /** What this expression is in the page. */
  async evaluate(sessionId: string, expression: string): Promise<unknown> {
    const options = { expression, awaitPromise: true, returnByValue: true }
    const { result } = await this.ask('Runtime.evaluate', options, sessionId)
    return (result as { value?: unknown }).value
  }

  /** Downloads an address into a directory; the name that it suggests, and how it ended. */
  async download(sessionId: string, url: string, to: string): Promise<{ name: unknown; state: unknown }> {
    const options = { behavior: 'allow', downloadPath: to, eventsEnabled: true }
    await this.ask('Browser.setDownloadBehavior', options)
    const begun = this.event('Browser.downloadWillBegin')
    const ended = this.event('Browser.downloadProgress', ({ state }) => state !== 'inProgress')
    await this.ask('Page.navigate', { url }, sessionId)
    const [{ suggestedFilename }, { state }] = await Promise.all([begun, ended])
    return { name: suggestedFilename, state }
  }

  /** The next event of this name for which this holds. */
  event(method: string, holds: (params: Fields) => boolean = () => true): Promise<Fields> {
    let listener: (m: Message) => void = () => {}
    const heard = new Promise<Fields>((resolve) => {
      listener = (m) => {
        if (m.method === method && holds(m.params ?? {})) resolve(m.params ?? {})
      }
      this.#listeners.add(listener)
    })
    return this.#inTime(method, heard).finally(() => this.#listeners.delete(listener))
  }

  /** Asks it to go, so that its own children are gone too; one that does not go is killed. */
  async end(): Promise<void> {
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), 10_000)
    await this.ask('Browser.close').catch(() => {})
    await this.#exited
    clearTimeout(timer)
  }

  async #inTime<T>(what: string, promise: Promise<T>): Promise<T> {
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new Error(`${what}: too late\n${this.#stderr}`)), PATIENCE)
    })
    return Promise.race([promise, late, this.#dead]).finally(() => clearTimeout(timer))
  }

  #received(s: string): void {
    const parts = (this.#text + s).split('\0')
    this.#text = parts.pop() ?? ''
    for (const part of parts) {
      const m = JSON.parse(part) as Message
      if (m.method === 'Page.lifecycleEvent' && m.params?.name === 'load') this.#loaded.add(m.params.loaderId)
      if (m.id === undefined) for (const listener of [...this.#listeners]) listener(m)
      else this.#waiting.get(m.id)?.(m)
    }
  }
}
