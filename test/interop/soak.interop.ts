/**
 * Five minutes in which the server is killed, frozen and restarted at random while downloads run through the product:
 * it stays up, each download that ends is whole, and nothing of it grows. SOAK_SECONDS says another time, SOAK_SEED
 * repeats the order of events.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { dirname } from 'node:path'
import t from 'tap'
import { SeededRandom } from '../helpers/random.js'
import { type Facts, Lab } from './lab.js'
import { sha256Of } from './process.js'
import { Product, type Running } from './product.js'

const SECONDS = Number(process.env.SOAK_SECONDS ?? 300)
const SEED = Number(process.env.SOAK_SEED ?? 1)
const DOWNLOADERS = 4

const product = new Product()
t.teardown(() => product.close())
const lab = await Lab.open()
t.teardown(() => lab.down())

const pause = (seconds: number) => new Promise((resolve) => setTimeout(resolve, seconds * 1000))

/** As the guest started it at first. */
const RESTART = `
import json, os, sys
root = sys.argv[1]
conf = json.load(open(root + "/server/conf.json"))
os.chdir("/run")
open("/run/sstpd.pid", "w").write(str(os.getpid()))
sys.path.insert(0, root + "/server/py")
import sstpd.__main__
sys.argv = ["sstpd", "-l", conf["addr4"] + "," + conf["addr6"], "-p", str(conf["port"]),
            "-c", root + "/pki/server.pem", "-k", root + "/pki/server.key", "--local", "192.168.79.1",
            "--remote", "192.168.79.0/24", "--pppd", "/usr/sbin/pppd", "--pppd-config", "/etc/ppp/options.sstpd", "-v", "20"]
sstpd.__main__.main()
`

async function restart(facts: Facts): Promise<void> {
  const root = dirname(dirname(dirname(facts.logs.sstpd)))
  const start = 'setsid /usr/bin/python3 -O -c "$1" "$2" </dev/null >>"$2/server/log/sstpd.log" 2>&1 &'
  await lab.exec('server', 'bash', '-c', start, 'restart', RESTART, root)
}

/** What /proc says that a process holds. */
function held(pid: number): { readonly rss: number; readonly files: number; readonly threads: number } {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8')
  const field = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(status)?.[1])
  return {
    rss: field('VmRSS') / 1024,
    files: readdirSync(`/proc/${pid}/fd`).length,
    threads: field('Threads'),
  }
}

/** Downloads one after the other until told to stop. */
async function downloads(running: Running, facts: Facts, over: () => boolean, done: Done): Promise<void> {
  const { socks } = running.ready
  const file = facts.inner.files['16MiB']
  if (!socks || !file) throw new Error('no proxy, or no file')
  const quiet = ['--silent', '--show-error', '--fail', '--max-time', '120', '--limit-rate', '4M']
  const proxy = ['--socks5-hostname', `${socks.address}:${socks.port}`]
  while (!over()) {
    try {
      const got = await sha256Of('curl', [...quiet, ...proxy, `http://web.lin.test${file.path}`])
      done.finished++
      if (got.sha256 !== file.sha256 || got.bytes !== file.bytes) done.broken.push(JSON.stringify(got))
    } catch {
      // Reset, because the server gave another address; or there was no tunnel in time.
      done.interrupted++
      await pause(0.2)
    }
  }
}

interface Done {
  finished: number
  interrupted: number
  readonly broken: string[]
}

t.test('a server that is killed, frozen and restarted at random', async (t) => {
  t.comment(`SOAK_SEED=${SEED} SOAK_SECONDS=${SECONDS}`)
  const random = new SeededRandom(SEED)
  const facts = await lab.up('mschapv2')
  const { host, port } = facts.server
  const running = await product.start(
    'connect',
    `${host}:${port}`,
    '--user',
    'alice',
    '--password-file',
    product.file('password', 'password1\n'),
    '--ca',
    product.file('ca.pem', readFileSync(facts.tls.ca), 0o644),
    '--socks',
    '127.0.0.1:0',
    '--http',
    'off',
    '--timeout',
    '20',
  )
  const lines = () => running.lines.map((line) => JSON.parse(line) as { event: string })
  const count = (event: string) => lines().filter((line) => line.event === event).length
  const events: Readonly<Record<string, () => Promise<unknown>>> = {
    killed: async () => {
      await lab.exec('server', 'bash', '-c', 'kill -KILL $(cat /run/sstpd.pid); pkill -KILL pppd; true')
      await pause(3 * random.next())
      await restart(facts)
    },
    restarted: async () => {
      await lab.exec(
        'server',
        'bash',
        '-c',
        'kill -TERM $(cat /run/sstpd.pid); sleep 1; pkill -KILL pppd; true',
      )
      await restart(facts)
    },
    // Too short to be noticed: everything goes on.
    'frozen for a moment': async () => {
      await lab.freeze()
      await pause(1 + 4 * random.next())
      await lab.thaw()
    },
    // Long enough to be found dead, in 18 s at most, and a little more where all of this machine is slow.
    'frozen for long': async () => {
      const before = count('disconnected')
      await lab.freeze()
      await pause(19 + 3 * random.next())
      for (let i = 0; i < 100 && count('disconnected') === before; i++) await pause(0.1)
      await lab.thaw()
    },
  }
  const names = Object.keys(events)
  const done: Done = { finished: 0, interrupted: 0, broken: [] }
  const end = performance.now() + SECONDS * 1000
  // How many fit into the time is this machine's affair: where it is slow, the soak goes on until there are enough.
  const over = () => {
    const now = performance.now()
    return now >= end && (done.finished > SECONDS / 30 || now >= end + 150_000)
  }
  const workers = Array.from({ length: DOWNLOADERS }, () => downloads(running, facts, over, done))

  await pause(15)
  const warm = held(running.pid)
  const happened: string[] = []
  while (!over()) {
    const name = names[random.below(names.length)] ?? ''
    happened.push(name)
    await events[name]?.()
    // Calls that end with a farewell soon after they came up would count as those of an account that two people use.
    await pause(12 + 8 * random.next())
  }
  await Promise.all(workers)
  await pause(20)
  const last = held(running.pid)
  t.comment(`${happened.length} events: ${happened.join(', ')}`)
  t.comment(`${done.finished} downloads finished, ${done.interrupted} were interrupted`)
  t.comment(`lost ${count('disconnected')} times, up ${count('ready')} times`)
  t.comment(`at first ${JSON.stringify(warm)}, at the end ${JSON.stringify(last)}`)
  t.same(done.broken, [], 'each finished download is whole')
  t.ok(done.finished > SECONDS / 30, 'and enough of them were')
  t.ok(count('disconnected') > 0, 'the tunnel was lost')
  t.equal(lines().at(-1)?.event, 'ready', 'and is up in the end')
  t.equal(count('stopped'), 0)
  t.ok(last.files <= warm.files, 'no descriptor is left: four downloads are over')
  t.ok(last.threads <= warm.threads + 1, 'no thread')
  t.ok(last.rss < warm.rss + 60, `memory: ${warm.rss} MiB at first, ${last.rss} MiB at the end`)
  const { code, ms } = await running.stop('SIGTERM')
  t.equal(code, 0)
  t.ok(ms < 3000, `the end took ${Math.round(ms)} ms`)
})
