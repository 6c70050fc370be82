import { spawnSync } from 'node:child_process';
import { readdir } from 'node:fs/promises';

import { expect, test } from '@jest/globals';

import { wrapped } from '../../../src/adapters/docker/private-files.ts';

/** As in a container: the shell there is this machine's here. */
function ran(files: Readonly<Record<string, string>>, script: string, input: string) {
  const { command, preamble } = wrapped({ program: 'sh', args: ['-c', script, 'sh', '$(id)', "it's"], env: {}, files });
  const [program = '', ...args] = command;
  expect(args.join(' ')).not.toContain('s3cret');
  return spawnSync(program, args, { input: preamble + input, encoding: 'utf8' });
}

test('a program reads its files by the variables that name them, and its input as if there were none', async () => {
  const files = { PGPASSFILE: '*:*:*:*:s3cret \\: $(id)\n', PGSERVICEFILE: '[target]\nhost=x\n\n  indented\n' };
  const { stdout, stderr, status, pid } = ran(
    files,
    'cat "$PGPASSFILE" "$PGSERVICEFILE"; stat -L -c %a-%h "$PGPASSFILE" "$PGSERVICEFILE"; echo "$@"; cat',
    'line one\nline two',
  );
  expect({ stderr, status }).toEqual({ stderr: '', status: 0 });
  expect(stdout).toBe(`${files.PGPASSFILE}${files.PGSERVICEFILE}600-0\n600-0\n$(id) it's\nline one\nline two`);
  // Others make theirs there meanwhile.
  expect(await readdir('/dev/shm')).not.toContainEqual(expect.stringContaining(`-${pid}-`));
});

test('without files the program is what is run', () => {
  expect(wrapped({ program: 'pg_dump', args: ['--version'], env: {} })).toEqual({
    command: ['pg_dump', '--version'],
    preamble: '',
  });
});
