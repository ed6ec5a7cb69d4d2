/** A page of the proxy's own. */
export interface Page {
  readonly type: string
  readonly body: string | Uint8Array
}

/** The pages that a proxy has, by path without the query. */
export interface Pages {
  /** `host`: what the client calls this proxy (the Host field), so that a page can name it. Undefined: no such page. */
  page(path: string, host: string): Page | undefined
}
