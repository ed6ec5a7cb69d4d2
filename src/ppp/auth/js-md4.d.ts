/** js-md4 comes without types; this is the part that is used. */
declare module 'js-md4' {
  const md4: {
    /** MD4 (RFC 1320) as 16 numbers of 0 to 255. */
    array(message: Uint8Array): number[]
  }
  export default md4
}
