/** What all processes of a run have to agree on. */

export const ACCOUNT = { user: 'bench', password: 'not a secret' }
export const MTU = 1400
/** The far end's address in the tunnel. */
export const PEER = '10.99.0.1'
/** A record for each packet: MTU, PPP and SSTP header. */
export const SMALL_RECORD = MTU + 8

/** The product to measure: the build of this tree, or another one. */
export const DIST = new URL(process.env.BENCH_DIST ?? '../../dist/', import.meta.url)
