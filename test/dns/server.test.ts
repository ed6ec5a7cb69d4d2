import { createSocket, type Socket as UdpSocket } from 'node:dgram'
import diagnostics from 'node:diagnostics_channel'
import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import packet, { type Answer, type DecodedPacket } from 'dns-packet'
import t, { type Test } from 'tap'
import { createDialer, type DialerOptions } from '../../src/dns/dialer.js'
import type { DnsEvent } from '../../src/dns/events.js'
import { type HostNames, parseHosts } from '../../src/dns/hosts.js'
import { type DnsServerOptions, listenDns } from '../../src/dns/server.js'
import { type Client, DnsService } from '../../src/dns/service.js'
import { type NameSource, refusing } from '../../src/dns/source.js'
import { DNS_LINES, DnsLog } from '../../src/observe/dns-log.js'
import { createLogger } from '../../src/observe/logger.js'
import { DialError, type Network } from '../../src/tunnel/dialer.js'
import { a, aaaa, cname, respond, type Script, serveDns, soa } from '../helpers/dns-server.js'
import { MemoryNetwork } from '../helpers/memory-network.js'
import { SeededRandom } from '../helpers/random.js'
import { VirtualClock } from '../helpers/virtual-clock.js'

const DNS = '10.0.0.53'

interface Question {
  readonly name?: string
  readonly type?: string
  readonly id?: number
  readonly flags?: number
  /** Octets; none: no EDNS. */
  readonly edns?: number
  readonly dnssec?: boolean
  readonly dnsClass?: 'IN' | 'CH'
}

function ask(question: Question = {}): Buffer {
  const { name = 'host.example', type = 'A', id = 0x4242, edns, dnssec = false } = question
  return packet.encode({
    type: 'query',
    id,
    flags: question.flags ?? packet.RECURSION_DESIRED,
    questions: [{ type: type as 'A', name, class: question.dnsClass ?? 'IN' }],
    additionals:
      edns === undefined
        ? []
        : [
            {
              type: 'OPT',
              name: '.',
              udpPayloadSize: edns,
              extendedRcode: 0,
              ednsVersion: 0,
              flags: dnssec ? packet.DNSSEC_OK : 0,
              flag_do: dnssec,
              options: [],
            },
          ],
  })
}

interface Told {
  readonly rcode: number
  readonly answers: readonly Answer[]
  readonly packet: DecodedPacket
  readonly length: number
  readonly extended: { readonly code: number; readonly text: string } | undefined
}

function read(bytes: Buffer | undefined): Told {
  if (bytes === undefined) throw new Error('no answer')
  const decoded = packet.decode(bytes)
  const opt = decoded.additionals?.find((x) => x.type === 'OPT')
  const options = (opt?.type === 'OPT' ? opt.options : []) as readonly { code: number; data?: Buffer }[]
  const data = options.find((x) => x.code === 15)?.data
  return {
    rcode: (bytes.readUInt8(3) & 15) | (opt?.type === 'OPT' ? opt.extendedRcode << 4 : 0),
    answers: decoded.answers ?? [],
    packet: decoded,
    length: bytes.length,
    extended:
      data === undefined ? undefined : { code: data.readUInt16BE(0), text: data.subarray(2).toString() },
  }
}

function setup(script: Script, more: Partial<DialerOptions> & Pick<DnsServerOptions, 'whenUp'> = {}) {
  const clock = new VirtualClock()
  const network = new MemoryNetwork({ dnsServers: [DNS], setTimer: clock.setTimer })
  const log = serveDns(network, DNS, script)
  const state: { network: Network | undefined } = { network }
  const { whenUp, ...options } = more
  const { names } = createDialer({
    network: () => state.network,
    clock,
    random: new SeededRandom(3).fill,
    ...options,
  })
  const events: DnsEvent[] = []
  const service = new DnsService({
    names,
    onEvent: (event) => events.push(event),
    ...(whenUp === undefined ? {} : { whenUp }),
  })
  const client = { name: '127.0.0.1:9', transport: 'udp' as const, isAllowed: true, limit: 4096 }
  const signal = new AbortController().signal
  const raw = async (bytes: Uint8Array, who: Partial<Client> = {}): Promise<Buffer | undefined> => {
    const answer = service.answer(bytes, { ...client, ...who }, signal)
    return answer === undefined ? undefined : clock.run(answer)
  }
  const query = async (question: Question = {}) => read(await raw(ask(question)))
  return { clock, network, log, state, names, events, raw, query }
}

const record = (x: Answer | undefined) =>
  x as unknown as { type: string; name: string; data: unknown; ttl: number }

t.test('addresses come from the cache, with the TTL that is left and the whole chain', async (t) => {
  const { query, log, clock, raw } = setup((asked) =>
    respond(asked, { answers: [cname(asked.name, 'edge.example', 100), a('edge.example', '192.0.2.1', 60)] }),
  )
  const first = await query()
  t.match(first.packet, { id: 0x4242, flag_qr: true, flag_ra: true, flag_rd: true, flag_tc: false })
  t.same(
    first.answers.map((x) => [record(x).type, record(x).name, record(x).data, record(x).ttl]),
    [
      ['CNAME', 'host.example', 'edge.example', 60],
      ['A', 'edge.example', '192.0.2.1', 60],
    ],
  )
  t.equal(first.packet.additionals?.length, 0, 'who knows no EDNS gets none')
  await clock.advance(10_000)
  const second = await query({ edns: 1232 })
  t.equal(record(second.answers[1]).ttl, 50)
  t.equal(second.packet.additionals?.[0]?.type, 'OPT')
  t.equal(log.length, 1)

  const shouted = await raw(ask({ name: 'HoSt.ExAmPlE' }))
  t.equal(read(shouted).packet.questions?.[0]?.name, 'HoSt.ExAmPlE', 'the question goes back as it came')
  t.equal(log.length, 1, 'letters make no other question')
})

t.test('what there is not: the zone says for how long', async (t) => {
  const { query, log } = setup((asked) =>
    respond(asked, { rcode: asked.name === 'no.example' ? 3 : 0, authorities: [soa('example', 900, 60)] }),
  )
  for (const [name, rcode] of [
    ['no.example', 3],
    ['empty.example', 0],
  ] as const) {
    const told = await query({ name })
    t.equal(told.rcode, rcode)
    t.same(told.answers, [])
    t.match(told.packet.authorities, [{ type: 'SOA', name: 'example', ttl: 60, data: { minimum: 60 } }])
    await query({ name })
  }
  t.equal(log.length, 2, 'remembered')
})

