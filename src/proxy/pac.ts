/**
 * The rules as a file for proxy auto-configuration, for browsers.
 *
 * The script decides by text and arithmetic alone: `isInNet`, `dnsResolve` and `isResolvable` would have the
 * browser's machine ask for names that belong inside. Where only an address could decide, and whenever in
 * doubt, it says the proxy, which has the same rules and sees the address. So `DIRECT` is what the rules say too,
 * and the proxy is never wrong. There is no way past a proxy that does not answer.
 */
import { isIPv4 } from 'node:net'
import { classifyHost, normalizeName } from '../dns/names.js'
import type { Endpoint } from '../tunnel/dialer.js'
import type { Page, Pages } from './pages.js'
import { isLocalhost, nameBelow, type Rule, type Rules } from './rules.js'
import { rarestLabels } from './rules-index.js'

/** Where the proxies are, by TCP. */
export interface PacProxies {
  readonly http: readonly Endpoint[]
  readonly socks: readonly Endpoint[]
}

/** `/proxy.pac`, and `/wpad.dat` for browsers that look for it by themselves. */
export function pacPages(rules: Rules, proxies: () => PacProxies): Pages {
  let tail: string | undefined
  return {
    page(path: string, host: string): Page | undefined {
      if (path !== '/proxy.pac' && path !== '/wpad.dat') return undefined
      const list = proxyList(proxies(), host)
      if (list === undefined) return undefined
      tail ??= decisions(rules)
      return { type: PAC_TYPE, body: script(list, tail) }
    },
  }
}

/** The script for rules and a list such as `PROXY 127.0.0.1:8080`. */
export function pacScript(rules: Rules, list: string): string {
  return script(list, decisions(rules))
}

/**
 * What a client that calls this proxy `host` (the Host field) can use, best first: HTTP, which can say why
 * something failed and ask for a password, then SOCKS5. Undefined if there is nothing, also for a name under
 * which nobody but this machine could ask: then somebody else's page has its name lead here.
 */
export function proxyList({ http, socks }: PacProxies, host: string): string | undefined {
  const client = clientsView(host)
  if (client === undefined) return undefined
  const list = (scheme: string, endpoints: readonly Endpoint[]): string[] =>
    endpoints.flatMap(({ address, port }) => {
      const reached = reachedAt(address, client)
      return reached === undefined
        ? []
        : [`${scheme} ${reached.includes(':') ? `[${reached}]` : reached}:${port}`]
    })
  const all = [...new Set([...list('PROXY', http), ...list('SOCKS5', socks)])]
  return all.length === 0 ? undefined : all.slice(0, MAX_PROXIES).join('; ')
}

interface ClientsView {
  readonly host: string
  readonly isLoopback: boolean
}

function clientsView(field: string): ClientsView | undefined {
  const text = /^(\[[^\]]*\]|[^:]*)(?::\d{1,5})?$/.exec(field)?.[1] ?? ''
  const name = normalizeName(text)
  if (name !== undefined && isLocalhost(name)) return { host: name, isLoopback: true }
  const host = classifyHost(text, { claimed: ['local'] })
  if (host.kind === 'bad') return undefined
  if (host.kind === 'name') return { host: host.name, isLoopback: false }
  return { host: host.address, isLoopback: isLoopback(host.address) }
}

function reachedAt(listener: string, client: ClientsView): string | undefined {
  if (listener === '0.0.0.0' || listener === '::') return client.host
  if (!isLoopback(listener)) return listener
  if (!client.isLoopback) return undefined
  return listener === 'localhost' ? '127.0.0.1' : listener
}

function isLoopback(address: string): boolean {
  return address === 'localhost' || address === '::1' || (isIPv4(address) && address.startsWith('127.'))
}

/**
 * One place of the list in a table: twice the index, and 1 more for `DIRECT`; so the smallest decides. Alone it
 * takes every port; else there are threes: code, first and last port.
 */
type Entry = number | number[]
type Table = Record<string, Entry>

class Tables {
  any: Entry = []
  readonly hosts: Table = {}
  readonly domains: Table = {}
  readonly below: Table = {}
  /** By label, or `.` for those without one: pattern, code, first and last port. */
  readonly wildcards: Record<string, (string | number)[]> = {}
  /** By length of the prefix, then by the hexadecimal digits of it. */
  readonly networks4: Record<string, Table> = {}
  readonly networks6: Record<string, Table> = {}
  /** Address rules that do not say `DIRECT`. */
  notDirect: Entry = []

