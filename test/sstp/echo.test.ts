import t from 'tap'
import { SstpClient } from '../../src/sstp/client.js'
import { messageName, messageType } from '../../src/sstp/packet.js'
import { CallPair } from '../helpers/call-pair.js'

t.test(
  'an echo that is asked for is sent when the call is connected, and not before or behind',
  async (t) => {
    const out = new Uint8Array(512)
    const early = new SstpClient({ certificate: Uint8Array.of(1) })
    early.echo()
    t.notOk(early.hasOutput)
    early.start(0)
    early.output(out, 0)
    early.echo()
    t.notOk(early.hasOutput, 'accel-ppp aborts a call over one')

    const pair = new CallPair().start()
    t.ok(pair.up())
    const { client, server } = pair
    const { heards } = client.pulse
    client.sstp.echo()
    client.sstp.echo()
    t.ok(client.sstp.hasOutput)
    const n = client.output(out, 0, pair.now)
    t.equal(messageName(messageType(out, 0, n)), 'ECHO_REQUEST')
    t.notOk(client.sstp.hasOutput, 'once')
    t.equal(client.pulse.saidAt, pair.now)
    server.input(out, 0, n, pair.now)
    pair.settle()
    t.ok(client.pulse.heards > heards, 'and it is answered')

    client.disconnect(pair.now)
    client.sstp.echo()
    const last = client.output(out, 0, pair.now)
    t.equal(messageName(messageType(out, 0, last)), 'CALL_DISCONNECT')
    t.notOk(client.sstp.hasOutput)
  },
)
