/** Not in the repository. */
export const RESULTS = new URL('../results/', import.meta.url)

/** @param {number} n */
const digits = (n) => n.toFixed(n >= 10 ? 1 : 2)

/** Mbit/s: median [least-most]. @param {{ median: number, min: number, max: number }} s */
export const show = ({ median, min, max }) => `${digits(median)} [${digits(min)}-${digits(max)}]`
