/** `npm run check`: everything that can be said in seconds, side by side. Exits with 1 where any of it fails. */
import { spawn } from 'node:child_process';
import { delimiter, join } from 'node:path';

const root = join(import.meta.dirname, '..');
const bin = join(root, 'node_modules/.bin');
const env = { ...process.env, PATH: `${bin}${delimiter}${process.env['PATH'] ?? ''}` };
const node = process.execPath;
const jest = [
  '--experimental-vm-modules',
  '--disable-warning=ExperimentalWarning',
  join(root, 'node_modules/jest/bin/jest.js'),
];

const checks: readonly (readonly [name: string, program: string, args: readonly string[]])[] = [
  ['types', join(bin, 'tsc'), ['-p', root]],
  ['lint', join(bin, 'oxlint'), []],
  ['format', join(bin, 'prettier'), ['--check', '--log-level=warn', '.']],
  ['layout', node, ['scripts/check-layout.ts']],
  ['generated files', node, ['scripts/generate.ts', '--check']],
  ['unit tests', node, [...jest, '--selectProjects', 'unit']],
];

/** Runs one check; what it prints is shown only where it fails. */
async function check([name, program, args]: (typeof checks)[number]): Promise<boolean> {
  const started = performance.now();
  const child = spawn(program, args, { cwd: root, env, stdio: ['ignore', 'pipe', 'pipe'] });
  const output: Buffer[] = [];
  child.stdout.on('data', (chunk: Buffer) => output.push(chunk));
  child.stderr.on('data', (chunk: Buffer) => output.push(chunk));
  const code = await new Promise<number | null>((done, failed) => {
    child.once('error', failed);
    child.once('close', done);
  });
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  console.log(`${code === 0 ? 'ok    ' : 'FAILED'} ${name.padEnd(16)} ${seconds} s`);
  if (code !== 0) console.log(Buffer.concat(output).toString('utf8'));
  return code === 0;
}

const results = await Promise.all(checks.map(check));
if (results.includes(false)) process.exitCode = 1;
