import { createCipheriv, createHash } from 'node:crypto'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'

/** The "network behind the server" of the demo: one web server on loopback, with the URLs of its users there. */
export interface DemoNetwork {
  readonly page: string
  readonly file: string
  readonly size: number
  /** Of the file, in hex. */
  readonly sha256: string
  /** A sentence of the page. */
  readonly greeting: string
  close(): Promise<void>
}

const SIZE = 8 * 1024 * 1024
const GREETING = 'This page came through the tunnel.'

/** `host`: how the server's clients reach this machine. */
export async function openDemoNetwork(host: string): Promise<DemoNetwork> {
  const file = demoFile(SIZE)
  const server = createServer((request, response) => {
    if (request.method !== 'GET' && request.method !== 'HEAD') {
      response.writeHead(405, { Allow: 'GET, HEAD' }).end()
    } else if (request.url === '/') {
      response.writeHead(200, { 'Content-Type': 'text/html; charset=utf-8' }).end(PAGE)
    } else if (request.url === '/file') {
      const head = { 'Content-Type': 'application/octet-stream', 'Content-Length': file.length }
      response.writeHead(200, head).end(file)
    } else {
      response.writeHead(404).end()
    }
  })
  await listen(server)
  const { port } = server.address() as AddressInfo
  return {
    page: `http://${host}:${port}/`,
    file: `http://${host}:${port}/file`,
    size: file.length,
    sha256: createHash('sha256').update(file).digest('hex'),
    greeting: GREETING,
    close: () =>
      new Promise((done) => {
        server.close(() => done())
        server.closeAllConnections()
      }),
  }
}

/** Looks random and is the same every time: a key stream of a fixed key. */
export function demoFile(size: number): Buffer {
  return createCipheriv('aes-128-ctr', Buffer.alloc(16, 'demo'), Buffer.alloc(16)).update(Buffer.alloc(size))
}

function listen(server: Server): Promise<void> {
  return new Promise((done, fail) => {
    server.once('error', fail)
    server.listen(0, '127.0.0.1', () => {
      server.off('error', fail)
      done()
    })
  })
}

const PAGE = `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>sstp-socks demo</title>
<h1>It works</h1>
<p>${GREETING}
<p>Browser, proxy, TCP/IP stack, PPP, SSTP, TLS, and all of it back again, in one process.
<p><a href="/file">A file</a> to download.
</html>
`
