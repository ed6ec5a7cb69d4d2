/** Processes that are measured or help to measure: started, asked, and always ended. */
import { fork } from 'node:child_process'
import { fileURLToPath } from 'node:url'

const TIMEOUT = 15_000

/** @type {Set<Child>} */
const running = new Set()

export class Child {
  /** @type {Map<number, { resolve(value: unknown): void, reject(error: Error): void, timer: NodeJS.Timeout }>} */
  #waiting = new Map()
  #count = 0
  #ended = false

  /**
   * @param {string} worker file in `workers/`
   * @param {Record<string, string>} [env]
   */
  constructor(worker, env = {}) {
    this.name = worker
    const path = fileURLToPath(new URL(`../workers/${worker}.mjs`, import.meta.url))
    this.process = fork(path, [], {
      env: { ...process.env, ...env },
      execArgv: ['--expose-gc'],
      serialization: 'advanced',
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    })
    running.add(this)
    this.process.on('message', (message) => this.#onMessage(/** @type {any} */ (message)))
    this.process.on('error', (error) => this.#fail(error))
    this.process.on('exit', (code, signal) => {
      running.delete(this)
      this.#fail(new Error(`${worker} ended (${signal ?? code})`))
    })
  }

  /**
   * Calls a handler of the process.
   *
   * @param {string} name
   * @param {...unknown} args
   * @returns {Promise<any>}
   */
  ask(name, ...args) {
    return this.askFor(TIMEOUT, name, ...args)
  }

  /**
   * The same with a limit of its own, milliseconds.
   *
   * @param {number} limit
   * @param {string} name
   * @param {...unknown} args
   * @returns {Promise<any>}
   */
  askFor(limit, name, ...args) {
    return new Promise((resolve, reject) => {
      if (this.#ended) {
        reject(new Error(`${this.name} has ended`))
        return
      }
      const id = ++this.#count
      const timer = setTimeout(() => {
        this.#waiting.delete(id)
        reject(new Error(`${this.name} did not answer ${name} within ${limit} ms`))
      }, limit)
      this.#waiting.set(id, { resolve, reject, timer })
      this.process.send({ id, name, args })
    })
  }

  end() {
    this.#fail(new Error(`${this.name} was ended`))
    this.process.kill('SIGKILL')
  }

  /** @param {{ id?: number, result?: unknown, error?: string }} message */
  #onMessage({ id, result, error }) {
    const waiting = id === undefined ? undefined : this.#waiting.get(id)
    if (id === undefined || waiting === undefined) return
    this.#waiting.delete(id)
    clearTimeout(waiting.timer)
    if (error === undefined) waiting.resolve(result)
    else waiting.reject(new Error(`${this.name}: ${error}`))
  }

  /** @param {Error} error */
  #fail(error) {
    this.#ended = true
    for (const { reject, timer } of this.#waiting.values()) {
      clearTimeout(timer)
      reject(error)
    }
    this.#waiting.clear()
  }
}

export function endAll() {
  for (const child of running) child.end()
}

process.on('exit', endAll)
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
  process.once(signal, () => process.exit(130))
}