  add(rule: Rule, code: number, label: string | undefined): void {
    const { target } = rule
    switch (target.kind) {
      case 'any':
        this.any = joined(this.any, rule, code)
        break
      case 'host':
        put(this.hosts, dotted(target.name), rule, code)
        break
      case 'domain':
        put(this.domains, dotted(target.name), rule, code)
        break
      case 'wildcard': {
        const name = nameBelow(target.pattern)
        if (name !== undefined) put(this.below, dotted(name), rule, code)
        else {
          const key = dotted(label ?? '')
          const list = (this.wildcards[key] ??= [])
          list.push(target.pattern, code, rule.ports?.first ?? 0, rule.ports?.last ?? LAST_PORT)
        }
        break
      }
      case 'network': {
        const networks = target.family === 4 ? this.networks4 : this.networks6
        const table = (networks[target.length] ??= {})
        put(table, hexPrefix(target.octets, target.length), rule, code)
        if (rule.way !== 'direct') this.notDirect = joined(this.notDirect, rule, code)
      }
    }
  }
}

/** Names are labels, so nothing that an object has of itself begins so. */
function dotted(name: string): string {
  return `.${name}`
}

function put(table: Table, key: string, rule: Rule, code: number): void {
  table[key] = joined(Object.hasOwn(table, key) ? (table[key] ?? []) : [], rule, code)
}

/** Later rules for ports that an earlier one has taken whole are left out. */
function joined(entry: Entry, { ports }: Rule, code: number): Entry {
  if (typeof entry === 'number') return entry
  const { first, last } = ports ?? { first: 0, last: LAST_PORT }
  for (let i = 0; i < entry.length; i += 3) {
    if ((entry[i + 1] ?? 0) <= first && (entry[i + 2] ?? 0) >= last) return entry
  }
  if (ports === undefined && entry.length === 0) return code
  entry.push(code, first, last)
  return entry
}

function hexPrefix(octets: readonly number[], length: number): string {
  const digits = octets.map((octet) => octet.toString(16).padStart(2, '0')).join('')
  return digits.slice(0, Math.ceil(length / 4))
}

/** All of the script behind the list of proxies. */
function decisions(rules: Rules): string {
  const tables = new Tables()
  // Browsers' UDP takes no proxy.
  const list = rules.list.filter((rule) => rule.protocol !== 'udp')
  const labels = rarestLabels(list.map(({ target }) => (target.kind === 'wildcard' ? target.pattern : '')))
  list.forEach((rule, i) => {
    tables.add(rule, i * 2 + (rule.way === 'direct' ? 1 : 0), labels[i])
  })
  const fallback = list.length * 2 + (rules.fallback === 'direct' ? 1 : 0)
  const values = [
    ['NONE', fallback],
    ['ANY', tables.any],
    ['HOSTS', tables.hosts],
    ['DOMAINS', tables.domains],
    ['BELOW', tables.below],
    ['PATTERNS', tables.wildcards],
    ['NETS4', tables.networks4],
    ['NETS6', tables.networks6],
    ['ADDRESSES', tables.notDirect],
  ] as const
  const text = values.map(([name, value]) => `var ${name} = ${JSON.stringify(value)};\n`).join('') + PROGRAM
  if (text.length <= MAX_SIZE) return text
  return `// Too many rules for a browser: the proxy decides about everything.\n${PROXY_ALWAYS}`
}

function script(list: string, tail: string): string {
  return `// Made by sstp-socks of its rules.\nvar PROXIES = ${JSON.stringify(list)};\n${tail}`
}

const PROXY_ALWAYS = `function FindProxyForURL(url, host) {
  return PROXIES;
}
`