t.test('names of octets that are no text do not make an answer malformed', async (t) => {
  const odd = 'q'.repeat(60)
  const { raw } = setup((asked) => {
    const message =
      asked.name === 'alias.example'
        ? respond(asked, {
            answers: [cname(asked.name, odd), cname(odd, 'x.example'), a('x.example', '192.0.2.1')],
          })
        : respond(asked, {
            rcode: 3,
            authorities: [soa(asked.name === 'zone.example' ? odd : `${odd}.example`)],
          })
    // What such octets become as text is longer.
    for (let at = message.indexOf(odd); at >= 0; at = message.indexOf(odd))
      message.fill(0xff, at, at + odd.length)
    return message
  })
  for (const [name, rcode] of [
    ['alias.example', 2],
    ['zone.example', 3],
    ['mail.example', 3],
  ] as const) {
    const told = read(await raw(ask({ name })))
    t.equal(told.rcode, rcode, name)
    t.same(told.packet.authorities, [], name)
    t.same(told.answers, [], name)
  }
})

t.test('any other type is handed on as it is, with an id of our own', async (t) => {
  const { query, log, clock } = setup((asked) =>
    respond(asked, {
      answers: [
        { type: 'TXT', name: asked.name, ttl: 100, data: ['hello', 'world'] },
        { type: 'MX', name: asked.name, ttl: 30, data: { preference: 10, exchange: 'mail.example' } },
      ],
      additionals: [
        a('mail.example', '192.0.2.25', 90),
        {
          type: 'OPT',
          name: '.',
          udpPayloadSize: 4096,
          extendedRcode: 0,
          ednsVersion: 0,
          flags: 0,
          flag_do: false,
          options: [],
        },
      ],
    }),
  )
  const told = await query({ type: 'TXT', id: 7 })
  t.equal(told.packet.id, 7)
  t.same(
    told.answers.map((x) => record(x).type),
    ['TXT', 'MX'],
  )
  t.same(
    told.packet.additionals?.map((x) => x.type),
    ['A'],
    "the server's OPT record is not the client's",
  )
  t.not(log[0]?.id, 7)
  t.equal(log[0]?.edns, true)

  await clock.advance(20_000)
  const again = await query({ type: 'TXT', edns: 1232 })
  t.same(
    again.answers.map((x) => record(x).ttl),
    [80, 10],
  )
  t.same(
    again.packet.additionals?.map((x) => [x.type, record(x).ttl]),
    [
      ['A', 70],
      ['OPT', record(again.packet.additionals?.[1]).ttl],
    ],
  )
  t.equal(log.length, 1)
  await clock.advance(11_000)
  await query({ type: 'TXT' })
  t.equal(log.length, 2, 'no longer than its shortest record')
})

t.test('what there is not of other types is remembered only with the zone’s word for it', async (t) => {
  const ns: Answer = { type: 'NS', name: 'example', ttl: 3600, data: 'ns.example' }
  const { query, log } = setup((asked) =>
    asked.name === 'soa.example'
      ? respond(asked, { authorities: [ns, soa('example', 100, 50)] })
      : respond(asked, {
          rcode: asked.name === 'none.example' ? 3 : 0,
          answers: asked.name === 'none.example' ? [cname('none.example', 'x.example')] : [],
          authorities: [ns],
          additionals: [a('ns.example', '192.0.2.53')],
        }),
  )
  for (const [name, times] of [
    ['soa.example', 1],
    ['lame.example', 2],
    ['none.example', 2],
  ] as const) {
    log.length = 0
    for (let i = 0; i < 2; i++) t.notOk((await query({ type: 'TXT', name })).answers.length > 1)
    t.equal(log.length, times, name)
  }
})

t.test('labels of any octets are handed on, and are no host', async (t) => {
  const { raw, log, events } = setup((asked) =>
    respond(asked, { answers: [{ type: 'TXT', name: 'x', ttl: 1, data: 'x' }] }),
  )
  // "my printer.x" as one label, with a dot and a space in it
  const question = Buffer.from('0c6d79207072696e7465722e78076578616d706c6500000c0001', 'hex')
  const message = Buffer.concat([Buffer.from('000101000001000000000000', 'hex'), question])
  const answer = await raw(message)
  t.same(answer?.subarray(12, 12 + question.length), question)
  t.same(Buffer.from(log[0]?.raw ?? []).subarray(12, 12 + question.length), question)
  t.equal(events[0]?.name, 'my\\032printer\\046x.example')
})

t.test('names of services are handed on too, whatever people called them (RFC 6763)', async (t) => {
  const { query } = setup((asked) =>
    respond(asked, {
      answers: [{ type: 'PTR', name: asked.name, ttl: 60, data: 'Printer, 2nd floor._ipp._tcp.example' }],
    }),
  )
  for (const name of ['_ipp._tcp.example', 'b._dns-sd._udp.0.2.0.192.in-addr.arpa']) {
    const { answers } = await query({ name, type: 'PTR' })
    t.equal(record(answers[0]).data, 'Printer, 2nd floor._ipp._tcp.example', name)
  }
})

t.test('DNSSEC is for the servers to say', async (t) => {
  const { query, log } = setup((asked) => respond(asked, { answers: [a(asked.name, '192.0.2.1')] }))
  await query()
  const told = await query({ edns: 1232, dnssec: true })
  t.equal(log.length, 2, 'not from the cache, which has no signatures')
  const opt = packet.decode(Buffer.from(log[1]?.raw ?? [])).additionals?.[0]
  t.equal(opt?.type === 'OPT' && opt.flag_do, true)
  const ours = told.packet.additionals?.[0]
  t.equal(ours?.type === 'OPT' && ours.flag_do, true)
  await query({ flags: packet.RECURSION_DESIRED | packet.CHECKING_DISABLED })
  t.equal(log.length, 3)
})

