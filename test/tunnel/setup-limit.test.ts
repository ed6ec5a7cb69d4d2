import { mock } from 'node:test'
import t from 'tap'
import { SetupLimit } from '../../src/tunnel/setup-limit.js'

t.beforeEach(() => mock.timers.enable({ apis: ['setTimeout'] }))
t.afterEach(() => mock.timers.reset())

t.test(
  'signing in has its own time unless one was named, and the message has the one that counted',
  async (t) => {
    const usual = new SetupLimit({}, () => 'auth')
    mock.timers.tick(59_999)
    usual.signingIn()
    mock.timers.tick(109_999)
    t.equal(usual.signal.aborted, false)
    mock.timers.tick(1)
    t.match(usual.signal.reason, { code: 'SETUP_TIMEOUT', step: 'auth', message: /in PPP within 110 s/ })

    const named = new SetupLimit({ timeout: 5000 }, () => 'tcp')
    named.signingIn()
    mock.timers.tick(5000)
    t.match(named.signal.reason, { code: 'SETUP_TIMEOUT', kind: 'unreachable', message: /in TCP within 5 s/ })
  },
)

t.test('whoever asked may take it back, until the set-up is over', async (t) => {
  const asked = new AbortController()
  const limit = new SetupLimit({ signal: asked.signal }, () => 'dns')
  const ended = new SetupLimit({ signal: asked.signal }, () => 'dns')
  ended.end()
  asked.abort(new Error('enough'))
  t.match(limit.signal.reason, { message: 'enough' })
  t.match(new SetupLimit({ signal: asked.signal }, () => 'dns').signal.reason, { message: 'enough' })
  mock.timers.tick(200_000)
  t.equal(ended.signal.aborted, false)
})
