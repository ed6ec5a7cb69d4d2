// A stack on a real link with a real clock: IP packets as payload of UDP between two processes. What is done here
// with a UDP socket is done alike with a TUN device, a WebSocket or any other thing that carries packets.
//
//   node examples/udp-wire.mjs server                    prints the UDP port that it has got
//   node examples/udp-wire.mjs client 127.0.0.1 PORT     sends 4 MiB over TCP, gets their SHA-256 back, and ends
import { createHash, randomBytes, randomFillSync } from 'node:crypto'
import { createSocket } from 'node:dgram'
import { IpAddress, NetStack, READY_CLOSED, READY_CONNECTED, takeReady } from 'sstp-socks/stack'

const MTU = 1400 // leaves room for the outer IP and UDP headers
const SERVER = { address: IpAddress.parse('10.9.0.1'), port: 80 }
const LONGEST = 0x7ffffffe // milliseconds that a timer can wait, less one
const now = () => performance.now()

/** Moves packets between a stack and a UDP socket, and owns the one timer that the stack needs. */
class Driver {
  #due = false
  #timer
  #onTheWay = 0

  constructor(stack, udp, peer, onNews) {
    Object.assign(this, { stack, udp, peer, onNews })
    udp.on('message', (packet, from) => {
      if (peer === undefined) this.peer = from // a server answers whoever was the last to send
      stack.input(packet, 0, packet.length, now())
      this.wake()
    })
  }

  /** To be called whenever something was done to the stack or to one of its sockets. */
  wake() {
    if (this.#due) return
    this.#due = true
    setImmediate(() => this.#turn()) // by then all that came in this turn of the event loop has been taken
  }

  #turn() {
    const { stack } = this
    this.#due = false
    if (stack.nextTimeout() <= now()) stack.handleTimeout(now())
    for (let socket; (socket = stack.nextReady()); ) this.onNews(socket, takeReady(socket))
    // A link that is busy is not given more: what waits in the stack is sent in the best order later.
    while (this.#onTheWay < 64 && stack.hasOutput) {
      const packet = new Uint8Array(MTU)
      const n = stack.output(packet, 0, now())
      if (n === 0) break
      if (this.peer === undefined) continue
      this.#onTheWay++
      this.udp.send(packet.subarray(0, n), this.peer.port, this.peer.address, () => {
        this.#onTheWay--
        this.wake()
      })
    }
    clearTimeout(this.#timer)
    const wait = stack.nextTimeout() - now()
    if (wait < Infinity) this.#timer = setTimeout(() => this.wake(), Math.min(Math.max(0, wait), LONGEST) + 1)
  }

  close() {
    clearTimeout(this.#timer)
    this.stack.close()
    this.udp.close()
  }
}

function newStack(address) {
  const stack = new NetStack({ mtu: MTU, random: (dst) => randomFillSync(dst) })
  stack.addAddress(IpAddress.parse(address))
  return stack
}

function serve(udp) {
  const stack = newStack('10.9.0.1')
  const listener = stack.listen({ port: SERVER.port })
  new Driver(stack, udp, undefined, (socket) => {
    if (socket === listener) {
      for (let c = stack.accept(listener); c; c = stack.accept(listener)) c.owner = createHash('sha256')
      return
    }
    for (let view = socket.peek(); view.length > 0; view = socket.peek()) {
      socket.owner.update(view)
      socket.consume(view.length)
    }
    if (socket.ended && socket.owner !== undefined) {
      socket.write(socket.owner.digest())
      socket.owner = undefined
      socket.end()
    }
  })
  console.log(`port ${udp.address().port}`)
}

function send(udp, peer) {
  const data = randomBytes(4 << 20)
  const stack = newStack('10.9.0.2')
  const digest = new Uint8Array(32)
  let received = 0
  const driver = new Driver(stack, udp, peer, (socket, news) => {
    if (news & READY_CONNECTED) {
      socket.write(data)
      socket.end()
    }
    received += socket.read(digest.subarray(received))
    if (!(news & READY_CLOSED)) return
    const right = createHash('sha256').update(data).digest().equals(digest)
    console.log(`${data.length} octets sent, SHA-256 ${right ? 'is right' : `is wrong: ${socket.error}`}`)
    process.exitCode = right ? 0 : 1
    setImmediate(() => driver.close()) // behind this turn, which sends the last acknowledgement
  })
  const connection = stack.connect(SERVER, now())
  if (typeof connection === 'string') throw new Error(connection)
  driver.wake()
}

const [role, address, port] = process.argv.slice(2)
const udp = createSocket('udp4')
udp.bind(0, '127.0.0.1', () => {
  if (role === 'server') serve(udp)
  else if (role === 'client' && port !== undefined) send(udp, { address, port: Number(port) })
  else throw new Error('give it "server", or "client", an address and a port')
})