t.test('no larger than the client says', async (t) => {
  const { raw } = setup((asked) =>
    respond(asked, {
      answers: Array.from({ length: 60 }, (_, i) => ({
        type: 'TXT' as const,
        name: asked.name,
        ttl: 60,
        data: `${i} `.padEnd(20, 'x'),
      })),
    }),
  )
  for (const [edns, most] of [
    [undefined, 512],
    [100, 512],
    [1232, 1232],
  ] as const) {
    const question = edns === undefined ? { type: 'TXT' } : { type: 'TXT', edns }
    const told = read(await raw(ask(question)))
    t.ok(told.length <= most, `${told.length}`)
    t.equal(told.packet.flag_tc, true)
    t.same(told.answers, [])
    t.equal(told.packet.questions?.length, 1)
  }
  const large = read(await raw(ask({ type: 'TXT', edns: 65_535 })))
  t.equal(large.packet.flag_tc, false)
  t.equal(large.answers.length, 60)
  t.equal(read(await raw(ask({ type: 'TXT', edns: 65_535 }), { limit: 1232 })).packet.flag_tc, true)
  const tcp = await raw(ask({ type: 'TXT' }), { transport: 'tcp', limit: 65_535 })
  t.equal(read(tcp).answers.length, 60, 'over TCP it does not matter')
})

t.test('refusals', async (t) => {
  const { query, raw, log, events } = setup(() => undefined)
  for (const [type, rcode] of [
    ['AXFR', 5],
    ['IXFR', 5],
    ['ANY', 4],
    ['OPT', 4],
    ['UNKNOWN_250', 4],
  ] as const) {
    const told = await query({ type, edns: 1232 })
    t.equal(told.rcode, rcode, type)
    t.equal(told.extended?.code, 21)
  }
  t.match(await query({ dnsClass: 'CH', type: 'TXT', name: 'version.bind' }), {
    rcode: 5,
    extended: undefined,
  })

  const notify = ask()
  notify.writeUInt16BE(0x2000, 2)
  t.match(read(await raw(notify)), { rcode: 4, packet: { opcode: 'NOTIFY' } })
  const notifyEdns = ask({ edns: 1232 })
  notifyEdns.writeUInt16BE(0x2000, 2)
  const cookieOnly = Buffer.concat([
    Buffer.from('000101000000000000000001', 'hex'),
    ask({ edns: 512 }).subarray(-11),
  ])
  for (const [bytes, rcode] of [
    [notifyEdns, 4],
    [cookieOnly, 1],
  ] as const) {
    const told = read(await raw(bytes))
    t.equal(told.rcode, rcode)
    t.equal(told.packet.additionals?.[0]?.type, 'OPT', 'EDNS is understood (RFC 6891 7)')
  }
  const version = ask({ edns: 1232 })
  version.writeUInt8(1, version.length - 5)
  t.equal(read(await raw(version)).rcode, 16, 'BADVERS')
  t.match(read(await raw(ask(), { isAllowed: false })), { rcode: 5 })

  const garbage: [string, Buffer][] = [
    ['no question', Buffer.from('000101000000000000000000', 'hex')],
    [
      'two questions',
      Buffer.concat([Buffer.from('000101000002000000000000', 'hex'), ask().subarray(12), ask().subarray(12)]),
    ],
    ['a question that is cut short', ask().subarray(0, -2)],
    ['a pointer as name', Buffer.from('000101000001000000000000c00c00010001', 'hex')],
    [
      'records that are not there',
      Buffer.concat([Buffer.from('000101000001000000000001', 'hex'), ask().subarray(12)]),
    ],
    [
      'two OPT records',
      Buffer.concat([
        Buffer.from('000101000001000000000002', 'hex'),
        ask({ edns: 512 }).subarray(12),
        ask({ edns: 512 }).subarray(-11),
      ]),
    ],
  ]
  for (const [what, bytes] of garbage) {
    const answer = await raw(bytes)
    t.equal(read(answer).rcode, 1, what)
    t.equal(answer?.readUInt16BE(0), bytes.readUInt16BE(0))
  }
  t.equal(await raw(Buffer.alloc(11)), undefined)
  t.equal(
    await raw(respond({ id: 1, name: 'x', type: 'A', edns: false, tcp: false, raw: ask() })),
    undefined,
    'a response',
  )
  t.same(log, [], 'nobody was asked anything')
  t.ok(events.every((x) => x.rcode !== 0))
})

t.test('failures say why', async (t) => {
  const failing = setup((asked) => respond(asked, { rcode: 5 }))
  t.match(await failing.query({ edns: 1232 }), {
    rcode: 2,
    extended: { code: 22, text: /10\.0\.0\.53 answered REFUSED/ },
  })
  t.match(await failing.query({ type: 'MX', edns: 1232 }), { rcode: 2, extended: { code: 22 } })
  const silent = setup(() => undefined)
  t.match(await silent.query({ edns: 1232 }), { rcode: 2, extended: { code: 22, text: /did not answer/ } })
  t.match(silent.events, [
    { type: 'dns-query', rcode: 2, name: 'host.example', queryType: 1, reason: /did not answer/ },
  ])

  failing.state.network = undefined
  for (const type of ['A', 'MX']) {
    t.match(await failing.query({ type, name: 'b.example', edns: 1232 }), {
      rcode: 2,
      extended: { code: 14, text: /tunnel is not up/ },
    })
  }

  const late = setup(() => undefined, {
    whenUp: async () => {
      throw new DialError('tunnel-reconnecting', 'the tunnel is being brought up again')
    },
    elsewhere: (name) => (name === 'ads.example' ? refusing('blocked by "refuse ads.example"') : undefined),
  })
  t.match(await late.query({ edns: 1232 }), { rcode: 2, extended: { code: 14, text: /brought up again/ } })
  for (const type of ['A', 'TXT']) {
    const told = await late.query({ name: 'ads.example', type, edns: 1232 })
    t.match(
      told,
      { rcode: 5, extended: { code: 15, text: /blocked by/ } },
      'what needs no tunnel does not wait',
    )
  }
})

t.test('why there is no answer is told by its code too', async (t) => {
  const { query, events } = setup(
    (asked) => respond(asked, { rcode: asked.name === 'broken.example' ? 2 : 5 }),
    {
      elsewhere: (name) => (name === 'ads.example' ? refusing('not wanted') : undefined),
    },
  )
  for (const name of ['foreign.example', 'ads.example', 'broken.example'])
    for (const type of ['A', 'TXT']) await query({ name, type })
  t.same(
    events.map(({ rcode, code }) => [rcode, code]),
    [
      [2, 'name-refused'],
      [2, 'name-refused'],
      [5, 'not-allowed'],
      [5, 'not-allowed'],
      [2, 'name-failed'],
      [2, 'name-failed'],
    ],
  )
})

