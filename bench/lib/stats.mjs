/** @param {readonly number[]} values @param {number} q 0 to 1 */
export function quantile(values, q) {
  const sorted = [...values].sort((a, b) => a - b)
  const at = (sorted.length - 1) * q
  const low = sorted[Math.floor(at)] ?? Number.NaN
  const high = sorted[Math.ceil(at)] ?? Number.NaN
  return low + (high - low) * (at - Math.floor(at))
}

/** @param {readonly number[]} values */
export function summary(values) {
  return { median: quantile(values, 0.5), min: Math.min(...values), max: Math.max(...values) }
}

/**
 * The quotients of rounds that belong together.
 *
 * @param {readonly number[]} a
 * @param {readonly number[]} b
 */
export function ratio(a, b) {
  return summary(a.map((value, i) => value / (b[i] ?? Number.NaN)))
}

/** @param {number} n */
export function digits(n) {
  if (!Number.isFinite(n)) return '-'
  const size = Math.abs(n)
  return n.toFixed(size >= 100 ? 0 : size >= 10 ? 1 : 2)
}

/**
 * Median [min-max].
 *
 * @param {readonly number[]} values
 */
export function spread(values) {
  return show(summary(values))
}

/** @param {{ median: number, min: number, max: number }} s */
export function show({ median, min, max }) {
  return `${digits(median)} [${digits(min)}-${digits(max)}]`
}

/** @param {readonly string[]} head @param {readonly (readonly string[])[]} rows */
export function table(head, rows) {
  const line = (/** @type {readonly string[]} */ cells) => `| ${cells.join(' | ')} |`
  return [line(head), line(head.map((_, i) => (i === 0 ? '---' : '---:'))), ...rows.map(line)].join('\n')
}
