/** The unit of examples/docker-host/systemd: what it starts is there, and systemd takes it as it is. */
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, test } from '@jest/globals';
import { createProgram } from '../../../src/cli/program.ts';

const file = join(import.meta.dirname, '../../../examples/docker-host/systemd/migration-target.service');
const analyze = '/usr/bin/systemd-analyze';

test('starts a command that there is, with options that it has', async () => {
  const unit = await readFile(file, 'utf8');
  const [path, ...args] = /^ExecStart=(.+)$/m.exec(unit)?.[1]?.split(' ') ?? [];
  expect(path).toBe('/usr/local/bin/migration-target');
  const invoked: string[] = [];
  const program = createProgram('migration-target', '0', async (command) => void invoked.push(command.name()));
  // Or it would end the process.
  for (const each of [program, ...program.commands]) each.exitOverride();
  await program.parseAsync(args, { from: 'user' });
  expect(invoked).toEqual(['run']);
});

(existsSync(analyze) ? describe : describe.skip)('where systemd is', () => {
  test('is a unit without faults', async () => {
    const dir = await mkdtemp(join(tmpdir(), 'mt-unit-'));
    try {
      // Where it is not installed, systemd would tell that first.
      const program = join(dir, 'migration-target');
      await writeFile(program, '#!/bin/sh\n');
      await chmod(program, 0o755);
      const unit = await readFile(file, 'utf8');
      const copy = join(dir, 'migration-target.service');
      await writeFile(copy, unit.replace('/usr/local/bin/migration-target', program));
      const { stdout, stderr } = await promisify(execFile)(analyze, ['verify', '--man=no', copy]);
      const said = `${stdout}${stderr}`.split('\n').filter((line) => line.includes('migration-target.service'));
      expect(said).toEqual([]);
    } finally {
      await rm(dir, { recursive: true, force: true });
    }
  });
});