t.test('special names are decided here', async (t) => {
  const { query, log } = setup((asked) => respond(asked, { answers: [a(asked.name, '192.0.2.9')] }), {
    search: ['corp.local'],
  })
  for (const name of ['x.onion', 'x.alt', 'x.invalid', 'printer.local']) {
    for (const type of ['A', 'TXT']) t.equal((await query({ name, type })).rcode, 3, name)
  }
  t.equal(record((await query({ name: 'localhost' })).answers[0]).data, '127.0.0.1')
  t.equal(record((await query({ name: 'a.localhost', type: 'AAAA' })).answers[0]).data, '::1')
  t.match(await query({ name: 'localhost', type: 'MX' }), { rcode: 0, answers: [] })
  for (const type of ['UNKNOWN_64', 'A'])
    t.match(await query({ name: '_dns.resolver.arpa', type }), { rcode: 0, answers: [] }, 'RFC 9462 6.1')
  t.equal(record((await query({ name: '1.0.0.127.in-addr.arpa', type: 'PTR' })).answers[0]).data, 'localhost')
  t.same(log, [])
  t.equal(record((await query({ name: 'dc.corp.local' })).answers[0]).data, '192.0.2.9')
})

t.test(
  'names of the hosts file and of rules need no tunnel, and its servers never hear of them',
  async (t) => {
    const table = parseHosts('192.0.2.7 printer.example printer\n2001:db8::8 six.example')
    const hosts: HostNames = {
      get(name, type) {
        if (type === 'PTR') {
          const host = table.names.get(name)
          return host === undefined ? undefined : [host]
        }
        return table.addresses.get(name)?.filter((x) => x.includes(':') === (type === 'AAAA'))
      },
    }
    const direct: NameSource = {
      lookup: async () => ({ kind: 'found', values: ['203.0.113.5'], aliases: [], ttl: 60 }),
      relay: async () => ({ kind: 'failed', code: 'name-failed', message: 'the direct server said no' }),
    }
    const elsewhere = (name: string) =>
      name === 'direct.example'
        ? direct
        : name.endsWith('ads.example')
          ? refusing('a rule says no')
          : undefined
    const down = async () => {
      throw new DialError('tunnel-down', 'the tunnel is not up')
    }
    const { query, log } = setup((asked) => respond(asked, { rcode: 3 }), { hosts, elsewhere, whenUp: down })
    const values = async (question: Question) => (await query(question)).answers.map((x) => record(x).data)
    t.same(await values({ name: 'printer.example' }), ['192.0.2.7'])
    t.same(await values({ name: 'PRINTER' }), ['192.0.2.7'])
    t.match(await query({ name: 'printer.example', type: 'AAAA' }), { rcode: 0, answers: [] })
    t.same(await values({ name: 'six.example', type: 'AAAA' }), ['2001:db8::8'])
    t.same(await values({ name: 'printer.example', edns: 1232, dnssec: true }), ['192.0.2.7'])
    t.same(await values({ name: '7.2.0.192.in-addr.arpa', type: 'PTR' }), ['printer.example'])
    t.same(await values({ name: 'direct.example' }), ['203.0.113.5'])
    t.match(await query({ name: 'direct.example', type: 'MX', edns: 1232 }), {
      rcode: 2,
      extended: { code: 22, text: 'the direct server said no' },
    })
    for (const type of ['A', 'AAAA', 'MX', 'UNKNOWN_65']) {
      t.match(await query({ name: 'x.ads.example', type, edns: 1232 }), {
        rcode: 5,
        extended: { code: 15, text: 'a rule says no' },
      })
    }
    t.same(log, [])
  },
)

t.test('a name of the hosts file exists, whatever servers know of its other records', async (t) => {
  const hosts: HostNames = {
    get: (name, type) => (name !== 'printer.example' ? undefined : type === 'A' ? ['192.0.2.7'] : []),
  }
  const { query, log } = setup(
    (asked) => respond(asked, { rcode: 3, authorities: [soa('example', 900, 60)] }),
    { hosts },
  )
  // What browsers ask for beside the address; a stub that is told NXDOMAIN may give up the address too.
  for (let i = 0; i < 2; i++)
    t.match(await query({ name: 'printer.example', type: 'UNKNOWN_65' }), { rcode: 0, answers: [] })
  t.equal((await query({ name: 'printer.example' })).answers.length, 1)
  t.equal((await query({ name: 'other.example', type: 'UNKNOWN_65' })).rcode, 3)
  t.equal(log.length, 2)
})

t.test('what is written down is not asked for, however the question is put', async (t) => {
  let isFresh = false
  const asked: string[] = []
  const names: NameSource = {
    lookup: async (_name, type) => ({
      kind: 'found',
      values: [type === 'PTR' ? 'printer.example' : '192.0.2.7'],
      aliases: [],
      ttl: 5,
    }),
    relay: async ({ name }) => {
      asked.push(name)
      return { kind: 'failed', code: 'name-failed', message: 'a server said no' }
    },
    isWritten: (name, type) => isFresh && (type === 'PTR' || name === 'printer.example'),
    refresh: async () => {
      isFresh = true
    },
  }
  const whenUp = async () => {
    throw new DialError('tunnel-down', 'the tunnel is not up')
  }
  const service = new DnsService({ names, whenUp })
  const client = { name: '127.0.0.1:9', transport: 'udp' as const, isAllowed: true, limit: 4096 }
  const query = async (question: Question) =>
    read(await service.answer(ask(question), client, new AbortController().signal))
  for (const question of [
    {},
    { edns: 1232, dnssec: true },
    { flags: packet.RECURSION_DESIRED | packet.CHECKING_DISABLED },
    { flags: 0 },
  ]) {
    const { answers } = await query({ ...question, name: 'printer.example' })
    t.equal(record(answers[0]).data, '192.0.2.7', JSON.stringify(question))
  }
  const { answers } = await query({ name: '7.2.0.192.in-addr.arpa', type: 'PTR' })
  t.equal(record(answers[0]).data, 'printer.example')
  t.match(await query({ name: 'other.example', edns: 1232 }), { rcode: 2, extended: { code: 14 } })
  t.match(await query({ name: 'printer.example', type: 'MX', edns: 1232 }), { extended: { code: 14 } })
  t.same(asked, [])
})

// ---------------------------------------------------------------- over sockets

