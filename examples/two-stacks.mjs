// Two TCP/IP stacks, joined by a cable that takes 10 ms each way: a client sends a megabyte to an echo server and
// looks at what comes back. A stack has no clock, no timer and no link of its own, so time here is a number that
// jumps from event to event. Run it with: node examples/two-stacks.mjs
import { IpAddress, NetStack, READY_ACCEPT, READY_CLOSED, READY_CONNECTED, takeReady } from 'sstp-socks/stack'

const MTU = 1500
const DELAY = 10
const MESSAGE = new Uint8Array(1_000_000).map((_, i) => i * 7 + (i >> 8))

function host(address) {
  const stack = new NetStack({ mtu: MTU, random: (dst) => crypto.getRandomValues(dst) })
  stack.addAddress(IpAddress.parse(address))
  return stack
}

// The server echoes whatever comes.
const server = host('10.0.0.2')
const listener = server.listen({ port: 7 })

function serverNews(socket, news) {
  if (news & READY_ACCEPT) while (server.accept(listener)) {} // each of them will have news of its own
  if (socket.kind !== 'tcp') return
  // It reads no faster than it can write, so a client that never reads cannot fill our memory.
  while (socket.readable > 0 && socket.writable) {
    const view = socket.peek() // the stack's memory, good until consume
    socket.write(view.slice()) // a copy, which is the stack's from now on
    socket.consume(view.length)
  }
  if (socket.ended && socket.readable === 0) socket.end()
}

// The client sends the message and keeps the answer.
const client = host('10.0.0.1')
const answer = new Uint8Array(MESSAGE.length)
let received = 0
const connection = client.connect({ address: IpAddress.parse('10.0.0.2'), port: 7 }, 0)
if (typeof connection === 'string') throw new Error(connection)

function clientNews(socket, news, now) {
  if (news & READY_CONNECTED) {
    console.log(`${now} ms: connected, ${socket.tuple}`)
    socket.write(MESSAGE) // whole; who makes data on the way stops at `false` and goes on at READY_WRITABLE
    socket.end()
  }
  received += socket.read(answer.subarray(received))
  if (news & READY_CLOSED) console.log(`${now} ms: closed, ${socket.error ?? 'no error'}`)
}

// The driver: all that a real one does too, with a link and a timer in place of `cable` and `now`.
const a = { stack: client, onNews: clientNews, cable: [] } // `cable` holds what is on its way to this end
const b = { stack: server, onNews: serverNews, cable: [], peer: a }
a.peer = b
const buffer = new Uint8Array(MTU)

for (let now = 0; now < Infinity; ) {
  for (const { stack, onNews, cable, peer } of [a, b]) {
    while (cable.length > 0 && cable[0].at <= now) {
      const { packet } = cable.shift()
      stack.input(packet, 0, packet.length, now)
    }
    if (stack.nextTimeout() <= now) stack.handleTimeout(now)
    for (let socket; (socket = stack.nextReady()); ) onNews(socket, takeReady(socket), now)
    for (let n; (n = stack.output(buffer, 0, now)) > 0; )
      peer.cable.push({ at: now + DELAY, packet: buffer.slice(0, n) })
  }
  now = Math.min(...[a, b].flatMap(({ stack, cable }) => [stack.nextTimeout(), cable[0]?.at ?? Infinity]))
}

const same = received === MESSAGE.length && answer.every((octet, i) => octet === MESSAGE[i])
console.log(`${received} octets came back, ${same ? 'all as they were sent' : 'not all as they were sent'}`)
