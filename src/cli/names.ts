import type { DnsSettings } from '../config/dns.js'
import { UsageError } from '../config/errors.js'
import { HostsFile, type HostsTable } from '../dns/hosts.js'
import type { NamesOptions } from '../dns/tunnel-names.js'
import type { Console } from './console.js'

/** The settings about names that `createDialer` wants. Throws `UsageError` if the hosts file cannot be read. */
export function namesOf(
  settings: DnsSettings & {
    readonly search?: readonly string[] | undefined
    readonly ndots?: number | undefined
    readonly hosts?: string | undefined
  },
  console: Console,
): Pick<NamesOptions, 'servers' | 'zones' | 'search' | 'ndots' | 'hosts'> {
  const { dns, zones, search, ndots, hosts } = settings
  return {
    ...(dns.length === 0 ? {} : { servers: dns }),
    ...(zones === undefined ? {} : { zones }),
    ...(search === undefined ? {} : { search }),
    ...(ndots === undefined ? {} : { ndots }),
    ...(hosts === undefined ? {} : { hosts: readHosts(hosts, console) }),
  }
}

function readHosts(path: string, console: Console): HostsFile {
  const complain = ({ badLines }: HostsTable): void => {
    const [first] = badLines
    if (first === undefined) return
    const more = badLines.length === 1 ? '' : `, nor ${badLines.length - 1} more`
    console.warn(`--hosts: line ${first} of ${path} is not an address and names${more}`)
  }
  try {
    const file = new HostsFile(path, {
      onReload: (table, error) => {
        if (error === undefined) {
          console.logger.info({ path, names: table.addresses.size }, 'the hosts file was read again')
          complain(table)
        } else {
          console.warn(`--hosts: ${path} cannot be read again, what it said before holds: ${error.message}`)
        }
      },
    })
    complain(file.table)
    return file
  } catch (error) {
    throw new UsageError(`--hosts: ${path}: ${error instanceof Error ? error.message : String(error)}`)
  }
}
