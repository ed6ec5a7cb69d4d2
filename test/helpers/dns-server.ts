import packet, { type Answer } from 'dns-packet'
import type { MemoryFlow, MemoryNetwork } from './memory-network.js'

export interface Asked {
  readonly id: number
  readonly name: string
  readonly type: string
  readonly edns: boolean
  readonly tcp: boolean
  readonly raw: Uint8Array
}

/** What a scripted server does with a query: answer with these messages, or not at all. */
export type Script = (asked: Asked) => Buffer | readonly Buffer[] | undefined

/** Serves DNS over UDP and TCP at an address; the result lists what it was asked. */
export function serveDns(network: MemoryNetwork, address: string, script: Script): Asked[] {
  const log: Asked[] = []
  const answer = (raw: Uint8Array, tcp: boolean): readonly Buffer[] => {
    const { id = 0, questions = [], additionals = [] } = packet.decode(Buffer.from(raw))
    const { name = '', type = 'A' } = questions[0] ?? {}
    const asked = { id, name, type, edns: additionals.some((a) => a.type === 'OPT'), tcp, raw }
    log.push(asked)
    const messages = script(asked)
    return messages === undefined
      ? []
      : Buffer.isBuffer(messages)
        ? [messages]
        : (messages as readonly Buffer[])
  }
  network.listenUdp(address, 53, (data, reply) => {
    for (const message of answer(data, false)) reply(message)
  })
  network.listen(address, 53, (flow) => serveTcp(flow, (data) => answer(data, true)))
  return log
}

function serveTcp(flow: MemoryFlow, answer: (data: Uint8Array) => readonly Buffer[]): void {
  let received = Buffer.alloc(0)
  flow.handler = {
    onReadable() {
      for (let view = flow.peek(); view.length > 0; view = flow.peek()) {
        received = Buffer.concat([received, view])
        flow.consume(view.length)
      }
      while (received.length >= 2 && received.length >= 2 + received.readUInt16BE(0)) {
        const query = received.subarray(2, 2 + received.readUInt16BE(0))
        received = received.subarray(2 + query.length)
        for (const message of answer(query)) {
          const length = Buffer.alloc(2)
          length.writeUInt16BE(message.length)
          flow.write(length)
          flow.write(message)
        }
      }
      if (flow.ended) flow.end()
    },
    onWritable() {},
    onClose() {},
  }
}

export interface Reply {
  readonly rcode?: number
  readonly answers?: readonly Answer[]
  readonly authorities?: readonly Answer[]
  readonly additionals?: readonly Answer[]
  readonly truncated?: boolean
  readonly id?: number
  readonly name?: string
  readonly noQuestion?: boolean
}

/** A response to a query, right unless told otherwise. */
export function respond(asked: Asked, reply: Reply = {}): Buffer {
  return packet.encode({
    type: 'response',
    id: reply.id ?? asked.id,
    flags:
      packet.RECURSION_DESIRED |
      packet.RECURSION_AVAILABLE |
      (reply.truncated === true ? packet.TRUNCATED_RESPONSE : 0) |
      (reply.rcode ?? 0),
    questions:
      reply.noQuestion === true
        ? []
        : [{ name: reply.name ?? asked.name, type: asked.type as 'A', class: 'IN' }],
    answers: [...(reply.answers ?? [])],
    authorities: [...(reply.authorities ?? [])],
    additionals: [...(reply.additionals ?? [])],
  })
}

export const a = (name: string, data: string, ttl = 300): Answer => ({ type: 'A', name, data, ttl })
export const aaaa = (name: string, data: string, ttl = 300): Answer => ({ type: 'AAAA', name, data, ttl })
export const cname = (name: string, data: string, ttl = 300): Answer => ({ type: 'CNAME', name, data, ttl })
export const soa = (name: string, ttl = 60, minimum = 60): Answer => ({
  type: 'SOA',
  name,
  ttl,
  data: { mname: `ns.${name}`, rname: `root.${name}`, serial: 1, refresh: 1, retry: 1, expire: 1, minimum },
})
