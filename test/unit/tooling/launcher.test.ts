import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { cp, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import type { Readable } from 'node:stream';
import { join, resolve } from 'node:path';

/** A Node that says it is an old one, as far as the launcher looks. */
const pretendOld = `
const real = process;
const versions = { ...real.versions, node: '20.20.2' };
globalThis.process = new Proxy(real, {
  get(_, key) {
    if (key === 'versions') return versions;
    const value = Reflect.get(real, key);
    return typeof value === 'function' ? value.bind(real) : value;
  },
});`;

const main = `
const [what = '', ...rest]: string[] = process.argv.slice(2);
console.log(JSON.stringify({ major: Number(process.versions.node.split('.')[0]), pid: process.pid, rest }));
if (what === 'exit') process.exitCode = Number(rest[0]);
// Ends by itself, so that a launcher that forwards nothing fails the test and leaves no process behind.
if (what === 'wait' || what === 'trap') setTimeout(() => { console.log('left alone'); process.exit(99); }, 20_000);
if (what === 'trap') { process.on('SIGTERM', () => process.exit(130)); console.log('ready'); }
`;

let root: string;
let old: string;

/** An installed package: `bin` is the real launcher. */
async function install(name: string, files: Readonly<Record<string, string>>): Promise<string> {
  const dir = join(root, name);
  await mkdir(dir, { recursive: true });
  await cp(resolve('bin'), join(dir, 'bin'), { recursive: true });
  await writeFile(join(dir, 'package.json'), '{"type": "module"}');
  for (const [file, content] of Object.entries(files)) {
    await mkdir(join(dir, file, '..'), { recursive: true });
    await writeFile(join(dir, file), content);
  }
  return join(dir, 'bin/migration-target');
}

function launch(
  bin: string,
  args: readonly string[],
  nodeArgs: readonly string[] = [],
): ChildProcess & { said: () => string } {
  const child = spawn(process.execPath, [...nodeArgs, bin, ...args], {
    env: { ...process.env, NODE_OPTIONS: '', MIGRATION_TARGET_CACHE: join(root, 'cache') },
  });
  const chunks: string[] = [];
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (chunk: string) => chunks.push(chunk));
  }
  return Object.assign(child, { said: () => chunks.join('') });
}

async function finish(child: ReturnType<typeof launch>): Promise<{ code: unknown; signal: unknown; said: string }> {
  const [code, signal] = (await once(child, 'close')) as unknown[];
  return { code, signal, said: child.said() };
}

async function untilSaid(child: ReturnType<typeof launch>, text: string): Promise<void> {
  while (!child.said().includes(text)) await once(child.stdout ?? child, 'data');
}

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'migration-target-launcher-'));
  old = join(root, 'old.cjs');
  await writeFile(old, pretendOld);
});
afterAll(() => rm(root, { recursive: true, force: true }));

describe('on a Node that is new enough', () => {
  test('the program runs in the same process, with its arguments, and without a word of its own', async () => {
    const child = launch(await install('new', { 'src/main.ts': main }), ['exit', '4', 'a b', '--', '$(id)']);
    const { code, said } = await finish(child);
    expect(code).toBe(4);
    expect(JSON.parse(said)).toEqual({ major: expect.any(Number), pid: child.pid, rest: ['4', 'a b', '--', '$(id)'] });
  });

  test('an installed package runs what was built', async () => {
    const { said } = await finish(launch(await install('built', { 'dist/main.js': `console.log('from dist')` }), []));
    expect(said).toBe('from dist\n');
  });

  test('a package without a program says so', async () => {
    const { code, said } = await finish(launch(await install('empty', {}), []));
    expect(code).toBe(1);
    expect(said).toMatch(/^migration-target: .* holds neither src\/main\.ts nor dist\/main\.js: install/);
  });

  test('an error while the program loads is an exit code of 1, and is shown', async () => {
    const { code, said } = await finish(
      launch(await install('broken', { 'src/main.ts': `throw new Error('as it loads')` }), []),
    );
    expect(code).toBe(1);
    expect(said).toContain('as it loads');
  });
});

describe('on an older Node', () => {
  const withOwnNode = async (name: string): Promise<string> => {
    const bin = await install(`${name}/node_modules/migration-target`, { 'src/main.ts': main });
    // Hoisted: beside the package and not in it.
    const platform = `node-${process.platform}-${process.arch}`;
    await symlink(resolve('node_modules', platform), join(root, name, 'node_modules', platform));
    return bin;
  };

  test('the Node that npm installed is found beside the package, and its exit code is kept', async () => {
    const bin = await withOwnNode('hoisted');
    await rm(join(bin, '../../src'), { recursive: true });
    await mkdir(join(bin, '../../dist'));
    await writeFile(join(bin, '../../dist/main.js'), main.replace(': string[]', ''));
    const child = launch(bin, ['exit', '3'], ['-r', old]);
    const { code, said } = await finish(child);
    expect(code).toBe(3);
    const { major, pid } = JSON.parse(said) as { major: number; pid: number };
    expect(major).toBeGreaterThanOrEqual(24);
    expect(pid).not.toBe(child.pid);
  });

  test('a signal reaches the program, which decides how it ends', async () => {
    const bin = await install('signals', { 'src/main.ts': main });
    await symlink(resolve('node_modules'), join(root, 'signals/node_modules'));
    const child = launch(bin, ['trap'], ['-r', old]);
    await untilSaid(child, 'ready');
    child.kill('SIGTERM');
    expect(await finish(child)).toMatchObject({ code: 130, signal: null });
  });

  test('a program that dies of a signal is seen to have died of it', async () => {
    const bin = await install('killed', { 'src/main.ts': main });
    await symlink(resolve('node_modules'), join(root, 'killed/node_modules'));
    const child = launch(bin, ['wait'], ['-r', old]);
    await untilSaid(child, '}');
    child.kill('SIGTERM');
    expect(await finish(child)).toMatchObject({ code: null, signal: 'SIGTERM' });
  });

  test('killed, it takes the program with it, which would go on unseen', async () => {
    const bin = await install('orphan', { 'src/main.ts': main });
    await symlink(resolve('node_modules'), join(root, 'orphan/node_modules'));
    const child = launch(bin, ['wait'], ['-r', old]);
    await untilSaid(child, '}');
    // It has the launcher's standard output: that ends when the last of them has ended.
    const ended = once(child.stdout as Readable, 'end');
    child.kill('SIGKILL');
    await ended;
    expect(child.said()).not.toContain('left alone');
  });

  test('without another Node, what to install is said', async () => {
    const { code, said } = await finish(launch(await install('alone', { 'src/main.ts': main }), [], ['-r', old]));
    expect(code).toBe(1);
    expect(said).toMatch(
      /^migration-target: this is Node 20\.20\.2, and npm has installed no newer one for .*: run npm ci .*Node 24/,
    );
  });
});
