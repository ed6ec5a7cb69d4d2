/** Certificates made by hand (RFC 5280), good and bad, each in a millisecond. */
import { createHash, generateKeyPairSync, type KeyObject, sign } from 'node:crypto'
import { isIP } from 'node:net'

export interface CertificateRequest {
  /** Common name of the subject. */
  readonly name: string
  /** Who signs it; itself without one. */
  readonly issuer?: Issued
  readonly ca?: boolean
  readonly names?: readonly string[]
  /** Days from now. */
  readonly from?: number
  readonly to?: number
  /** RSA with that many bits; P-256 without. */
  readonly bits?: number
  readonly hash?: 'sha1' | 'sha256'
  readonly purpose?: 'server' | 'client'
  /** Where the issuer's certificate can be had. */
  readonly issuerUrl?: string
}

export interface Issued {
  readonly name: string
  /** PEM. */
  readonly cert: string
  readonly key: string
  readonly der: Buffer
  readonly sha256: string
  readonly privateKey: KeyObject
}

const DAY = 86_400_000
let serial = 0x4000

export function issue(request: CertificateRequest): Issued {
  const { name, ca = false, from = -1, to = 30, bits, hash = 'sha256', purpose } = request
  const { publicKey, privateKey } =
    bits === undefined
      ? generateKeyPairSync('ec', { namedCurve: 'P-256' })
      : generateKeyPairSync('rsa', { modulusLength: bits })
  const signer = request.issuer?.privateKey ?? privateKey
  const algorithm = signatureAlgorithm(signer, hash)
  const names = request.names ?? (ca ? [] : ['localhost', '127.0.0.1'])
  const usage =
    purpose === undefined ? [] : [oid(purpose === 'server' ? '1.3.6.1.5.5.7.3.1' : '1.3.6.1.5.5.7.3.2')]
  const extensions = [
    extension('2.5.29.19', sequence(...(ca ? [der(0x01, Buffer.of(0xff))] : [])), true),
    ...(names.length === 0 ? [] : [extension('2.5.29.17', sequence(...names.map(generalName)))]),
    ...(usage.length === 0 ? [] : [extension('2.5.29.37', sequence(...usage))]),
    ...(request.issuerUrl === undefined
      ? []
      : [
          extension(
            '1.3.6.1.5.5.7.1.1',
            sequence(sequence(oid('1.3.6.1.5.5.7.48.2'), der(0x86, Buffer.from(request.issuerUrl)))),
          ),
        ]),
  ]
  const now = Date.now()
  const body = sequence(
    der(0xa0, der(0x02, Buffer.of(2))),
    der(0x02, Buffer.of(0x40, ++serial >>> 8, serial & 0xff)),
    algorithm,
    distinguishedName(request.issuer?.name ?? name),
    sequence(utcTime(now + from * DAY), utcTime(now + to * DAY)),
    distinguishedName(name),
    publicKey.export({ type: 'spki', format: 'der' }),
    der(0xa3, sequence(...extensions)),
  )
  const signature = sign(hash, body, signer)
  const whole = sequence(body, algorithm, der(0x03, Buffer.concat([Buffer.of(0), signature])))
  return {
    name,
    cert: pem(whole),
    key: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
    der: whole,
    sha256: createHash('sha256').update(whole).digest('hex'),
    privateKey,
  }
}

/** The leaf and what is above it, as servers send it. */
export function chain(...certificates: readonly Issued[]): string {
  return certificates.map((c) => c.cert).join('')
}

function pem(data: Buffer): string {
  const lines = data.toString('base64').match(/.{1,64}/g) ?? []
  return `-----BEGIN CERTIFICATE-----\n${lines.join('\n')}\n-----END CERTIFICATE-----\n`
}

function der(tag: number, contents: Uint8Array): Buffer {
  const n = contents.length
  const length = n < 128 ? [n] : n < 256 ? [0x81, n] : [0x82, n >>> 8, n & 0xff]
  return Buffer.concat([Buffer.of(tag, ...length), contents])
}

function sequence(...parts: readonly Uint8Array[]): Buffer {
  return der(0x30, Buffer.concat(parts))
}

function oid(text: string): Buffer {
  const [first = 0, second = 0, ...rest] = text.split('.').map(Number)
  const octets = [40 * first + second]
  for (const value of rest) {
    const groups = [value & 0x7f]
    for (let v = value >>> 7; v > 0; v >>>= 7) groups.unshift(0x80 | (v & 0x7f))
    octets.push(...groups)
  }
  return der(0x06, Buffer.from(octets))
}

function signatureAlgorithm(signer: KeyObject, hash: 'sha1' | 'sha256'): Buffer {
  if (signer.asymmetricKeyType === 'ec') {
    return sequence(oid(hash === 'sha1' ? '1.2.840.10045.4.1' : '1.2.840.10045.4.3.2'))
  }
  const rsa = hash === 'sha1' ? '1.2.840.113549.1.1.5' : '1.2.840.113549.1.1.11'
  return sequence(oid(rsa), der(0x05, Buffer.alloc(0)))
}

function distinguishedName(name: string): Buffer {
  return sequence(der(0x31, sequence(oid('2.5.4.3'), der(0x0c, Buffer.from(name)))))
}

/** Good until 2049. */
function utcTime(ms: number): Buffer {
  const text = new Date(ms).toISOString().replace(/\.\d+/, '').replace(/[-:T]/g, '').slice(2)
  return der(0x17, Buffer.from(text))
}

function extension(id: string, value: Buffer, critical = false): Buffer {
  return sequence(oid(id), ...(critical ? [der(0x01, Buffer.of(0xff))] : []), der(0x04, value))
}

function generalName(name: string): Buffer {
  if (isIP(name) === 4) return der(0x87, Buffer.from(name.split('.').map(Number)))
  return der(0x82, Buffer.from(name))
}
