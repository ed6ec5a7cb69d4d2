#!/usr/bin/env node
import { fileURLToPath } from 'node:url'

if (process.argv[2] === 'nc') {
  // It is started for every connection of ssh, and does without all that the other commands load.
  const [{ nc }, { processStdio }] = await Promise.all([import('./nc.js'), import('./stdio.js')])
  const { env, stderr } = process
  const tell = (text: string): void => void stderr.write(text)
  stderr.on('error', () => {})
  const status = await nc(process.argv.slice(3), { stdio: processStdio(), stderr: tell, env })
  stderr.write('', () => process.exit(status))
} else {
  const { runProcess } = await import('./process.js')
  await runProcess(fileURLToPath(import.meta.url))
}
