import { execFileSync } from 'node:child_process'
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import { PassThrough, Readable } from 'node:stream'
import t from 'tap'
import { readSmallFile, readStream } from '../../src/gateway/files.js'

t.test('files up to the limit', async (t) => {
  const directory = t.testdir({ some: 'x'.repeat(64), empty: '' })
  const some = join(directory, 'some')
  t.equal((await readSmallFile(some, { most: 64 })).bytes.toString(), 'x'.repeat(64))
  t.equal((await readSmallFile(join(directory, 'empty'), { most: 64 })).bytes.length, 0)
  await t.rejects(readSmallFile(some, { most: 63 }), { name: 'FileError', message: /some is larger than/ })
  await t.rejects(readSmallFile(join(directory, 'none'), { most: 1 }), { code: 'ENOENT', message: /none/ })
})

t.test('what is no file is refused at once, by name', async (t) => {
  const directory = t.testdir()
  const pipe = join(directory, 'pipe')
  execFileSync('mkfifo', [pipe])
  const cases = [
    [directory, 'a directory'],
    ['/dev/zero', 'a device'],
    ['/dev/null', 'a device'],
    [pipe, 'a pipe'],
  ] as const
  for (const [path, what] of cases) {
    const message = `${path} is ${what}, not a file`
    await t.rejects(readSmallFile(path, { most: 1024 }), { name: 'FileError', message })
  }
})

t.test('a pipe, where it is wanted', async (t) => {
  const path = join(t.testdir(), 'pipe')
  execFileSync('mkfifo', [path])
  const reading = readSmallFile(path, { most: 64, pipes: true })
  const writer = await open(path, 'w')
  await writer.write('s3cr')
  await writer.write('et')
  await writer.close()
  t.equal((await reading).bytes.toString(), 's3cret')

  const stop = new AbortController()
  const nobody = readSmallFile(path, { most: 64, pipes: true, signal: stop.signal })
  stop.abort()
  await t.rejects(nobody, 'without a writer the signal ends it')
  await t.rejects(readSmallFile(path, { most: 64, pipes: true, signal: stop.signal }), { name: 'FileError' })
})

t.test('a stream without an end is left at the limit', async (t) => {
  let given = 0
  const endless = new Readable({
    read() {
      given += 1024
      this.push(Buffer.alloc(1024))
    },
  })
  await t.rejects(readStream(endless, 'it', { most: 4096 }), { message: 'it is larger than 4 KiB' })
  t.ok(endless.destroyed)
  t.ok(given < 65_536)
  const whole = new PassThrough()
  whole.end('abc')
  t.equal((await readStream(whole, 'it', { most: 3 })).toString(), 'abc')
})
