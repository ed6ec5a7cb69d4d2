/** The state transition table of RFC 1661 4.1. Every transition is in it; who runs it is {@link Fsm} in fsm.ts. */

/** RFC 1661 4.2. */
export type State =
  | 'Initial'
  | 'Starting'
  | 'Closed'
  | 'Stopped'
  | 'Closing'
  | 'Stopping'
  | 'Req-Sent'
  | 'Ack-Rcvd'
  | 'Ack-Sent'
  | 'Opened'

/** RFC 1661 4.3. */
export type Event =
  | 'Up'
  | 'Down'
  | 'Open'
  | 'Close'
  | 'TO+'
  | 'TO-'
  | 'RCR+'
  | 'RCR-'
  | 'RCA'
  | 'RCN'
  | 'RTR'
  | 'RTA'
  | 'RUC'
  | 'RXJ+'
  | 'RXJ-'
  | 'RXR'

/** RFC 1661 4.4. */
export type Action =
  | 'tlu'
  | 'tld'
  | 'tls'
  | 'tlf'
  | 'irc'
  | 'zrc'
  | 'scr'
  | 'sca'
  | 'scn'
  | 'str'
  | 'sta'
  | 'scj'
  | 'ser'

/** Actions in their order and the next state; undefined: cannot happen. */
export type Cell = { readonly actions: readonly Action[]; readonly next: State } | undefined

const to = (next: State, ...actions: Action[]): Cell => ({ actions, next })
const never: Cell = undefined

