import { Readable } from 'node:stream';

import { expect, test } from '@jest/globals';

import { localLauncher } from '../../../src/adapters/process/local.ts';
import { pipe, run } from '../../../src/adapters/process/run.ts';

const launcher = localLauncher({ environment: {}, group: false });
const node = (script: string) => ({ launcher, program: process.execPath, args: ['-e', script], env: {} });

test('a program gets its arguments as they are, and nothing of our environment', async () => {
  const command = {
    launcher,
    program: process.execPath,
    args: ['-p', 'JSON.stringify([process.argv.slice(1), process.env])', '$(id)', '; exit 3'],
    env: { A: '1' },
  };
  const outcome = await run(command);
  expect(outcome).toMatchObject({ code: 0, stderr: '' });
  expect(JSON.parse(outcome.stdout)).toEqual([['$(id)', '; exit 3'], { A: '1' }]);
});

test('its lines on stderr are told as they come, and only the last are kept', async () => {
  const lines: string[] = [];
  const outcome = await run({
    ...node("for (let i = 0; i < 20000; i++) console.error('line ' + i); process.exitCode = 4"),
    onStderrLine: (line) => lines.push(line),
  });
  expect(outcome.code).toBe(4);
  expect(lines.length).toBe(20_000);
  expect(outcome.stderr.length).toBeLessThanOrEqual(64 * 1024);
  expect(outcome.stderr.endsWith('line 19999\n')).toBe(true);
});

test('an abort ends the child by its own pid', async () => {
  const abort = new AbortController();
  const running = run({
    ...node("console.error('up'); setInterval(() => {}, 1000)"),
    signal: abort.signal,
    onStderrLine: () => abort.abort(),
  });
  expect(await running).toMatchObject({ code: null, signal: 'SIGTERM' });
});

test('a program that is not there is an error', async () => {
  await expect(run({ launcher, program: '/nowhere/pg_dump', args: [], env: {} })).rejects.toThrow('ENOENT');
});

test('a child that ends before it has read its input tells why by its exit code', async () => {
  const endless = Readable.from(
    (function* () {
      for (;;) yield Buffer.alloc(65_536);
    })(),
  );
  expect((await run(node('process.exit(5)'), { input: endless })).code).toBe(5);
});

test('an input that fails ends the child and is the error', async () => {
  const failing = Readable.from(
    (function* () {
      yield 'a';
      throw new Error('refused');
    })(),
  );
  await expect(run(node('process.stdin.resume()'), { input: failing })).rejects.toThrow('refused');
});

test('a pipe loses nothing, though the left end was done before the right one began', async () => {
  let begin: () => void = () => undefined;
  const ready = new Promise<void>((resolve) => (begin = resolve));
  const left = {
    ...node("process.stdout.write('x'.repeat(1e6)); console.error('written')"),
    onStderrLine: () => setImmediate(begin),
  };
  const right = ready.then(() =>
    node("let n = 0; process.stdin.on('data', (d) => (n += d.length)).on('end', () => console.log(n))"),
  );
  const [dumped, restored] = await pipe(left, right);
  expect(dumped?.code).toBe(0);
  expect(restored.stdout).toBe('1000000\n');
});

test('of a pipe whose right end fails the left end is not left behind', async () => {
  const [dumped, restored] = await pipe(
    node("setInterval(() => process.stdout.write('x'.repeat(65536)), 1)"),
    Promise.resolve(node('process.exit(6)')),
  );
  expect(restored.code).toBe(6);
  expect(dumped).toBeNull();
  await expect(pipe(node('setInterval(() => {}, 1000)'), Promise.reject(new Error('no database')))).rejects.toThrow(
    'no database',
  );
});

test('of a pipe whose right end is done first, the left end ends by itself', async () => {
  // As pg_dump does, which calls it its own failure when it is ended.
  const [dumped, restored] = await pipe(
    node(
      "process.on('SIGTERM', () => process.exit(1)); process.stdout.write('all', () => console.error('written')); process.stdin.on('end', () => setTimeout(() => process.stdout.write('more', () => process.exit(0)), 300)).resume()",
    ),
    Promise.resolve(node("process.stdin.once('data', () => process.exit(0))")),
  );
  expect([dumped?.code, restored.code]).toEqual([0, 0]);
});

test('of a pipe whose left end fails, that is told', async () => {
  const [dumped, restored] = await pipe(
    node("process.stdout.write('half', () => process.exit(3))"),
    Promise.resolve(node("process.stdin.on('end', () => process.exit(6)).resume()")),
  );
  expect([dumped?.code, restored.code]).toEqual([3, 6]);
});

test('of a pipe whose left end stops writing and ends late, that is told, though the right end fell over it first', async () => {
  // As a container's program does whose connection is cut: how it ended is known only later.
  const [dumped, restored] = await pipe(
    node("process.stdout.write('half', () => { process.stdout.end(); setTimeout(() => process.exit(3), 300); })"),
    Promise.resolve(node("process.stdin.on('end', () => process.exit(6)).resume()")),
  );
  expect([dumped?.code, restored.code]).toEqual([3, 6]);
});

test('one of two that does not even start is told, though the other is still waited for', async () => {
  // In a process of its own: what nobody listens for would end it.
  const module = (name: string) =>
    JSON.stringify(new URL(`../../../src/adapters/process/${name}`, import.meta.url).href);
  const script = `import { pipe } from ${module('run.ts')};
import { localLauncher } from ${module('local.ts')};
const launcher = localLauncher({ environment: {}, group: false });
const late = new Promise((resolve) => setTimeout(() => resolve({ launcher, program: process.execPath, args: ['-e', ''], env: {} }), 200));
await pipe({ launcher, program: '/nonexistent/pg_dump', args: [], env: {} }, late).catch((error) => console.log('told', error.why));`;
  const { code, stdout } = await run({
    launcher,
    program: process.execPath,
    args: ['--input-type=module', '-e', script],
    env: {},
  });
  expect({ code, stdout }).toEqual({ code: 0, stdout: 'told ENOENT\n' });
});
