/** Connection states (RFC 9293 3.3.2). */
export const TcpState = {
  CLOSED: 0,
  LISTEN: 1,
  SYN_SENT: 2,
  SYN_RECEIVED: 3,
  ESTABLISHED: 4,
  FIN_WAIT_1: 5,
  FIN_WAIT_2: 6,
  CLOSE_WAIT: 7,
  CLOSING: 8,
  LAST_ACK: 9,
  TIME_WAIT: 10,
} as const
export type TcpState = (typeof TcpState)[keyof typeof TcpState]

/** The RFC's own spelling, for people. */
export const STATE_NAMES: Readonly<Record<TcpState, string>> = {
  0: 'CLOSED',
  1: 'LISTEN',
  2: 'SYN-SENT',
  3: 'SYN-RECEIVED',
  4: 'ESTABLISHED',
  5: 'FIN-WAIT-1',
  6: 'FIN-WAIT-2',
  7: 'CLOSE-WAIT',
  8: 'CLOSING',
  9: 'LAST-ACK',
  10: 'TIME-WAIT',
}

/** Both sides have seen each other's SYN, and the connection is not over. */
export function isSynchronised(s: TcpState): boolean {
  return s >= TcpState.ESTABLISHED
}

/** Our FIN has not been sent or queued as sent yet: data may go out. */
export function maySendData(s: TcpState): boolean {
  return s === TcpState.ESTABLISHED || s === TcpState.CLOSE_WAIT
}

/** The other side's FIN has not been received: data may come in. */
export function mayReceiveData(s: TcpState): boolean {
  return s === TcpState.ESTABLISHED || s === TcpState.FIN_WAIT_1 || s === TcpState.FIN_WAIT_2
}
