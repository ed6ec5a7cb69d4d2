/** What the gateway tells its owner. Never holds a secret. `call` numbers calls from 1; 0 means no call in particular. */
export type GatewayEvent =
  | { readonly type: 'listening'; readonly address: string; readonly port: number }
  | { readonly type: 'accepted'; readonly call: number; readonly from: string }
  | {
      readonly type: 'up'
      readonly call: number
      readonly from: string
      readonly user: string
      readonly auth: string
      /** Its IPv4 address, or without one its IPv6 address on the link. */
      readonly address: string
    }
  | { readonly type: 'trace'; readonly call: number; readonly message: string }
  | { readonly type: 'warning'; readonly call: number; readonly code: string; readonly message: string }
  | {
      readonly type: 'closed'
      readonly call: number
      readonly from: string
      readonly user: string | undefined
      /** One line; empty if the client ended the call properly. */
      readonly reason: string
    }
