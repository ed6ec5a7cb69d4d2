import type { Options } from 'yargs'
import { DEFAULT_HTTP, DEFAULT_LISTEN, DEFAULT_SOCKS, LOG_FORMATS, LOG_LEVELS } from '../config/schema.js'
import { formatEndpoint } from '../config/values.js'

// What yargs needs to know: names and help. What the values mean is for `config/schema.ts` alone, so
// everything with a value is text here.

type OptionTable = Readonly<Record<string, Options>>

function value(describe: string, more: Options = {}): Options {
  return { type: 'string', requiresArg: true, describe, ...more }
}

function flag(describe: string): Options {
  return { type: 'boolean', describe }
}

function endpoint(at: { readonly address: string; readonly port: number }): string {
  return formatEndpoint(at.address, at.port)
}

const SIGN_IN = 'Sign in:'
const TRUST = 'Trust:'
const OUTPUT = 'Output:'
const NETWORK = 'Inner network:'

export const logOptions = (level: string): OptionTable => ({
  json: { ...flag('events or results as one JSON object a line on standard output'), group: OUTPUT },
  'log-level': value(`${LOG_LEVELS.join(', ')} (default ${level})`, { group: OUTPUT }),
  'log-format': value(`${LOG_FORMATS.join(' or ')}, on standard error (default pretty)`, { group: OUTPUT }),
})

const authOption = value('methods that may be used, of mschapv2,chap,pap (default all)')
const mtuOption = value('largest inner packet, 576 to 4087 (default 1400)')

export const tunnelOptions: OptionTable = {
  user: value('NAME, DOMAIN\\NAME or NAME@REALM (else SSTP_USER, else asked for)', { group: SIGN_IN }),
  'password-file': value('first line of FILE, - for standard input (else SSTP_PASSWORD, else asked for)', {
    group: SIGN_IN,
  }),
  password: value('taken, but other users of this machine can see it', { group: SIGN_IN }),
  auth: { ...authOption, group: SIGN_IN },
  ca: value('PEM file of certificates to trust instead of the built-in ones', { group: TRUST }),
  pin: value("SHA-256 of the server's certificate or public key, trusted alone; hex or base64", {
    group: TRUST,
  }),
  servername: value('name to ask for and to find in the certificate, instead of the host', { group: TRUST }),
  insecure: { ...flag('trust any certificate: whoever is on the way can read along'), group: TRUST },
  dns: value('DNS server in the tunnel, instead of those the server names; repeatable', {
    array: true,
    group: NETWORK,
  }),
  mtu: { ...mtuOption, group: NETWORK },
  'no-ipv6': { ...flag('do not ask for IPv6'), group: NETWORK },
  timeout: value('time for the set-up, in seconds or like 500ms (default 60)', { group: NETWORK }),
  ...logOptions('warn'),
}

export const proxyOptions: OptionTable = {
  socks: value(`[ADDR:]PORT of the SOCKS5 proxy, or off (default ${endpoint(DEFAULT_SOCKS)})`, {
    group:
      'Proxies (the same for both: one port for both; port 0: a free one, --socks 0 --http 0: one shared free port):',
  }),
  http: value(`[ADDR:]PORT of the HTTP proxy, or off (default ${endpoint(DEFAULT_HTTP)})`, {
    group:
      'Proxies (the same for both: one port for both; port 0: a free one, --socks 0 --http 0: one shared free port):',
  }),
}

export const pingOptions: OptionTable = {
  count: value('how many (default 4)', { alias: 'c' }),
  interval: value('time between two, in milliseconds or like 2s (default 1000)', { alias: 'i' }),
  size: value('octets of data in each (default 56)', { alias: 's' }),
}

export const serveOptions: OptionTable = {
  accounts: value('FILE with a user:password a line; only its owner may have access'),
  listen: value(
    `[ADDR:]PORT (default ${endpoint(DEFAULT_LISTEN)}; clients expect 443, which may need privileges)`,
  ),
  cert: value('PEM file of the certificate and its chain (default: one made on first start)'),
  key: value('PEM file of its private key'),
  state: value(
    'directory of the certificate made here (default ~/.local/state/sstp-socks, or in $XDG_STATE_HOME)',
  ),
  pool: value('IPv4 range for clients, the first address is ours (default 192.168.30.0/24)'),
  dns: value('IPv4 DNS server told to clients (default: this one, which asks for them); repeatable', {
    array: true,
  }),
  auth: authOption,
  mtu: mtuOption,
  'max-calls': value('calls at one time (default 256)'),
  'allow-loopback': flag(
    "let clients reach services on 127.0.0.1 of this machine, at the server's own inner address",
  ),
  ...logOptions('info'),
}

export const demoOptions: OptionTable = {
  once: flag('try the lines itself and end'),
  ...logOptions('warn'),
}
