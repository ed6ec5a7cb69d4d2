import type { Options } from 'yargs'
import { DEFAULT_HTTP, DEFAULT_LISTEN, DEFAULT_SOCKS, LOG_FORMATS, LOG_LEVELS } from '../config/schema.js'
import { formatEndpoint } from '../config/values.js'

// What yargs needs to know: names and help. What the values mean is for `config/schema.ts` alone, so
// everything with a value is text here.

type OptionTable = Readonly<Record<string, Options>>

export function value(describe: string, more: Options = {}): Options {
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
const WAY = 'Way to the server:'
const OUTPUT = 'Output:'
const NETWORK = 'Inner network:'
const NAMES = 'Names:'
const RADIUS = 'RADIUS:'

export const logOptions = (level: string): OptionTable => ({
  json: { ...flag('events or results as one JSON object a line on standard output'), group: OUTPUT },
  'log-level': value(`${LOG_LEVELS.join(', ')} (default ${level})`, { group: OUTPUT }),
  'log-format': value(`${LOG_FORMATS.join(' or ')}, on standard error (default pretty)`, { group: OUTPUT }),
})

const authOption = value(
  'methods to offer, best first, of eap-tls (with --client-ca), peap, eap-mschapv2, mschapv2, chap, pap (default all but peap; with --radius all)',
)
const mtuOption = value('largest inner packet, 576 to 4087 (default 1400)')

export const tunnelOptions: OptionTable = {
  user: value('NAME, DOMAIN\\NAME or NAME@REALM (else SSTP_USER, else asked for)', { group: SIGN_IN }),
  'password-file': value('first line of FILE, - for standard input (else SSTP_PASSWORD, else asked for)', {
    group: SIGN_IN,
  }),
  password: value('taken, but other users of this machine can see it', { group: SIGN_IN }),
  'password-command': value(
    'command whose first line of output is the password; run for each call, so good for one-time codes',
    { group: SIGN_IN },
  ),
  'new-password-file': value('first line of FILE: the password to change to if the old one has expired', {
    group: SIGN_IN,
  }),
  auth: value(
    'methods that may be used, best first, of eap-tls,peap,eap-mschapv2,mschapv2,chap,pap (default all that there is a certificate or password for; pap only with a trusted server)',
    { group: SIGN_IN },
  ),
  cert: value('client certificate for EAP-TLS, PEM or PKCS#12', { group: SIGN_IN }),
  key: value('PEM file of its private key (default: in the same file)', { group: SIGN_IN }),
  'key-password-file': value('first line of FILE: the password of that key', { group: SIGN_IN }),
  'eap-name': value('name to give where EAP is not protected, instead of the user name', { group: SIGN_IN }),
  'hash-whole-user': {
    ...flag('MS-CHAPv2 over DOMAIN\\user whole, as accel-ppp with its own user file wants it'),
    group: SIGN_IN,
  },
  'eap-ca': value('as --ca, for the authentication server inside EAP-TLS and PEAP', { group: TRUST }),
  'eap-servername': value('name to find in its certificate', { group: TRUST }),
  'eap-pin': value('as --pin, for its certificate; repeatable', { array: true, group: TRUST }),
  'eap-tls-max': value(
    '1.2 or 1.3, the newest TLS in EAP-TLS and PEAP, for servers that stumble (default 1.3)',
    {
      group: SIGN_IN,
    },
  ),
  'eap-key-rule': value(
    'windows or pppd: how EAP-TLS and PEAP make the key of the crypto binding (default: windows, then pppd)',
    { group: SIGN_IN },
  ),
  ca: value('PEM or DER file, or directory of such, to trust instead of the system', { group: TRUST }),
  pin: value("SHA-256 of the server's certificate or public key, trusted alone; hex or base64; repeatable", {
    array: true,
    group: TRUST,
  }),
  servername: value('name to ask for and to find in the certificate, instead of the host', { group: TRUST }),
  insecure: { ...flag('trust any certificate: whoever is on the way can read along'), group: TRUST },
  sni: value('name to ask for in TLS only, or none to ask for no name', { group: WAY }),
  'host-header': value('NAME or NAME:PORT to ask for in HTTP, instead of the host', { group: WAY }),
  'tls-cert': value('PEM file of a client certificate, for servers that want one in TLS', { group: WAY }),
  'tls-key': value('PEM file of its private key (default: in the same file)', { group: WAY }),
  upstream: value(
    'proxy to reach the server through: [http|https|socks5|socks5h]://[USER[:PASSWORD]@]HOST[:PORT], or none (default: HTTPS_PROXY, ALL_PROXY and NO_PROXY say)',
    { group: WAY },
  ),
  'upstream-password-file': value(
    'first line of FILE, - for standard input (else SSTP_UPSTREAM_PASSWORD, else asked for)',
    { group: WAY },
  ),
  dns: value(
    'DNS server in the tunnel, instead of those the server names; DOMAIN=ADDR for names below DOMAIN only, DOMAIN=direct to ask for them outside the tunnel; repeatable',
    { array: true, group: NAMES },
  ),
  search: value(
    'domain to look for short names in, instead of those the network names; . for none; repeatable',
    { array: true, group: NAMES },
  ),
  ndots: value('a name with so many dots is tried as it is first (default 1)', { group: NAMES }),
  hosts: value('FILE like /etc/hosts whose names need no asking', { group: NAMES }),
  mtu: { ...mtuOption, group: NETWORK },
  'no-ipv6': { ...flag('do not ask for IPv6'), group: NETWORK },
  timeout: value('time for the set-up, in seconds or like 2m (default 60)', { group: NETWORK }),
  ...logOptions('warn'),
}

const PROXIES =
  'Proxies (the same for both: one port for both; port 0: a free one, --socks 0 --http 0: one shared free port):'

/** Of `connect` and `run`, with the places where the proxies listen if none is said. */
function proxyPlaces(socks: string, http: string): OptionTable {
  return {
    socks: value(`[ADDR:]PORT or unix:PATH of the SOCKS5 proxy, or off; repeatable (default ${socks})`, {
      array: true,
      group: PROXIES,
    }),
    http: value(`[ADDR:]PORT or unix:PATH of the HTTP proxy, or off; repeatable (default ${http})`, {
      array: true,
      group: PROXIES,
    }),
    'proxy-user': value('name that whoever uses the proxies must say (else SSTP_PROXY_USER)', {
      group: PROXIES,
    }),
    'proxy-password-file': value(
      'first line of FILE, - for standard input: the password for it (else SSTP_PROXY_PASSWORD, else asked for)',
      { group: PROXIES },
    ),
    allow: value(
      'ADDR or CIDR that clients may come from, others are hung up on; repeatable (default: all)',
      {
        array: true,
        group: PROXIES,
      },
    ),
    'allow-open': {
      ...flag('listen beyond this machine without --proxy-user: whoever gets there is in the remote network'),
      group: PROXIES,
    },
  }
}

export const proxyOptions: OptionTable = {
  ...proxyPlaces(endpoint(DEFAULT_SOCKS), endpoint(DEFAULT_HTTP)),
  'max-clients': value('connections to each of the proxies at one time (default 16384)', {
    group: 'Limits:',
  }),
}

export const runOptions: OptionTable = {
  ...proxyOptions,
  ...proxyPlaces('a free port', 'the same free port'),
}

const SPLIT =
  'Split tunnelling (TARGET: CIDR, address, domain, =name, pattern with *, then [:PORT[-PORT]][/tcp|/udp]):'

export const ruleOptions: OptionTable = {
  route: value('TARGET that goes through the tunnel, and what nothing is said about directly; repeatable', {
    array: true,
    group: SPLIT,
  }),
  bypass: value('TARGET that goes directly, not through the tunnel; repeatable', {
    array: true,
    group: SPLIT,
  }),
  block: value('TARGET that is refused; repeatable', { array: true, group: SPLIT }),
  rules: value(
    'FILE with a line "tunnel|direct|refuse TARGET" each; the first that matches decides, after --block, --bypass, --route in this order',
    { group: SPLIT },
  ),
}

export const nameOptions: OptionTable = {
  'dns-listen': value('[ADDR:]PORT to answer DNS queries on, UDP and TCP, from the network in the tunnel', {
    group: NAMES,
  }),
}

const FORWARDS = 'Forwards (repeatable; /udp behind it for UDP):'

export const forwardOptions: OptionTable = {
  forward: value(
    '[ADDR:]PORT:HOST:PORT, or unix:PATH:HOST:PORT: a port here that leads to HOST behind the tunnel',
    {
      alias: 'L',
      array: true,
      group: FORWARDS,
    },
  ),
  'remote-forward': value(
    "PORT:HOST:PORT, or PORT:unix:PATH: a port on the tunnel's own address that leads to HOST as it is known here",
    { alias: 'R', array: true, group: FORWARDS },
  ),
}

export const stdioOptions: OptionTable = {
  stdio: value(
    "HOST:PORT to join standard input and output to, for ssh's ProxyCommand; no proxies then, unless they are named",
    { group: FORWARDS },
  ),
}

const STAY = 'Staying up:'

export const stayOptions: OptionTable = {
  reconnect: {
    ...flag('bring a lost tunnel up again (the default), but not if the server refuses us'),
    group: STAY,
  },
  'no-reconnect': { ...flag('end with status 7 when the tunnel is lost'), group: STAY },
  'retry-start': {
    ...flag('go on trying too if the server cannot be reached at the start, instead of ending'),
    group: STAY,
  },
  'reconnect-wait': value(
    'how long a new connection waits for a tunnel that is being brought up again, in seconds (default 10)',
    { group: STAY },
  ),
  keepalive: value('ask the server for a sign of life after silence of so many seconds (default 8)', {
    group: STAY,
  }),
}

export const pingOptions: OptionTable = {
  count: value('how many (default 4)', { alias: 'c' }),
  interval: value('time between two, in milliseconds or like 2s (default 1000)', { alias: 'i' }),
  size: value('octets of data in each (default 56)', { alias: 's' }),
}

export const serveOptions: OptionTable = {
  accounts: value('FILE with a user:password a line; only its owner may have access'),
  radius: value('HOST[:PORT] of a RADIUS server to ask instead; repeatable, in order (port 1812)', {
    array: true,
    group: RADIUS,
  }),
  'radius-secret-file': value('first line of FILE, - for standard input: the secret shared with it', {
    group: RADIUS,
  }),
  'radius-accounting': value(
    'HOST[:PORT] to send accounting to, or off; repeatable (default: the same servers, one port higher)',
    { array: true, group: RADIUS },
  ),
  'radius-timeout': value(
    'time for each server to answer in, in seconds or like 500ms (default 6; more for approval by phone)',
    { group: RADIUS },
  ),
  'radius-nas': value("what this server calls itself there (default: the host's name)", { group: RADIUS }),
  'radius-old-server': {
    ...flag('believe answers without a Message-Authenticator, which can be forged (CVE-2024-3596)'),
    group: RADIUS,
  },
  listen: value(
    `[ADDR:]PORT (default ${endpoint(DEFAULT_LISTEN)}; clients expect 443, which may need privileges)`,
  ),
  cert: value('PEM file of the certificate and its chain (default: one made on first start)'),
  key: value('PEM file of its private key'),
  'client-ca': value('PEM or DER file: clients with a certificate from it are let in, by EAP-TLS'),
  state: value(
    'directory of the certificate made here (default ~/.local/state/sstp-socks, or in $XDG_STATE_HOME)',
  ),
  pool: value('IPv4 range for clients, the first address is ours (default 192.168.30.0/24)'),
  'ipv6-prefix': value(
    'IPv6 prefix for clients, such as fd12:3456:789a:1::/64; its first address is ours (default: none)',
  ),
  dns: value('IPv4 DNS server told to clients (default: this one, which asks for them); repeatable', {
    array: true,
  }),
  auth: authOption,
  mtu: mtuOption,
  'max-calls': value('calls at one time (default 256)'),
  'max-connections': value('TCP connections through one call (default 1024)'),
  'max-strangers': value('connections of clients that have not signed in (default 256)'),
  'max-per-address': value('of these, such from one address or IPv6 /64 (default 32)'),
  'max-failures': value(
    'wrong passwords from one address until it has to wait, a minute for each; 0: never (default 10)',
  ),
  'setup-timeout': value('time for a client to get its call up, in seconds or like 2m (default 120)'),
  'allow-loopback': flag(
    "let clients reach services on 127.0.0.1 of this machine, at the server's own inner address",
  ),
  ...logOptions('info'),
}

export const demoOptions: OptionTable = {
  once: flag('try the lines itself and end'),
  ...logOptions('warn'),
}
