/** The client's side of SOCKS5 (RFC 1928, 1929): bytes in, values out. */
import { type Conversation, NcFailure, type ProxyLogin, STATUS, type Step } from './nc-conversation.js'

/** `username/password` is offered only to have something to answer with. */
function greeting(login: ProxyLogin | undefined): Uint8Array {
  return login === undefined ? Uint8Array.of(5, 1, NO_AUTHENTICATION) : Uint8Array.of(5, 2, 0, PASSWORD)
}

/** RFC 1929 2; both of 1 to 255 octets. */
function loginMessage({ user, password }: ProxyLogin): Uint8Array {
  const [name, secret] = [Buffer.from(user), Buffer.from(password)]
  return Buffer.concat([Uint8Array.of(1, name.length), name, Uint8Array.of(secret.length), secret])
}

/** A CONNECT request; an address goes as text, which every server takes for a name and knows. */
function connectRequest(host: string, port: number): Uint8Array {
  const name = Buffer.from(host)
  return Buffer.concat([Uint8Array.of(5, 1, 0, 3, name.length), name, Uint8Array.of(port >>> 8, port & 0xff)])
}

/** What the server says, octet by octet if it has to be. `push` throws {@link NcFailure}. */
export class SocksConversation implements Conversation {
  readonly #login: ProxyLogin | undefined
  readonly #request: Uint8Array
  #received: Uint8Array = new Uint8Array(0)
  #state: 'method' | 'login' | 'reply' = 'method'

  constructor(host: string, port: number, login: ProxyLogin | undefined) {
    this.#login = login
    this.#request = connectRequest(host, port)
  }

  get first(): Uint8Array {
    return greeting(this.#login)
  }

  push(chunk: Uint8Array): Step {
    const received = new Uint8Array(this.#received.length + chunk.length)
    received.set(this.#received)
    received.set(chunk, this.#received.length)
    this.#received = received
    switch (this.#state) {
      case 'method':
        return this.#method(received)
      case 'login':
        return this.#loggedIn(received)
      case 'reply':
        return this.#reply(received)
    }
  }

  #method(b: Uint8Array): Step {
    const [version, method] = b
    if (version !== undefined && version !== 5) throw notSocks(version)
    if (method === undefined) return MORE
    this.#received = b.subarray(2)
    if (method === NO_AUTHENTICATION) {
      this.#state = 'reply'
      return { type: 'send', data: this.#request }
    }
    if (method === PASSWORD && this.#login !== undefined) {
      this.#state = 'login'
      return { type: 'send', data: loginMessage(this.#login) }
    }
    if (this.#login === undefined) {
      throw new NcFailure(
        'the proxy wants a user name and password: give --proxy-user NAME and SSTP_PROXY_PASSWORD',
        STATUS.credentials,
      )
    }
    throw new NcFailure('the proxy takes no log-in that is known here', STATUS.protocol)
  }

  #loggedIn(b: Uint8Array): Step {
    const [, status] = b
    if (status === undefined) return MORE
    if (status !== 0) {
      throw new NcFailure('the proxy does not take this user name and password', STATUS.credentials)
    }
    this.#received = b.subarray(2)
    this.#state = 'reply'
    return { type: 'send', data: this.#request }
  }

  #reply(b: Uint8Array): Step {
    const [version, code, , type, length] = b
    if (version !== undefined && version !== 5) throw notSocks(version)
    if (code !== undefined && code !== 0) throw failure(code)
    if (type === undefined || length === undefined) return MORE
    const address = type === 1 ? 4 : type === 4 ? 16 : type === 3 ? 1 + length : -1
    if (address < 0) throw new NcFailure('the proxy answered with an unknown address type', STATUS.protocol)
    const size = 4 + address + 2
    return b.length < size ? MORE : { type: 'connected', rest: b.subarray(size) }
  }
}

const REPLIES: Readonly<Record<number, string>> = {
  1: 'the proxy cannot connect to it: its log says why',
  2: 'this is not allowed: a rule of the bridge, or a firewall behind it',
  3: 'its network cannot be reached: the tunnel may be down, or have no such address family',
  4: 'no such host, or it cannot be reached',
  5: 'it refused the connection: nobody listens on that port',
  6: 'it does not answer',
  7: 'the proxy does not know CONNECT',
  8: 'the proxy does not know this kind of address',
}

function failure(code: number): NcFailure {
  const message = REPLIES[code] ?? `the proxy answered with the unknown reply ${code}`
  return new NcFailure(message, code in REPLIES ? STATUS.reply + code : STATUS.protocol)
}

function notSocks(first: number): NcFailure {
  const what = first === 0x48 ? ' (but perhaps an HTTP proxy)' : ''
  return new NcFailure(`what listens there is no SOCKS5 proxy${what}`, STATUS.protocol)
}

const NO_AUTHENTICATION = 0
const PASSWORD = 2
const MORE: Step = { type: 'more' }
