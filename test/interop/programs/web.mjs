/**
 * The web server behind the tunnel, in one process: pages, a WebSocket, a download, git over HTTP, and registries of npm
 * and of Python's packages. Arguments: address, PEM file of the certificate, of its key, directory of the git
 * repositories, directory of the packages. Listens on 80 and 443, and echoes datagrams on 7.
 */
import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { createSocket } from 'node:dgram'
import { readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import { join } from 'node:path'

const [address = '', certificate = '', key = '', repositories = '', packages = ''] = process.argv.slice(2)
const address6 = process.argv[7] ?? ''

/** What `/download` serves: 300,000 octets that repeat late. */
const download = Buffer.alloc(
  300_000,
  Buffer.from(Array.from({ length: 65_521 }, (_, i) => (i * 31) ^ (i >> 8))),
)

/** A page whose load event waits until its script has reported all that it tried. */
const PAGE = `<!doctype html><title>inside</title>
<link rel="stylesheet" href="/style.css"><script src="/script.js" defer></script>
<h1 id="head">hello from inside</h1><p id="result">nothing yet</p><img src="/pixel.svg"><iframe src="/hold"></iframe>`
const SCRIPT = `const result = document.querySelector('#result')
async function all() {
  const found = [getComputedStyle(document.querySelector('#head')).color]
  found.push(await (await fetch('/json')).json().then((o) => o.protocol))
  const { length } = await (await fetch('/download')).arrayBuffer().then((b) => new Uint8Array(b))
  found.push(length)
  found.push((await Promise.all(Array.from({ length: 20 }, (_, i) => fetch('/part?' + i).then((r) => r.text())))).length)
  const socket = new WebSocket((location.protocol === 'https:' ? 'wss://' : 'ws://') + location.host + '/socket')
  found.push(await new Promise((resolve, reject) => {
    socket.onopen = () => socket.send('over the tunnel')
    socket.onmessage = (m) => resolve(m.data)
    socket.onerror = () => reject(new Error('WebSocket'))
  }))
  return found.join(' | ')
}
all().then((text) => text, (error) => 'failed: ' + error.message)
  .then((text) => { result.textContent = text })
  .finally(() => fetch('/report', { method: 'POST', body: result.textContent }))`

const held = new Set()
let reported = false

/** A page has its frame when its script has reported: either request may come first. */
function release() {
  if (!reported || held.size === 0) return
  for (const waiting of held) waiting.end('reported')
  held.clear()
  reported = false
}

/** The CGI of git (git-http-backend(1)). */
function git(request, response, url) {
  const env = {
    PATH: process.env.PATH,
    GIT_PROJECT_ROOT: repositories,
    GIT_HTTP_EXPORT_ALL: '1',
    GIT_CONFIG_COUNT: '1',
    GIT_CONFIG_KEY_0: 'safe.directory',
    GIT_CONFIG_VALUE_0: '*',
    PATH_INFO: url.pathname,
    QUERY_STRING: url.search.slice(1),
    REQUEST_METHOD: request.method,
    CONTENT_TYPE: request.headers['content-type'] ?? '',
    HTTP_CONTENT_ENCODING: request.headers['content-encoding'] ?? '',
    GIT_PROTOCOL: request.headers['git-protocol'] ?? '',
    REMOTE_USER: 'alice',
    REMOTE_ADDR: request.socket.remoteAddress,
  }
  const child = spawn('git', ['http-backend'], { env, stdio: ['pipe', 'pipe', 'inherit'] })
  request.pipe(child.stdin)
  let head = Buffer.alloc(0)
  const onHead = (chunk) => {
    head = Buffer.concat([head, chunk])
    const end = head.indexOf('\r\n\r\n')
    if (end < 0) return
    child.stdout.off('data', onHead)
    let status = 200
    for (const line of head.toString('latin1', 0, end).split('\r\n')) {
      const [name = '', value = ''] = line.split(/:\s*(.*)/s)
      if (name.toLowerCase() === 'status') status = Number.parseInt(value, 10)
      else response.setHeader(name, value)
    }
    response.writeHead(status)
    response.write(head.subarray(end + 4))
    child.stdout.pipe(response)
  }
  child.stdout.on('data', onHead)
}

/** npm's registry: a document for the package, and its tarball. */
function npm(response, path) {
  const tarball = readFileSync(join(packages, 'hello-inside-1.0.0.tgz'))
  if (path.endsWith('.tgz')) return void response.end(tarball)
  if (path !== '/hello-inside') return void response.writeHead(404).end('{}')
  const dist = {
    tarball: 'http://npm.inside/hello-inside/-/hello-inside-1.0.0.tgz',
    integrity: `sha512-${createHash('sha512').update(tarball).digest('base64')}`,
  }
  const version = { name: 'hello-inside', version: '1.0.0', dist }
  response.setHeader('content-type', 'application/json')
  response.end(
    JSON.stringify({
      name: 'hello-inside',
      'dist-tags': { latest: '1.0.0' },
      versions: { '1.0.0': version },
    }),
  )
}

/** Python's simple repository API (PEP 503). */
function pypi(response, path) {
  const name = 'hello_inside-1.0.0-py3-none-any.whl'
  if (path.endsWith('.whl')) return void response.end(readFileSync(join(packages, name)))
  if (path !== '/simple/hello-inside/') return void response.writeHead(404).end()
  response.setHeader('content-type', 'text/html')
  response.end(`<!doctype html><a href="/files/${name}">${name}</a>`)
}

function answer(request, response) {
  const url = new URL(request.url ?? '/', `http://${request.headers.host}`)
  process.stdout.write(`${request.method} ${url} ${request.headers['user-agent'] ?? ''}\n`)
  const host = url.hostname
  if (host === 'git.inside') return git(request, response, url)
  if (host === 'npm.inside') return npm(response, url.pathname)
  if (host === 'pypi.inside') return pypi(response, url.pathname)
  const secure = 'encrypted' in request.socket
  switch (url.pathname) {
    case '/':
      return void response.end(`hello from inside over ${secure ? 'https' : 'http'}\n`)
    case '/page':
      return void response.setHeader('content-type', 'text/html').end(PAGE)
    case '/style.css':
      return void response.setHeader('content-type', 'text/css').end('h1 { color: rgb(1, 2, 3) }')
    case '/script.js':
      return void response.setHeader('content-type', 'text/javascript').end(SCRIPT)
    case '/pixel.svg':
      response.setHeader('content-type', 'image/svg+xml')
      return void response.end('<svg xmlns="http://www.w3.org/2000/svg" width="1" height="1"/>')
    case '/json':
      response.setHeader('content-type', 'application/json')
      return void response.end(
        JSON.stringify({ protocol: secure ? 'https' : 'http', method: request.method }),
      )
    case '/hold':
      held.add(response)
      return release()
    case '/report':
      reported = true
      release()
      request.resume()
      return void response.end()
    case '/download':
      response.setHeader('content-disposition', 'attachment; filename="inside.bin"')
      response.setHeader('content-length', download.length)
      return void response.setHeader('content-type', 'application/octet-stream').end(download)
    case '/echo': {
      response.setHeader('x-method', request.method)
      return void request.pipe(response)
    }
    default:
      return void response.end(`${url.pathname}${url.search}`)
  }
}

/** A WebSocket (RFC 6455) that sends each short text back. */
function upgrade(request, socket) {
  const proof = `${request.headers['sec-websocket-key']}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`
  const accept = createHash('sha1').update(proof).digest('base64')
  const head = ['HTTP/1.1 101 Switching Protocols', 'Upgrade: websocket', 'Connection: Upgrade']
  socket.write(`${[...head, `Sec-WebSocket-Accept: ${accept}`].join('\r\n')}\r\n\r\n`)
  socket.on('error', () => {})
  socket.on('data', (frame) => {
    const length = frame[1] & 127
    if ((frame[0] & 15) !== 1 || length > 125) return void socket.end()
    const mask = frame.subarray(2, 6)
    const text = frame.subarray(6, 6 + length).map((octet, i) => octet ^ mask[i % 4])
    socket.write(Buffer.concat([Buffer.from([0x81, length]), text]))
  })
}

const secrets = { cert: readFileSync(certificate), key: readFileSync(key) }
for (const at of [address, address6]) {
  for (const [server, port] of [
    [createServer(answer), 80],
    [createTlsServer(secrets, answer), 443],
  ]) {
    server.on('upgrade', upgrade).listen(port, at)
  }
  const echo = createSocket(at.includes(':') ? 'udp6' : 'udp4')
  echo.on('message', (message, from) => echo.send(message, from.port, from.address)).bind(7, at)
}
