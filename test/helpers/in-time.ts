/**
 * Whether `what` is over before a timer of `ms` milliseconds that is set now. A machine that stands still for a while delays
 * both alike, so that a promise of time can be held to with little to spare.
 */
export async function inTime(what: Promise<unknown>, ms: number): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<boolean>((resolve) => {
    timer = setTimeout(resolve, ms, false)
  })
  const over = what.then(() => true)
  try {
    return await Promise.race([over, late])
  } finally {
    clearTimeout(timer)
  }
}