// In the JavaScript of 1999, as some systems have no other for this.
const PROGRAM = `
function has(table, key) {
  return Object.prototype.hasOwnProperty.call(table, key);
}
function fit(entry, port, best) {
  if (typeof entry === "number") return entry < best ? entry : best;
  for (var i = 0; i < entry.length; i += 3) {
    if (entry[i] >= best) return best;
    if (port >= entry[i + 1] && port <= entry[i + 2]) return entry[i];
  }
  return best;
}
function find(table, key, port, best) {
  return has(table, key) ? fit(table[key], port, best) : best;
}
function matches(pattern, text) {
  var at = 0, star = -1, from = 0, i = 0;
  while (i < text.length) {
    if (pattern.charAt(at) === "*") {
      star = at++;
      from = i;
    } else if (pattern.charAt(at) === text.charAt(i)) {
      at++;
      i++;
    } else if (star >= 0) {
      at = star + 1;
      i = ++from;
    } else return false;
  }
  while (pattern.charAt(at) === "*") at++;
  return at === pattern.length;
}
function scan(key, name, port, best) {
  if (!has(PATTERNS, key)) return best;
  var list = PATTERNS[key];
  for (var i = 0; i < list.length; i += 4) {
    if (list[i + 1] >= best) return best;
    if (port >= list[i + 2] && port <= list[i + 3] && matches(list[i], name)) return list[i + 1];
  }
  return best;
}
function findName(name, port, best) {
  var dot, suffix, labels = name.split(".");
  best = find(HOSTS, "." + name, port, best);
  best = find(DOMAINS, "." + name, port, best);
  for (dot = name.indexOf("."); dot >= 0; dot = name.indexOf(".", dot + 1)) {
    suffix = name.substring(dot);
    best = find(DOMAINS, suffix, port, best);
    best = find(BELOW, suffix, port, best);
  }
  best = scan(".", name, port, best);
  for (dot = 0; dot < labels.length; dot++) best = scan("." + labels[dot], name, port, best);
  return best;
}
function findAddress(nets, digits, port, best) {
  var bits, key, rest;
  for (bits in nets) {
    if (!has(nets, bits)) continue;
    key = digits.substring(0, bits >> 2);
    rest = bits & 3;
    if (rest) key += (parseInt(digits.charAt(bits >> 2), 16) & (0xf0 >> rest)).toString(16);
    best = find(nets[bits], key, port, best);
  }
  return best;
}
function four(host) {
  var i, n, digits = "", parts = /^(\\d{1,3})\\.(\\d{1,3})\\.(\\d{1,3})\\.(\\d{1,3})$/.exec(host);
  if (!parts) return "";
  for (i = 1; i < 5; i++) {
    n = parseInt(parts[i], 10);
    if (n > 255 || String(n) !== parts[i]) return "";
    digits += (n < 16 ? "0" : "") + n.toString(16);
  }
  return digits;
}
function six(host) {
  var i, digits = "", halves = host.split("::"), head, tail, missing;
  if (halves.length > 2) return "";
  head = halves[0] === "" ? [] : halves[0].split(":");
  tail = halves.length < 2 || halves[1] === "" ? [] : halves[1].split(":");
  missing = 8 - head.length - tail.length;
  if (halves.length < 2 ? missing !== 0 : missing < 1) return "";
  for (; missing > 0; missing--) head.push("0");
  head = head.concat(tail);
  for (i = 0; i < 8; i++) {
    if (!/^[0-9a-f]{1,4}$/.test(head[i])) return "";
    digits += ("000" + head[i]).slice(-4);
  }
  return digits;
}
function portOf(url) {
  var parts = /^([a-z][a-z0-9+.\\-]*):\\/\\/(?:[^\\/?#@]*@)?(?:\\[[^\\]]*\\]|[^:\\/?#]*)(?::(\\d{1,5}))?/i.exec(url);
  if (!parts) return 0;
  if (parts[2]) return parseInt(parts[2], 10);
  switch (parts[1].toLowerCase()) {
    case "http":
    case "ws":
      return 80;
    case "https":
    case "wss":
      return 443;
    case "ftp":
      return 21;
  }
  return 0;
}
function FindProxyForURL(url, host) {
  var port = portOf(url), any, best, digits, here, named = false;
  host = host.toLowerCase().replace(/\\.$/, "");
  if (!port || host.length > 253) return PROXIES;
  best = any = fit(ANY, port, NONE);
  if (host.indexOf(":") >= 0) {
    digits = six(host.replace(/^\\[|\\]$/g, ""));
    if (!digits) return PROXIES;
    here = /^0{31}1$/.test(digits);
    if (/^0{20}ffff/.test(digits)) {
      digits = digits.substring(24);
      here = digits.substring(0, 2) === "7f";
    }
  } else {
    digits = four(host);
    here = digits.substring(0, 2) === "7f";
  }
  if (digits) best = findAddress(digits.length === 8 ? NETS4 : NETS6, digits, port, best);
  else {
    if (!/^[a-z0-9_\\-]{1,63}(?:\\.[a-z0-9_\\-]{1,63})*$/.test(host)) return PROXIES;
    if (/(?:^|\\.)(?:\\d+|0x[0-9a-f]*|onion|alt|invalid)$/.test(host)) return PROXIES;
    here = /(?:^|\\.)localhost$/.test(host);
    named = true;
    best = findName(host, port, best);
  }
  // The browser's own machine, unless a rule is about it.
  if (here && best === any) return "DIRECT";
  if (!(best & 1)) return PROXIES;
  // An address of the name might be one for which an earlier rule says otherwise.
  if (named && fit(ADDRESSES, port, best) < best) return PROXIES;
  return "DIRECT";
}
`

export const PAC_TYPE = 'application/x-ns-proxy-autoconfig'
const LAST_PORT = 65535
const MAX_PROXIES = 8
/** Characters. Chromium takes no file above 1 MiB. */
const MAX_SIZE = 1_000_000
