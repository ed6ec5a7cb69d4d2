import type { Command } from './command.js'
import { nc } from './nc.js'
import { value } from './options.js'

/**
 * For the help, and for who runs the whole program: main.ts starts {@link nc} without it, since it is to be there at
 * once.
 */
export const ncCommand: Command = {
  usage: 'nc <destination> [port]',
  describe: "standard input and output through a running bridge's SOCKS proxy, for ssh's ProxyCommand",
  positionals: {
    destination: 'HOST:PORT (IPv6 in brackets), or HOST',
    port: 'the port, if it stands by itself',
  },
  options: {
    via: value('[ADDR:]PORT or unix:PATH of the SOCKS proxy (default ALL_PROXY, 127.0.0.1:1080)'),
    'proxy-user': value('who we are to it (else SSTP_PROXY_USER)'),
    'proxy-password-file': value('first line of FILE: the password (else SSTP_PROXY_PASSWORD)'),
    timeout: value('time for the connection to come about, in seconds or like 2m (default 60)'),
  },
  examples: [["ssh -o ProxyCommand='$0 nc %h:%p' host.inside", 'ssh through a bridge that is running']],

  run(options, deps) {
    const { destination, port, via, proxyUser, proxyPasswordFile, timeout } = options
    const said = { via, 'proxy-user': proxyUser, 'proxy-password-file': proxyPasswordFile, timeout }
    const argv = Object.entries(said).flatMap(([name, given]) =>
      [given]
        .flat()
        .filter((text) => text !== undefined)
        .map((text) => `--${name}=${text}`),
    )
    const words = [destination, port].filter((word) => word !== undefined).map(String)
    return nc([...argv, ...words], { stdio: deps.stdio(), stderr: deps.stderr, env: deps.env })
  },
}