/** RFC 1661 4.1, a row for each state. The restart option (r) is not used; p and x are no different here. */
export const TABLE: Readonly<Record<State, Readonly<Record<Event, Cell>>>> = {
  Initial: {
    Up: to('Closed'),
    Down: never,
    Open: to('Starting', 'tls'),
    Close: to('Initial'),
    'TO+': never,
    'TO-': never,
    'RCR+': never,
    'RCR-': never,
    RCA: never,
    RCN: never,
    RTR: never,
    RTA: never,
    RUC: never,
    'RXJ+': never,
    'RXJ-': never,
    RXR: never,
  },
  Starting: {
    Up: to('Req-Sent', 'irc', 'scr'),
    Down: never,
    Open: to('Starting'),
    Close: to('Initial', 'tlf'),
    'TO+': never,
    'TO-': never,
    'RCR+': never,
    'RCR-': never,
    RCA: never,
    RCN: never,
    RTR: never,
    RTA: never,
    RUC: never,
    'RXJ+': never,
    'RXJ-': never,
    RXR: never,
  },
  Closed: {
    Up: never,
    Down: to('Initial'),
    Open: to('Req-Sent', 'irc', 'scr'),
    Close: to('Closed'),
    'TO+': never,
    'TO-': never,
    'RCR+': to('Closed', 'sta'),
    'RCR-': to('Closed', 'sta'),
    RCA: to('Closed', 'sta'),
    RCN: to('Closed', 'sta'),
    RTR: to('Closed', 'sta'),
    RTA: to('Closed'),
    RUC: to('Closed', 'scj'),
    'RXJ+': to('Closed'),
    'RXJ-': to('Closed', 'tlf'),
    RXR: to('Closed'),
  },
  Stopped: {
    Up: never,
    Down: to('Starting', 'tls'),
    Open: to('Stopped'),
    Close: to('Closed'),
    'TO+': never,
    'TO-': never,
    'RCR+': to('Ack-Sent', 'irc', 'scr', 'sca'),
    'RCR-': to('Req-Sent', 'irc', 'scr', 'scn'),
    RCA: to('Stopped', 'sta'),
    RCN: to('Stopped', 'sta'),
    RTR: to('Stopped', 'sta'),
    RTA: to('Stopped'),
    RUC: to('Stopped', 'scj'),
    'RXJ+': to('Stopped'),
    'RXJ-': to('Stopped', 'tlf'),
    RXR: to('Stopped'),
  },
  Closing: {
    Up: never,
    Down: to('Initial'),
    Open: to('Stopping'),
    Close: to('Closing'),
    'TO+': to('Closing', 'str'),
    'TO-': to('Closed', 'tlf'),
    'RCR+': to('Closing'),
    'RCR-': to('Closing'),
    RCA: to('Closing'),
    RCN: to('Closing'),
    RTR: to('Closing', 'sta'),
    RTA: to('Closed', 'tlf'),
    RUC: to('Closing', 'scj'),
    'RXJ+': to('Closing'),
    'RXJ-': to('Closed', 'tlf'),
    RXR: to('Closing'),
  },
  Stopping: {
    Up: never,
    Down: to('Starting'),
    Open: to('Stopping'),
    Close: to('Closing'),
    'TO+': to('Stopping', 'str'),
    'TO-': to('Stopped', 'tlf'),
    'RCR+': to('Stopping'),
    'RCR-': to('Stopping'),
    RCA: to('Stopping'),
    RCN: to('Stopping'),
    RTR: to('Stopping', 'sta'),
    RTA: to('Stopped', 'tlf'),
    RUC: to('Stopping', 'scj'),
    'RXJ+': to('Stopping'),
    'RXJ-': to('Stopped', 'tlf'),
    RXR: to('Stopping'),
  },
  'Req-Sent': {
    Up: never,
    Down: to('Starting'),
    Open: to('Req-Sent'),
    Close: to('Closing', 'irc', 'str'),
    'TO+': to('Req-Sent', 'scr'),
    'TO-': to('Stopped', 'tlf'),
    'RCR+': to('Ack-Sent', 'sca'),
    'RCR-': to('Req-Sent', 'scn'),
    RCA: to('Ack-Rcvd', 'irc'),
    RCN: to('Req-Sent', 'irc', 'scr'),
    RTR: to('Req-Sent', 'sta'),
    RTA: to('Req-Sent'),
    RUC: to('Req-Sent', 'scj'),
    'RXJ+': to('Req-Sent'),
    'RXJ-': to('Stopped', 'tlf'),
    RXR: to('Req-Sent'),
  },
  'Ack-Rcvd': {
    Up: never,
    Down: to('Starting'),
    Open: to('Ack-Rcvd'),
    Close: to('Closing', 'irc', 'str'),
    'TO+': to('Req-Sent', 'scr'),
    'TO-': to('Stopped', 'tlf'),
    'RCR+': to('Opened', 'sca', 'tlu'),
    'RCR-': to('Ack-Rcvd', 'scn'),
    RCA: to('Req-Sent', 'scr'),
    RCN: to('Req-Sent', 'scr'),
    RTR: to('Req-Sent', 'sta'),
    RTA: to('Req-Sent'),
    RUC: to('Ack-Rcvd', 'scj'),
    'RXJ+': to('Req-Sent'),
    'RXJ-': to('Stopped', 'tlf'),
    RXR: to('Ack-Rcvd'),
  },
  'Ack-Sent': {
    Up: never,
    Down: to('Starting'),
    Open: to('Ack-Sent'),
    Close: to('Closing', 'irc', 'str'),
    'TO+': to('Ack-Sent', 'scr'),
    'TO-': to('Stopped', 'tlf'),
    'RCR+': to('Ack-Sent', 'sca'),
    'RCR-': to('Req-Sent', 'scn'),
    RCA: to('Opened', 'irc', 'tlu'),
    RCN: to('Ack-Sent', 'irc', 'scr'),
    RTR: to('Req-Sent', 'sta'),
    RTA: to('Ack-Sent'),
    RUC: to('Ack-Sent', 'scj'),
    'RXJ+': to('Ack-Sent'),
    'RXJ-': to('Stopped', 'tlf'),
    RXR: to('Ack-Sent'),
  },
  Opened: {
    Up: never,
    Down: to('Starting', 'tld'),
    Open: to('Opened'),
    Close: to('Closing', 'tld', 'irc', 'str'),
    'TO+': never,
    'TO-': never,
    'RCR+': to('Ack-Sent', 'tld', 'scr', 'sca'),
    'RCR-': to('Req-Sent', 'tld', 'scr', 'scn'),
    RCA: to('Req-Sent', 'tld', 'scr'),
    RCN: to('Req-Sent', 'tld', 'scr'),
    RTR: to('Stopping', 'tld', 'zrc', 'sta'),
    RTA: to('Req-Sent', 'tld', 'scr'),
    RUC: to('Opened', 'scj'),
    'RXJ+': to('Opened'),
    'RXJ-': to('Stopping', 'tld', 'irc', 'str'),
    RXR: to('Opened', 'ser'),
  },
}