async function serve(t: Test, script: Script, more: Partial<DnsServerOptions> = {}) {
  const network = new MemoryNetwork({ dnsServers: [DNS] })
  serveDns(network, DNS, script)
  const { names } = createDialer({ network: () => network })
  const server = await listenDns({ address: '127.0.0.1', port: 0, names, ...more })
  t.teardown(() => server.close())
  return server
}

async function overUdp(port: number, message: Uint8Array, address = '127.0.0.1'): Promise<Buffer> {
  const socket = createSocket(address.includes(':') ? 'udp6' : 'udp4')
  socket.send(message, port, address)
  const [answer] = await once(socket, 'message')
  socket.close()
  return answer
}

const framed = (...messages: Buffer[]) =>
  Buffer.concat(messages.flatMap((m) => [Buffer.of(m.length >> 8, m.length & 255), m]))

/** Whole messages out of a connection, until `count` are there or it is closed. */
async function overTcp(port: number, bytes: Buffer, count: number, end = false): Promise<Buffer[]> {
  const socket = connect(port, '127.0.0.1')
  socket.on('error', () => {})
  if (end) socket.end(bytes)
  else socket.write(bytes)
  let received = Buffer.alloc(0)
  const messages: Buffer[] = []
  try {
    for await (const chunk of socket) {
      received = Buffer.concat([received, chunk])
      while (received.length >= 2 && received.length >= 2 + received.readUInt16BE(0)) {
        messages.push(received.subarray(2, 2 + received.readUInt16BE(0)))
        received = received.subarray(2 + received.readUInt16BE(0))
      }
      if (!end && messages.length >= count) break
    }
  } catch (error) {
    // A connection closed with octets in it that nobody had read yet is reset; which it is, is the kernel's affair.
    if (!['ECONNRESET', 'EPIPE'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error
  }
  socket.destroy()
  return messages
}

const fixed: Script = (asked) =>
  respond(asked, {
    answers: asked.type === 'A' ? [a(asked.name, '192.0.2.1')] : [aaaa(asked.name, '2001:db8::1')],
  })

t.test('UDP and TCP on one port', async (t) => {
  const server = await serve(t, fixed)
  t.not(server.port, 0)
  t.equal(record(read(await overUdp(server.port, ask())).answers[0]).data, '192.0.2.1')
  const [one] = await overTcp(server.port, framed(ask()), 1)
  t.equal(record(read(one).answers[0]).data, '192.0.2.1')
  await t.rejects(listenDns({ address: server.address, port: server.port, names: refusing('') }), {
    code: 'EADDRINUSE',
  })
  const named = await serve(t, fixed, { address: 'localhost' })
  t.equal(named.address, '127.0.0.1')

  const taken = createSocket('udp4')
  taken.bind(0, '127.0.0.1')
  await once(taken, 'listening')
  await t.rejects(listenDns({ address: '127.0.0.1', port: taken.address().port, names: refusing('') }), {
    code: 'EADDRINUSE',
  })
  taken.close()
  const busy = createServer()
  busy.listen(0, '127.0.0.1')
  await once(busy, 'listening')
  const { port } = busy.address() as AddressInfo
  await t.rejects(listenDns({ address: '127.0.0.1', port, names: refusing('') }), { code: 'EADDRINUSE' })
  busy.close()
  // What could not be had keeps nothing.
  await (await listenDns({ address: '127.0.0.1', port, names: refusing('') })).close()
  await server.close()
  const again = await listenDns({ address: '127.0.0.1', port: server.port, names: refusing('') })
  await again.close()
})

t.test('pipelining: many questions at once, octet by octet, and the end of one direction', async (t) => {
  const server = await serve(t, fixed, { limits: { pipelined: 4 } })
  const questions = Array.from({ length: 50 }, (_, id) => ask({ id, name: `h${id % 7}.example` }))
  const answers = await overTcp(server.port, framed(...questions), 50, true)
  t.equal(answers.length, 50, 'the connection is closed only behind the last answer')
  t.equal(new Set(answers.map((x) => x.readUInt16BE(0))).size, 50)

  const socket = connect(server.port, '127.0.0.1')
  socket.setNoDelay(true)
  await once(socket, 'connect')
  for (const octet of framed(ask({ id: 9 })))
    await new Promise((done) => socket.write(Buffer.of(octet), done))
  const [chunk] = await once(socket, 'data')
  t.equal(chunk.readUInt16BE(2), 9)
  socket.destroy()
})

/** The sockets that servers of this process accept from now on. */
function accepted(t: Test): Socket[] {
  const sockets: Socket[] = []
  const onSocket = (message: unknown) => void sockets.push((message as { readonly socket: Socket }).socket)
  diagnostics.subscribe('net.server.socket', onSocket)
  t.teardown(() => void diagnostics.unsubscribe('net.server.socket', onSocket))
  return sockets
}

/** Lets the loop turn until something is so, which is at once unless something is wrong. */
async function until(isSo: () => boolean): Promise<void> {
  const limit = Date.now() + 20_000
  while (!isSo()) {
    if (Date.now() > limit) throw new Error(`it never came to ${isSo}`)
    await new Promise((done) => setTimeout(done, 1))
  }
}

/** Names that are answered when the test says so. */
function held() {
  const waiting = new Map<string, () => void>()
  const gone: string[] = []
  const names: NameSource = {
    lookup: (name, _type, signal) =>
      new Promise((resolve) => {
        const done = (kind: 'found' | 'failed') => {
          waiting.delete(name)
          if (kind === 'found') resolve({ kind, values: ['192.0.2.1'], aliases: [], ttl: 1 })
          else resolve({ kind, code: 'aborted', message: 'given up', ttl: 0 })
        }
        waiting.set(name, () => done('found'))
        signal?.addEventListener('abort', () => {
          gone.push(name)
          done('failed')
        })
      }),
    relay: async () => ({ kind: 'failed', code: 'name-failed', message: 'nothing but addresses' }),
  }
  const answerAll = () => {
    for (const answer of [...waiting.values()]) answer()
  }
  return { names, waiting, gone, answerAll }
}

/** A UDP socket, with what it hears. */
async function udpClient(t: Test): Promise<{ socket: UdpSocket; heard: Buffer[] }> {
  const socket = createSocket('udp4')
  const heard: Buffer[] = []
  socket.on('message', (message) => heard.push(message))
  socket.bind(0, '127.0.0.1')
  await once(socket, 'listening')
  t.teardown(() => void socket.close())
  return { socket, heard }
}

const big: Script = (asked) =>
  asked.tcp
    ? respond(asked, {
        answers: Array.from({ length: 200 }, () => ({
          type: 'TXT' as const,
          name: asked.name,
          ttl: 60,
          data: 'x'.repeat(200),
        })),
      })
    : respond(asked, { truncated: true })

t.test('who sends nothing, or half a question, is left', async (t) => {
  const clock = new VirtualClock()
  const sockets = accepted(t)
  const server = await serve(t, fixed, { limits: { idle: 500 }, clock })
  for (const hex of ['', '00', '00ff0001']) {
    const bytes = Buffer.from(hex, 'hex')
    const messages = overTcp(server.port, bytes, 1)
    await until(() => sockets.at(-1)?.bytesRead === bytes.length)
    await clock.advance(499)
    t.equal(sockets.pop()?.destroyed, false)
    await clock.advance(1)
    t.same(await messages, [], `closed after ${hex}`)
  }
  const all = overTcp(server.port, Buffer.concat([framed(ask()), Buffer.of(0, 30)]), 2)
  await until(() => (sockets[0]?.bytesWritten ?? 0) > 0)
  await clock.advance(500)
  const [one, ...more] = await all
  t.equal(read(one).rcode, 0, 'what was asked is answered')
  t.same(more, [], 'and then closed')
})

t.test('who asks without end and takes no answer is not read any more, and left', async (t) => {
  let answered = 0
  const clock = new VirtualClock()
  const sockets = accepted(t)
  const server = await serve(t, big, {
    limits: { idle: 500, pipelined: 4 },
    clock,
    onEvent: () => {
      answered++
    },
  })
  const greedy = connect(server.port, '127.0.0.1')
  greedy.on('error', () => {})
  greedy.pause()
  // 80 megabytes of answers; no kernel keeps that much.
  greedy.write(framed(...Array.from({ length: 2000 }, (_, id) => ask({ id, type: 'TXT' }))))
  await until(() => answered > 0)
  for (let i = 0; i < 10_000 && sockets[0]?.closed !== true; i++) await clock.advance(500)
  t.equal(sockets[0]?.closed, true)
  t.ok(answered > 0 && answered < 2000, `${answered} questions were read`)
  greedy.destroy()
})

t.test('what has no room among the questions under way stays with the client', async (t) => {
  const { names, waiting, answerAll } = held()
  const sockets = accepted(t)
  const server = await listenDns({ address: '127.0.0.1', port: 0, names, limits: { pipelined: 4 } })
  t.teardown(() => server.close())
  const questions = Array.from({ length: 100_000 }, (_, id) =>
    ask({ id: id % 65_536, name: `h${id}.example` }),
  )
  const first = framed(...questions.slice(0, 5))
  const client = connect(server.port, '127.0.0.1')
  client.on('error', () => {})
  client.resume().write(first)
  await until(() => waiting.size === 4 && sockets[0]?.isPaused() === true)
  client.write(framed(...questions.slice(5)))
  // A paused stream is filled to its mark, and by one piece beyond.
  const mark = sockets[0]?.readableHighWaterMark ?? 0
  await until(() => (sockets[0]?.readableLength ?? 0) >= mark)
  const bytesRead = (sockets[0]?.bytesRead ?? 0) - first.length
  t.ok(bytesRead < mark + 65_536, `${bytesRead} octets were read`)
  answerAll()
  await until(() => waiting.size === 4)
  t.same([...waiting.keys()], ['h4.example', 'h5.example', 'h6.example', 'h7.example'])
  client.destroy()
})

t.test('idle connections make room, those with questions do not', async (t) => {
  const { names, waiting, answerAll } = held()
  const sockets = accepted(t)
  const server = await listenDns({ address: '127.0.0.1', port: 0, names, limits: { connections: 4 } })
  t.teardown(() => server.close())
  const idle = Array.from({ length: 12 }, () => connect(server.port, '127.0.0.1'))
  for (const socket of idle) socket.on('error', () => {})
  await until(() => sockets.length === 12)
  await until(() => sockets.filter((socket) => !socket.closed).length === 4)
  t.ok(
    sockets.slice(-4).every((socket) => !socket.destroyed),
    'the oldest went',
  )

  const busy = Array.from({ length: 4 }, (_, id) =>
    overTcp(server.port, framed(ask({ id, name: `h${id}.example` })), 1),
  )
  await until(() => waiting.size === 4)
  t.ok(sockets.slice(0, 12).every((socket) => socket.destroyed))
  t.same(await overTcp(server.port, framed(ask()), 1), [], 'no room')
  answerAll()
  t.ok((await Promise.all(busy)).every((answers) => answers.length === 1))
  for (const socket of idle) socket.destroy()
})

t.test('one address does not get all connections', async (t) => {
  const { names, waiting, answerAll } = held()
  const limits = { connections: 4, connectionsPerAddress: 2 }
  const server = await listenDns({ address: '127.0.0.1', port: 0, names, limits })
  t.teardown(() => server.close())
  const mine = [1, 2].map((id) => overTcp(server.port, framed(ask({ id, name: `h${id}.example` })), 1))
  await until(() => waiting.size === 2)
  t.same(await overTcp(server.port, framed(ask()), 1), [])
  const other = connect({ port: server.port, host: '127.0.0.1', localAddress: '127.0.0.2' })
  other.on('error', () => {})
  other.write(framed(ask({ id: 3, name: 'h3.example' })))
  await until(() => waiting.size === 3)
  answerAll()
  const [chunk] = await once(other, 'data')
  t.equal(chunk.readUInt16BE(2), 3)
  other.destroy()
  await Promise.all(mine)
})

t.test('no web page asks through a browser', async (t) => {
  const events: DnsEvent[] = []
  const server = await serve(t, fixed, { onEvent: (event) => events.push(event) })
  const question = framed(ask({ name: 'stolen.example' }))
  for (const start of [
    'POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: text/plain\r\nContent-Length: 30000\r\n\r\n',
    'GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n',
    'HEAD /\x00\x01\x00\x00 HTTP/1.1\r\n\r\n',
    '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03',
  ]) {
    const head = Buffer.from(start, 'latin1')
    // The two octets that a DNS server takes for a length: the question begins right behind so many.
    const first = Buffer.concat([head, Buffer.alloc(2 + head.readUInt16BE(0) - head.length, 'x')])
    const bytes = Buffer.concat([first, question, question])
    t.same(await overTcp(server.port, bytes, 1), [], start.slice(0, 4))
  }
  t.same(
    events.filter(({ rcode }) => rcode === 0),
    [],
  )
  t.notOk(events.some(({ name }) => name === 'stolen.example'))

  // Neither does anything else that is no query, even behind one.
  const response = ask()
  response.writeUInt16BE(0x8000, 2)
  for (const bad of [Buffer.alloc(0), Buffer.from('010203', 'hex'), response, ask().subarray(0, -2)]) {
    const start = events.length
    const bytes = framed(bad, ask({ name: 'behind.example' }))
    t.same(await overTcp(server.port, bytes, 1), [], bad.toString('hex'))
    t.notOk(events.slice(start).some(({ name }) => name === 'behind.example'))
  }

  // What is refused, but a DNS message, is answered: RFC 7766 6.2.1.
  const notify = ask({ id: 1 })
  notify.writeUInt16BE(0x2000, 2)
  const stateful = Buffer.from('000230000000000000000000', 'hex')
  const answers = await overTcp(
    server.port,
    framed(notify, stateful, ask({ id: 3, type: 'AXFR' }), ask({ id: 4 })),
    4,
  )
  t.same(
    answers.map((x) => [x.readUInt16BE(0), x.readUInt8(3) & 15]).sort(([a = 0], [b = 0]) => a - b),
    [
      [1, 4],
      [2, 4],
      [3, 5],
      [4, 0],
    ],
  )
})

t.test('one client has its share of the questions, and no more', async (t) => {
  const { names, waiting, answerAll } = held()
  const limits = { questions: 10, questionsPerAddress: 6, questionsPerPort: 4, pipelined: 32 }
  const server = await listenDns({ address: '127.0.0.1', port: 0, names, limits })
  t.teardown(() => server.close())
  const flood = (socket: UdpSocket, who: string) => {
    for (let id = 0; id < 20; id++)
      socket.send(ask({ id, name: `${who}${id}.example` }), server.port, '127.0.0.1')
  }
  const asked = (who: string) => [...waiting.keys()].filter((name) => name.startsWith(who)).length

  const one = await udpClient(t)
  const two = await udpClient(t)
  flood(one.socket, 'one')
  await until(() => asked('one') === 4)
  flood(two.socket, 'two')
  await until(() => asked('two') === 2)

  // The address has all of its share: a connection is told so, and the same of an address of its own is served.
  const told = await overTcp(server.port, framed(ask({ edns: 1232 })), 1)
  t.match(read(told[0]), { rcode: 2, extended: { code: 0, text: /too many of your questions/ } })
  const other = connect({ port: server.port, host: '127.0.0.1', localAddress: '127.0.0.2' })
  other.write(framed(...Array.from({ length: 6 }, (_, id) => ask({ id, name: `other${id}.example` }))))
  await until(() => asked('other') === 4)
  const [failures] = await once(other, 'data')
  t.equal(failures.readUInt8(5) & 15, 2, 'there are ten')
  t.same([asked('one'), asked('two'), asked('other')], [4, 2, 4])

  answerAll()
  await until(() => one.heard.length === 4 && two.heard.length === 2)
  other.destroy()
  // All of it was given back.
  flood(one.socket, 'again')
  await until(() => asked('again') === 4)
  answerAll()
  await until(() => one.heard.length === 8)
})

t.test('many questions under way cost no warnings', async (t) => {
  const warnings: Error[] = []
  const onWarning = (warning: Error) => void warnings.push(warning)
  process.on('warning', onWarning)
  t.teardown(() => void process.off('warning', onWarning))
  const { names, waiting, gone } = held()
  const limits = { pipelined: 64, questionsPerAddress: 100 }
  const server = await listenDns({ address: '127.0.0.1', port: 0, names, limits })
  t.teardown(() => server.close())
  const { socket } = await udpClient(t)
  for (let id = 0; id < 50; id++) socket.send(ask({ id, name: `u${id}.example` }), server.port, '127.0.0.1')
  const tcp = connect(server.port, '127.0.0.1')
  tcp.on('error', () => {})
  tcp.write(framed(...Array.from({ length: 50 }, (_, id) => ask({ id, name: `t${id}.example` }))))
  await until(() => waiting.size === 100)
  // Warnings come a little later.
  await new Promise((done) => setImmediate(done))
  t.same(warnings, [])

  // The end of one direction alone would mean that answers are waited for.
  tcp.resetAndDestroy()
  await until(() => gone.length === 50)
  t.ok(
    gone.every((name) => name.startsWith('t')),
    'whoever is gone wants no answer',
  )
  await server.close()
  t.equal(gone.length, 100)
  t.equal(waiting.size, 0)
})

t.test('close() frees everything, and twice is once', async (t) => {
  const { names, waiting } = held()
  const sockets = accepted(t)
  const server = await listenDns({ address: '127.0.0.1', port: 0, names })
  t.teardown(() => server.close())
  const { socket, heard } = await udpClient(t)
  socket.send(ask({ name: 'u.example' }), server.port, '127.0.0.1')
  const idle = connect(server.port, '127.0.0.1')
  const busy = connect(server.port, '127.0.0.1')
  for (const tcp of [idle, busy]) tcp.on('error', () => {})
  busy.write(framed(ask({ name: 't.example' })))
  await until(() => waiting.size === 2 && sockets.length === 2)
  const [first, second] = [server.close(), server.close()]
  await second
  t.ok(sockets.every((tcp) => tcp.closed))
  await first
  t.equal(waiting.size, 0)
  // Both ports are free at once.
  const again = await listenDns({ address: '127.0.0.1', port: server.port, names: refusing('') })
  await again.close()
  t.same(heard, [], 'no answer out of a closed server')
  idle.destroy()
  busy.destroy()
})

t.test('a source of names that breaks its word breaks nothing else', async (t) => {
  const names: NameSource = {
    lookup: async () => {
      throw new Error('a bug')
    },
    relay: async () => ({ kind: 'message', message: Buffer.from('garbage that is no message') }),
  }
  const server = await listenDns({ address: '127.0.0.1', port: 0, names })
  t.teardown(() => server.close())
  t.match(read(await overUdp(server.port, ask({ edns: 1232 }))), {
    rcode: 2,
    extended: { code: 0, text: 'a bug' },
  })
  t.match(read(await overUdp(server.port, ask({ edns: 1232, type: 'TXT' }))), {
    rcode: 2,
    extended: { code: 0, text: 'a malformed answer' },
  })
})

t.test('over UDP, TC sends the client to TCP', async (t) => {
  const server = await serve(t, big)
  for (const [edns, most] of [
    [undefined, 512],
    [1232, 1232],
    [65_535, 4096],
  ] as const) {
    const question = ask(edns === undefined ? { type: 'TXT' } : { type: 'TXT', edns })
    const cut = read(await overUdp(server.port, question))
    t.equal(cut.packet.flag_tc, true)
    t.ok(cut.length <= most)
    t.same(cut.answers, [])
    const [whole] = await overTcp(server.port, framed(question), 1)
    t.equal(read(whole).answers.length, 200)
    t.equal(read(whole).packet.flag_tc, false)
  }
})

t.test('garbage over UDP is answered, or not, and does not count for ever', async (t) => {
  const server = await serve(t, fixed, {
    limits: { questions: 1, questionsPerAddress: 1, questionsPerPort: 1 },
  })
  const { socket, heard } = await udpClient(t)
  const send = (bytes: Buffer) =>
    new Promise<void>((done) => socket.send(bytes, server.port, '127.0.0.1', () => done()))
  for (let i = 1; i <= 3; i++) {
    await send(Buffer.from('too short'))
    await send(ask().subarray(0, -2))
    await until(() => heard.length === i)
  }
  t.ok(heard.every((answer) => (answer.readUInt8(3) & 15) === 1))
  t.equal(read(await overUdp(server.port, ask())).rcode, 0)
})

t.test('who may ask', async (t) => {
  const addresses: string[] = []
  const allow = (address: string) => {
    addresses.push(address)
    return address === '127.0.0.2'
  }
  const { names, waiting, answerAll } = held()
  const server = await listenDns({ address: '127.0.0.1', port: 0, names, allow })
  t.teardown(() => server.close())
  t.match(read(await overUdp(server.port, ask({ edns: 1232 }))), { rcode: 5, extended: { code: 18 } })
  t.same(await overTcp(server.port, framed(ask()), 1), [])
  const other = connect({ port: server.port, host: '127.0.0.1', localAddress: '127.0.0.2' })
  other.write(framed(ask()))
  await until(() => waiting.size === 1)
  answerAll()
  const [chunk] = await once(other, 'data')
  t.equal(read(chunk.subarray(2)).rcode, 0)
  other.destroy()
  t.same(addresses, ['127.0.0.1', '127.0.0.1', '127.0.0.2'])
})

t.test('IPv6', async (t) => {
  const server = await serve(t, fixed, { address: '::1' }).catch((error) => error as NodeJS.ErrnoException)
  if (server instanceof Error) {
    // Containers without IPv6 have no ::1.
    t.equal(server.code, 'EADDRNOTAVAIL')
    return
  }
  t.equal(read(await overUdp(server.port, ask(), '::1')).rcode, 0)
})

t.test('fuzz: any octets get an answer or none', async (t) => {
  const { raw } = setup(fixed)
  const random = new SeededRandom(77)
  const base = ask({ edns: 1232 })
  let answered = 0
  for (let i = 0; i < 3000; i++) {
    const bytes = i % 4 === 0 ? Buffer.from(random.bytes(random.below(80))) : Buffer.from(base)
    for (let n = random.below(5); n > 0 && bytes.length > 0; n--)
      bytes[random.below(bytes.length)] = random.below(256)
    const answer = await raw(bytes)
    if (answer === undefined) continue
    answered++
    if (answer.readUInt16BE(0) !== bytes.readUInt16BE(0)) t.fail(`another id for ${bytes.toString('hex')}`)
    packet.decode(answer)
  }
  t.ok(answered > 1000, `${answered}`)
})

t.test('the log tells failures now and then, and everything only who wants it', async (t) => {
  const lines: Record<string, unknown>[] = []
  const write = (line: string) => void lines.push(JSON.parse(line))
  const logger = createLogger({ level: 'debug', format: 'json', write })
  let now = 0
  const log = new DnsLog(logger, () => now)
  const event = { type: 'dns-query', client: '127.0.0.1:9', transport: 'udp', queryType: 1 } as const
  const tell = (rcode: number, name: string) =>
    log.onEvent({ ...event, name, rcode, ...(rcode === 2 ? { reason: 'why not' } : {}) })
  for (const [rcode, name] of [
    [0, 'a.example'],
    [3, 'b.example'],
    [2, 'c.example'],
    [2, 'd.example'],
    [5, 'e.example'],
  ] as const) {
    tell(rcode, name)
  }
  now += DNS_LINES.interval
  tell(2, 'f.example')
  tell(23, 'g.example')
  // What concerns one name is no concern of the bridge, here as at the proxies (docs/failures.md).
  now += DNS_LINES.interval
  log.onEvent({ ...event, name: 'h.example', rcode: 5, code: 'not-allowed' })
  log.onEvent({ ...event, name: 'i.example', rcode: 2, code: 'name-refused' })
  log.onEvent({ ...event, name: 'j.example', rcode: 2, code: 'name-refused' })
  log.onEvent({ ...event, name: 'k.example', rcode: 2, code: 'name-failed' })
  const [debug, info, warn] = [20, 30, 40]
  t.match(lines, [
    { level: debug, name: 'a.example', answer: 'NOERROR', client: '127.0.0.1:9', transport: 'udp', type: 1 },
    { level: debug, name: 'b.example', answer: 'NXDOMAIN' },
    { level: warn, name: 'c.example', answer: 'SERVFAIL', reason: 'why not' },
    { level: debug, name: 'd.example', answer: 'SERVFAIL' },
    { level: warn, name: 'e.example', answer: 'REFUSED' },
    { level: warn, name: 'f.example', answer: 'SERVFAIL' },
    { level: warn, name: 'g.example', answer: '23' },
    { level: info, name: 'h.example', answer: 'REFUSED' },
    { level: info, name: 'i.example', answer: 'SERVFAIL' },
    { level: debug, name: 'j.example', answer: 'SERVFAIL' },
    { level: warn, name: 'k.example', answer: 'SERVFAIL' },
  ])
  t.notOk('reason' in (lines[0] ?? {}))
})
