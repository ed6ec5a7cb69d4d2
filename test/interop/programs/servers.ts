/** The servers behind the tunnel, of the real kind, on addresses that only their namespace has. */
import { chmodSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { must } from '../process.js'
import { ACCOUNT, INNER, NAMES, type World } from './world.js'

/** A TXT record of this length fits in no datagram of DNS without EDNS, and in one with it. */
export const LONG_TEXT = 'behind the tunnel '.repeat(40)
/** Longer than any datagram that is asked for. */
export const HUGE_TEXT = 'and further behind it '.repeat(200)
/** What the share, the repository and the database hold. */
export const TREASURE = 'the treasure is under the third palm\n'
/** 2 MiB that are no text. */
export const LARGE = Buffer.from(Array.from({ length: 2 << 20 }, (_, i) => (i * 37) ^ (i >> 11)))
/** What `/download` of web.mjs serves. */
export const DOWNLOAD = Buffer.alloc(
  300_000,
  Buffer.from(Array.from({ length: 65_521 }, (_, i) => (i * 31) ^ (i >> 8))),
)

const { v4, v6 } = INNER

export async function startServers(world: World): Promise<void> {
  await Promise.all([
    startNames(world),
    startWeb(world),
    startSsh(world),
    startPostgres(world),
    startRedis(world),
    startSamba(world),
    startIperf(world),
  ])
}

async function startNames(world: World): Promise<void> {
  /** A TXT record is of texts of 255 octets at most. */
  const text = (name: string, value: string) =>
    `--txt-record=${[name, ...(value.match(/.{1,200}/g) ?? [])].join()}`
  const dnsmasq = world.inside('dnsmasq', [
    ...['--keep-in-foreground', '--conf-file=/dev/null', '--no-hosts', '--no-resolv', '--log-facility=-'],
    ...['--user=root', '--pid-file=', '--bind-interfaces', `--listen-address=${v4},${v6}`, '--log-queries'],
    ...['--local=/inside/', '--edns-packet-max=4096', `--ptr-record=${reverse(v4)},web.inside`],
    ...NAMES.flatMap((name) => [`--address=/${name}.inside/${v4}`, `--address=/${name}.inside/${v6}`]),
    ...['--cname=www.inside,web.inside', text('long.inside', LONG_TEXT), text('huge.inside', HUGE_TEXT)],
  ])
  await dnsmasq.until('dnsmasq', async () => {
    const query = ['+time=1', '+tries=1', '+short', `@${v4}`, 'web.inside', 'A']
    return (await world.mustInside('dig', ...query).catch(() => ({ stdout: '' }))).stdout.includes(v4)
  })
}

function reverse(address: string): string {
  return `${address.split('.').reverse().join('.')}.in-addr.arpa`
}

async function startWeb(world: World): Promise<void> {
  const repositories = world.folder('inside/alice')
  const packages = world.folder('inside/packages')
  const work = join(world.dir, 'inside/home')
  const git = (...args: string[]) => must('git', ['-C', work, ...args])
  await must('git', ['init', '-q', '-b', 'main', work])
  world.file('inside/home/treasure.txt', TREASURE)
  world.file('inside/home/large.bin', LARGE)
  await git('add', '.')
  await git('-c', 'user.name=alice', '-c', 'user.email=alice@inside', 'commit', '-qm', 'all of it')
  await must('git', ['clone', '-q', '--bare', work, join(repositories, 'demo.git')])
  await must('git', ['-C', join(repositories, 'demo.git'), 'config', 'http.receivepack', 'true'])
  await must('chown', ['-R', `${ACCOUNT.id}:${ACCOUNT.id}`, repositories])
  await makePackages(world, packages)
  const script = fileURLToPath(new URL('web.mjs', import.meta.url))
  const key = join(world.dir, 'authority.key')
  const web = world.inside('env', [
    ...['-i', `PATH=${process.env.PATH}`, process.execPath, script],
    ...[v4, world.authority, key, repositories, packages, v6],
  ])
  await web.until('web', async () => {
    const done = await world.mustInside('curl', '-s', `http://${v4}/`).catch(() => ({ stdout: '' }))
    return done.stdout.startsWith('hello')
  })
}

/** A package of npm, and a wheel, that say hello. */
async function makePackages(world: World, to: string): Promise<void> {
  const npm = join(world.dir, 'inside/npm/package')
  mkdirSync(npm, { recursive: true })
  writeFileSync(join(npm, 'package.json'), JSON.stringify({ name: 'hello-inside', version: '1.0.0' }))
  writeFileSync(join(npm, 'index.js'), "module.exports = 'hello from a package'\n")
  await must('tar', ['czf', join(to, 'hello-inside-1.0.0.tgz'), '-C', dirname(npm), 'package'])
  const wheel = join(world.dir, 'inside/wheel')
  const info = join(wheel, 'hello_inside-1.0.0.dist-info')
  mkdirSync(info, { recursive: true })
  writeFileSync(join(wheel, 'hello_inside.py'), "TEXT = 'hello from a wheel'\n")
  writeFileSync(join(info, 'METADATA'), 'Metadata-Version: 2.1\nName: hello-inside\nVersion: 1.0.0\n')
  writeFileSync(join(info, 'WHEEL'), 'Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n')
  writeFileSync(
    join(info, 'RECORD'),
    ['hello_inside.py', ...readdirSync(info).map((f) => `hello_inside-1.0.0.dist-info/${f}`)]
      .map((path) => `${path},,\n`)
      .join(''),
  )
  await must(
    '/usr/bin/python3',
    [
      '-m',
      'zipfile',
      '-c',
      join(to, 'hello_inside-1.0.0-py3-none-any.whl'),
      'hello_inside.py',
      info.split('/').pop() ?? '',
    ],
    { cwd: wheel },
  )
}

async function startSsh(world: World): Promise<void> {
  const folder = world.folder('inside/ssh')
  const host = join(folder, 'host')
  await must('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', host])
  world.folder('home/.ssh')
  const mine = join(world.home, '.ssh/id_ed25519')
  await must('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-C', 'alice', '-f', mine])
  const { stdout: hostKey } = await must('cut', ['-d', ' ', '-f', '1,2', `${host}.pub`])
  world.file('home/.ssh/known_hosts', `shell.inside,git.inside,${v4} ${hostKey}`, 0o600)
  await must('cp', [`${mine}.pub`, join(folder, 'authorized')])
  await must('chown', ['-R', `${ACCOUNT.id}:${ACCOUNT.id}`, join(world.home, '.ssh')])
  world.file('inside/alice/treasure.txt', TREASURE)
  world.file('inside/alice/large.bin', LARGE)
  const config = [
    `ListenAddress ${v4}`,
    `ListenAddress ${v6}`,
    `HostKey ${host}`,
    `AuthorizedKeysFile ${join(folder, 'authorized')}`,
    'PidFile none',
    'UsePAM no',
    'StrictModes no',
    'PasswordAuthentication no',
    'PrintMotd no',
    'Subsystem sftp internal-sftp',
  ]
  mkdirSync('/run/sshd', { recursive: true, mode: 0o755 })
  const sshd = world.inside('/usr/sbin/sshd', [
    '-D',
    '-e',
    '-f',
    world.file('inside/ssh/config', config.join('\n')),
  ])
  await sshd.until('sshd', () => /listening on \S*10\./.test(sshd.said))
}

