/** Connection states (RFC 9293 3.3.2). */
export const TcpState = {
  /** Over, or not begun. */
  CLOSED: 0,
  /** Of a listener; no connection is in it. */
  LISTEN: 1,
  /** Our SYN waits for an answer. */
  SYN_SENT: 2,
  /** A SYN has come, its answer is not acknowledged. */
  SYN_RECEIVED: 3,
  /** Data flows both ways. */
  ESTABLISHED: 4,
  /** We have ended, unacknowledged. */
  FIN_WAIT_1: 5,
  /** We have ended; the other side goes on. */
  FIN_WAIT_2: 6,
  /** The other side has ended; we go on. */
  CLOSE_WAIT: 7,
  /** Both have ended at once; ours is not acknowledged. */
  CLOSING: 8,
  /** Both have ended, ours last and unacknowledged. */
  LAST_ACK: 9,
  /** Over; late segments are still recognised. */
  TIME_WAIT: 10,
} as const
/** One of the numbers of the table of the same name. */
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
