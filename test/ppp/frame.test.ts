import t from 'tap'
import { controlLength } from '../../src/ppp/control.js'
import { peerText } from '../../src/ppp/errors.js'
import { frameHeader, frameProtocol } from '../../src/ppp/frame.js'
import { OptionWriter, optionsValid } from '../../src/ppp/option.js'
import { fromHex, toHex } from '../helpers/ppp.js'

const parse = (hex: string): [number, number] | undefined => {
  const frame = fromHex(hex)
  const results = [0, 1, 6].map((before) => {
    const b = new Uint8Array(before + frame.length + 4).fill(0xa5)
    b.set(frame, before)
    const header = frameHeader(b, before, frame.length)
    return header < 0 ? undefined : ([header, frameProtocol(b, before, header)] as [number, number])
  })
  for (const result of results) t.same(result, results[0], 'the place does not matter')
  return results[0]
}

t.test('every form of the header is understood, whatever was negotiated', async (t) => {
  t.same(parse('ff03002145'), [4, 0x0021], 'as we send it')
  t.same(parse('ff032145'), [3, 0x0021], 'protocol compressed')
  t.same(parse('c02101'), [2, 0xc021], 'address and control left out')
  t.same(parse('002145'), [2, 0x0021])
  t.same(parse('2145'), [1, 0x0021], 'both')
  t.same(parse('ff03fd'), [3, 0xfd])
  t.same(parse('ff01'), [1, 0xff], 'no FF 03: a reserved one-octet protocol')
})

t.test('what has no header is told', async (t) => {
  for (const hex of ['', 'ff03', 'ff0300', 'c0', 'ff03c020', 'c022', 'ff030020']) {
    t.equal(parse(hex), undefined, hex)
  }
})

t.test('length of a control packet', async (t) => {
  t.equal(controlLength(fromHex('01010004'), 0, 4), 4)
  t.equal(controlLength(fromHex('01010004ffff'), 0, 6), 4, 'padding is not part of it')
  t.equal(controlLength(fromHex('01010003'), 0, 4), -1)
  t.equal(controlLength(fromHex('01010005'), 0, 4), -1)
  t.equal(controlLength(fromHex('0101ffff'), 0, 4), -1)
  t.equal(controlLength(fromHex('010100'), 0, 3), -1)
})

t.test('option lists', async (t) => {
  t.ok(optionsValid(fromHex(''), 0, 0))
  t.ok(optionsValid(fromHex('0702 0802 010405dc'), 0, 8))
  t.notOk(optionsValid(fromHex('0700'), 0, 2), 'length 0 would never end')
  t.notOk(optionsValid(fromHex('0701'), 0, 2))
  t.notOk(optionsValid(fromHex('0703'), 0, 2))
  t.notOk(optionsValid(fromHex('07'), 0, 1))
  const w = new OptionWriter(9)
  w.put(1, fromHex('05dc'))
  w.putOnce(1, fromHex('0578'))
  w.put(5, fromHex('deadbeef'))
  t.equal(toHex(w.take()), '010405dc', 'what does not fit is left out')
  w.copy(fromHex('000802'), 1, 2)
  t.equal(toHex(w.take()), '010405dc0802')
  t.ok(w.has(8))
  t.notOk(w.has(2))
})

t.test('text of a peer cannot forge a log line', async (t) => {
  const text = (value: string): string => {
    const b = new TextEncoder().encode(value)
    return peerText(b, 0, b.length)
  }
  t.equal(text('Access denied'), 'Access denied')
  t.equal(text('a\r\n\x1b[2Jb\0'), 'a [2Jb')
  t.equal(text('a\u202eb'), 'a b')
  t.equal(text('x'.repeat(5000)).length, 200)
  t.equal(peerText(fromHex('ff80'), 0, 2), '\ufffd\ufffd')
})