async function startPostgres(world: World): Promise<void> {
  const versions = '/usr/lib/postgresql'
  const newest = readdirSync(versions).sort((a, b) => Number(b) - Number(a))[0] ?? 'none'
  const bin = join(versions, newest, 'bin')
  const folder = world.folder('inside/postgres')
  const data = join(folder, 'data')
  await must('chown', ['postgres', folder])
  const password = join(folder, 'password')
  writeFileSync(password, ACCOUNT.password)
  chmodSync(password, 0o644)
  const as = (command: string, ...args: string[]) => [
    'runuser',
    '-u',
    'postgres',
    '--',
    join(bin, command),
    ...args,
  ]
  const [runuser = '', ...init] = as(
    'initdb',
    ...[
      '-D',
      data,
      '-U',
      ACCOUNT.name,
      '--auth=scram-sha-256',
      `--pwfile=${password}`,
      '--no-sync',
      '-E',
      'UTF8',
    ],
    '--no-locale',
  )
  await must(runuser, init, { cwd: '/' })
  writeFileSync(join(data, 'pg_hba.conf'), 'local all all trust\nhost all all all md5\n')
  const settings = { listen_addresses: `${v4},${v6}`, unix_socket_directories: folder, fsync: 'off' }
  const options = Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`])
  const [command = '', ...args] = as('postgres', '-D', data, ...options)
  const server = world.inside(command, args)
  await server.until('postgres', () => /ready to accept connections/.test(server.said))
  const sql = `create table treasure (place text); insert into treasure values ('${TREASURE.trim()}')`
  // For drivers older than SCRAM.
  const old = "set password_encryption = md5; create role bob superuser login password 'builder'"
  for (const text of [sql, old]) {
    await world.mustInside('psql', '-qh', folder, '-U', ACCOUNT.name, '-d', 'postgres', '-c', text)
  }
}

async function startRedis(world: World): Promise<void> {
  const redis = world.inside('redis-server', [
    ...[
      '--bind',
      v4,
      '--port',
      '6379',
      '--save',
      '',
      '--appendonly',
      'no',
      '--dir',
      world.folder('inside/redis'),
    ],
    ...['--requirepass', ACCOUNT.password],
  ])
  await redis.until('redis', () => /Ready to accept connections/.test(redis.said))
}

async function startSamba(world: World): Promise<void> {
  const folder = world.folder('inside/samba')
  const share = world.folder('inside/share')
  world.file('inside/share/treasure.txt', TREASURE)
  world.file('inside/share/large.bin', LARGE)
  const inFolder = (...names: string[]) => names.map((name) => `${name} = ${folder}`)
  const config = [
    '[global]',
    `interfaces = ${v4}`,
    'bind interfaces only = yes',
    'smb ports = 445',
    'server role = standalone server',
    'disable netbios = yes',
    'load printers = no',
    'disable spoolss = yes',
    ...inFolder('lock directory', 'state directory', 'cache directory', 'pid directory', 'private dir'),
    ...inFolder('ncalrpc dir', 'usershare path'),
    'usershare max shares = 0',
    '[treasures]',
    `path = ${share}`,
    'read only = no',
  ]
  const file = world.file('inside/samba/smb.conf', config.join('\n'))
  const twice = `printf '%s\\n%s\\n' ${ACCOUNT.password} ${ACCOUNT.password} | smbpasswd -c ${file} -s -a ${ACCOUNT.name}`
  await world.mustInside('sh', '-c', twice)
  const smbd = world.inside('smbd', [
    '--foreground',
    '--no-process-group',
    '--debug-stdout',
    '-s',
    file,
    '-l',
    folder,
  ])
  await smbd.until('smbd', async () => {
    return (await world.mustInside('ss', '-Hltn', 'sport', '=', ':445')).stdout.includes(v4)
  })
}

async function startIperf(world: World): Promise<void> {
  // IPv4 alone, and its name has an IPv6 address too, which is tried first.
  const iperf = world.inside('iperf3', ['-s', '-4', '--forceflush'])
  await iperf.until('iperf3', () => /listening on/.test(iperf.said))
}
