import { DialError, type DialErrorCode, type Dialer } from '../tunnel/dialer.js'

/** A dialer for clients that get nothing: whatever they ask for fails with this. */
export function refusingDialer(code: DialErrorCode, message: string): Dialer {
  const refuse = (): DialError => new DialError(code, message)
  const reject = (): Promise<never> => Promise.reject(refuse())
  const fail = (): never => {
    throw refuse()
  }
  return { dial: reject, resolve: reject, reverse: reject, openDatagrams: fail, listen: fail }
}
