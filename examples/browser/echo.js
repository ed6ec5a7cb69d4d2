// Two stacks in one page, joined by a MessageChannel that carries their packets, by the page's own clock and timers.
// One sends a megabyte, the other echoes it, and the page says what came back. Serve the project's folder with any
// static web server (after `npm run build`) and open examples/browser/.
import { IpAddress, NetStack, READY_ACCEPT, READY_CLOSED, READY_CONNECTED, takeReady } from 'sstp-socks/stack'

const MTU = 1500
const PORT = 7
const now = () => performance.now()

/** A stack behind one end of a MessageChannel, with the one timer that it needs. */
class Host {
  #timer

  constructor(address, port, onNews) {
    this.stack = new NetStack({ mtu: MTU, random: (dst) => crypto.getRandomValues(dst) })
    this.stack.addAddress(IpAddress.parse(address))
    this.port = port
    this.onNews = onNews
    port.onmessage = ({ data }) => {
      this.stack.input(data, 0, data.length, now())
      this.turn()
    }
  }

  turn() {
    const { stack } = this
    if (stack.nextTimeout() <= now()) stack.handleTimeout(now())
    for (let socket; (socket = stack.nextReady()); ) this.onNews(socket, takeReady(socket))
    const packet = new Uint8Array(MTU)
    for (let n; (n = stack.output(packet, 0, now())) > 0; ) this.port.postMessage(packet.slice(0, n))
    clearTimeout(this.#timer)
    const wait = stack.nextTimeout() - now()
    if (wait < Infinity) this.#timer = setTimeout(() => this.turn(), Math.max(0, wait) + 1)
  }

  close() {
    clearTimeout(this.#timer)
    this.stack.close()
    this.port.close()
  }
}

/** Echoes what comes on PORT; reads no faster than it can write. */
function echo(host) {
  const listener = host.stack.listen({ port: PORT })
  host.onNews = (socket, news) => {
    if (news & READY_ACCEPT) while (host.stack.accept(listener)) {}
    if (socket.kind !== 'tcp') return
    while (socket.readable > 0 && socket.writable) {
      const view = socket.peek()
      socket.write(view.slice())
      socket.consume(view.length)
    }
    if (socket.ended && socket.readable === 0) socket.end()
  }
}

/** Sends `message` and resolves with all that came back. */
function ask(host, to, message) {
  return new Promise((resolve, reject) => {
    const chunks = []
    host.onNews = (socket, news) => {
      if (news & READY_CONNECTED) {
        socket.write(message)
        socket.end()
      }
      while (socket.readable > 0) {
        const view = socket.peek()
        chunks.push(view.slice())
        socket.consume(view.length)
      }
      if (!(news & READY_CLOSED)) return
      if (socket.error === undefined) resolve(new Blob(chunks).arrayBuffer())
      else reject(new Error(socket.error))
    }
    const connection = host.stack.connect({ address: IpAddress.parse(to), port: PORT }, now())
    if (typeof connection === 'string') reject(new Error(connection))
    host.turn()
  })
}

async function sha256(data) {
  const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', data))
  return Array.from(digest, (octet) => octet.toString(16).padStart(2, '0')).join('')
}

function show(name, value) {
  const row = document.querySelector('#result').insertRow()
  row.insertCell().textContent = name
  const cell = row.insertCell()
  cell.id = name
  cell.textContent = value
}

function failed(what) {
  document.querySelector('#errors').append(`${what}\n`)
  document.querySelector('#state').textContent = 'failed'
}

addEventListener('error', (event) => failed(event.message))
addEventListener('unhandledrejection', (event) => failed(event.reason))

const { port1, port2 } = new MessageChannel()
const client = new Host('fd00::1', port1)
const server = new Host('fd00::2', port2)
echo(server)
const message = new Uint8Array(1 << 20).map((_, i) => (i * 31) ^ (i >> 8))
document.querySelector('#state').textContent = 'running'
const started = now()
const answer = await ask(client, 'fd00::2', message)
show('milliseconds', Math.round(now() - started))
show('sent', message.length)
show('received', answer.byteLength)
show('sha256-sent', await sha256(message))
show('sha256-received', await sha256(answer))
for (const [name, { stack }] of Object.entries({ client, server })) {
  show(`${name}-packets-out`, stack.counters.packetsOut)
  show(`${name}-packets-in`, stack.counters.packetsIn)
}
client.close()
server.close()
show('held', client.stack.held.bytes + server.stack.held.bytes)
document.querySelector('#state').textContent = 'done'
