/** What is otherwise on a terminal, and what is loaded for the shortest of commands. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { contentChecksum } from '../../support/postgres.ts';
import { program, sources } from '../../support/program.ts';
import { ctrlC, onTerminal } from '../../support/terminal.ts';
import { contentOf, createBench, startProgram, twoSteps, type Bench } from './bench.ts';

const colour = /\u001b\[\d*(?:;\d+)*m/;

let bench: Bench;
beforeAll(async () => {
  bench = await createBench(twoSteps);
});
afterAll(async () => {
  await bench[Symbol.asyncDispose]();
});

const { NO_COLOR: _no, FORCE_COLOR: _force, CI: _ci, ...clean } = process.env;
const environment = (): NodeJS.ProcessEnv => ({
  ...clean,
  PATH: [bench.database.server.binDir, process.env['PATH']].join(':'),
  MIGRATION_TARGET_DIR: bench.dir,
});

test.each([
  ['n', 'n', 1],
  ['Enter, which is no', '\r', 1],
  ['Ctrl-C', ctrlC, 130],
])('apply shows the plan and asks; %s leaves everything as it was', async (_, types, code) => {
  const file = await bench.declaration('b200');
  const before = [await contentOf(join(bench.dir, '..')), await contentChecksum(bench.database.adminUrl)];
  const command = [process.execPath, program, 'apply', '-f', file];
  const ended = await onTerminal(command, { env: environment(), awaits: 'Yes', types });
  expect(ended.shown).toMatch(/upgrade.*base → b200[^]*Yes[^]*Nothing was done\./);
  expect(ended.code).toBe(code);
  expect([await contentOf(join(bench.dir, '..')), await contentChecksum(bench.database.adminUrl)]).toEqual(before);
});

describe('colour', () => {
  const plan = async (env: NodeJS.ProcessEnv, ...args: readonly string[]): Promise<string> => {
    const command = [process.execPath, program, 'plan', '-f', await bench.declaration('b200'), ...args];
    const { code, shown } = await onTerminal(command, { env: { ...environment(), ...env } });
    expect({ code, shown }).toMatchObject({ code: 0, shown: expect.stringContaining('b200') });
    return shown;
  };

  test('is on a terminal', async () => {
    expect(await plan({})).toMatch(colour);
  });

  test('is nowhere with NO_COLOR or --no-color', async () => {
    expect(await plan({ NO_COLOR: '1' })).not.toMatch(colour);
    expect(await plan({}, '--no-color')).not.toMatch(colour);
  });

  test('is not where the answer goes into a pipe', async () => {
    const args = ['plan', '-f', await bench.declaration('b200')];
    const { code, stdout, stderr } = await startProgram(args, environment()).ended;
    expect(code).toBe(0);
    expect(stdout + stderr).not.toMatch(colour);
  });
});

test('status of a folder loads neither the client of Kubernetes nor that of PostgreSQL; a command that needs one does', async () => {
  await bench.declare('b200');
  const load = async (...args: readonly string[]): Promise<string> => {
    const list = join(bench.dir, '..', `loaded-${args[0]}`);
    const hook = `import { registerHooks } from 'node:module'; import { appendFileSync } from 'node:fs';
      registerHooks({ load(url, context, next) { appendFileSync(${JSON.stringify(list)}, url + '\\n'); return next(url, context); } });`;
    const options = `--import=data:text/javascript,${encodeURIComponent(hook)}`;
    expect(await startProgram(args, { ...environment(), NODE_OPTIONS: options }, sources).ended).toMatchObject({
      code: 0,
    });
    return readFile(list, 'utf8');
  };
  const heavy = /node_modules\/(?:@kubernetes\/client-node|pg)\/|src\/adapters\/(?:kubernetes|postgres|alembic)\//;
  const loaded = await load('status', '--dir', bench.dir);
  expect(loaded).toContain('src/cli/commands/status.ts');
  expect(loaded).not.toMatch(heavy);
  expect(await load('plan', 'unicorn')).toMatch(/node_modules\/pg\//);
});
