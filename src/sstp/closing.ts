/*
 * How a call ends, the same for both ends (MS-SSTP 3.1.5). The transient states
 * Call_Abort_In_Progress_* and Call_Disconnect_In_Progress_* pass within one step and have no name here.
 */

export type ClosingState =
  | 'Call_Abort_Pending' // we sent CALL_ABORT first, theirs has not come
  | 'Call_Abort_Timeout_Pending' // both were sent; lingering
  | 'Call_Disconnect_Ack_Pending' // we sent CALL_DISCONNECT, its ACK has not come
  | 'Call_Disconnect_Timeout_Pending' // we sent the ACK; lingering

export type ClosingMessage = 'CALL_ABORT' | 'CALL_DISCONNECT' | 'CALL_DISCONNECT_ACK'

export type ClosingAction =
  | 'ignore'
  | 'abort' // out of place: the abort procedure
  | 'answer-abort' // send CALL_ABORT, ABORT_TIMER_2, Call_Abort_Timeout_Pending
  | 'linger' // theirs has come: ABORT_TIMER_2, Call_Abort_Timeout_Pending
  | 'answer-disconnect' // send CALL_DISCONNECT_ACK, DISCONNECT_TIMER_2, Call_Disconnect_Timeout_Pending
  | 'close' // at once

/** What to do about a closing message; `open` stands for every state that is not closing. */
export const CLOSING: Readonly<
  Record<ClosingState | 'open', Readonly<Record<ClosingMessage, ClosingAction>>>
> = {
  open: {
    CALL_ABORT: 'answer-abort',
    CALL_DISCONNECT: 'answer-disconnect',
    CALL_DISCONNECT_ACK: 'abort',
  },
  Call_Abort_Pending: {
    CALL_ABORT: 'linger',
    CALL_DISCONNECT: 'ignore',
    CALL_DISCONNECT_ACK: 'ignore',
  },
  Call_Abort_Timeout_Pending: {
    CALL_ABORT: 'ignore',
    CALL_DISCONNECT: 'ignore',
    CALL_DISCONNECT_ACK: 'ignore',
  },
  Call_Disconnect_Ack_Pending: {
    CALL_ABORT: 'answer-abort',
    CALL_DISCONNECT: 'answer-disconnect', // the two have crossed
    CALL_DISCONNECT_ACK: 'close',
  },
  Call_Disconnect_Timeout_Pending: {
    CALL_ABORT: 'ignore',
    CALL_DISCONNECT: 'ignore',
    CALL_DISCONNECT_ACK: 'ignore',
  },
}

/** Milliseconds. On expiry of any of them the connection is closed. */
export const CLOSING_TIMER = {
  ABORT_TIMER_1: 3_000,
  ABORT_TIMER_2: 1_000,
  DISCONNECT_TIMER_1: 5_000,
  DISCONNECT_TIMER_2: 1_000,
} as const
export type ClosingTimer = keyof typeof CLOSING_TIMER
