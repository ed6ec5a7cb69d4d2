/**
 * The octets that all transfers carry: one block over and over, so that sources prepare it once and whoever
 * receives them can check every octet by its place in the stream.
 */

/** A multiple of 1348, what a TCP segment with timestamps carries under the tunnel's MTU of 1400. */
export const BLOCK = 48 * 1348

/** The answer to a request. */
export const ANSWER = 1024

export const block = makeBlock()

function makeBlock() {
  const b = Buffer.allocUnsafeSlow(BLOCK)
  let x = 0x2545f491
  for (let i = 0; i < BLOCK; i++) {
    x ^= x << 13
    x ^= x >>> 17
    x ^= x << 5
    b[i] = x >>> 8
  }
  return b
}

/**
 * True if `length` octets of `b` at `offset` are those that the stream has from place `at` on.
 *
 * @param {Uint8Array} b
 * @param {number} offset
 * @param {number} length
 * @param {number} at
 */
export function matches(b, offset, length, at) {
  let place = at % BLOCK
  let from = offset
  const end = offset + length
  while (from < end) {
    const n = Math.min(end - from, BLOCK - place)
    if (block.compare(b, from, from + n, place, place + n) !== 0) return false
    from += n
    place = 0
  }
  return true
}

/**
 * Writes the block again and again, two writes under way, until the socket closes. Each waits for a turn of
 * the event loop: while the system takes all at once, callbacks alone would leave room for nothing else.
 *
 * @param {import('node:net').Socket} socket
 */
export function pump(socket) {
  const write = () => {
    if (!socket.destroyed && !socket.writableEnded) socket.write(block, written)
  }
  const written = () => void setImmediate(write)
  write()
  write()
}

/**
 * The first `bytes` octets of the stream, then the end of our direction.
 *
 * @param {import('node:net').Socket} socket
 * @param {number} bytes
 */
export function send(socket, bytes) {
  let left = bytes
  const next = () => {
    if (socket.destroyed) return
    if (left === 0) {
      socket.end()
      return
    }
    const n = Math.min(left, BLOCK)
    left -= n
    socket.write(n === BLOCK ? block : block.subarray(0, n), next)
  }
  next()
}
