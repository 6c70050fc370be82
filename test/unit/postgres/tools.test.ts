import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterEach, beforeEach, expect, test } from '@jest/globals';

import { createToolFinder } from '../../../src/adapters/postgres/tools.ts';

let folder = '';
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'mt-tools-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

/** A major that no machine has. */
const major = 99;

async function install(versions: Readonly<Record<'pg_dump' | 'pg_restore' | 'psql', string>>): Promise<void> {
  for (const [tool, version] of Object.entries(versions)) {
    await writeFile(join(folder, tool), `#!/bin/sh\necho '${tool} (PostgreSQL) ${version}'\n`, { mode: 0o755 });
  }
}

test('tools of another major are refused, with what was found where and what to install', async () => {
  await install({ pg_dump: '9.6.1', pg_restore: '9.6.1', psql: '9.6.1' });
  await expect(createToolFinder([folder]).find(major)).rejects.toMatchObject({
    reason: 'ToolsNotFound',
    kind: 'stalled',
    message: expect.stringMatching(
      new RegExp(`${folder} \\(pg_dump \\(PostgreSQL\\) 9\\.6\\.1\\).*postgresql-client-99.*MIGRATION_TARGET_PG_BIN`),
    ) as unknown,
  });
});

test('tools that are nowhere are told with their major, the folder that they belong into, and the image to build with', async () => {
  await expect(createToolFinder().find(major)).rejects.toMatchObject({
    reason: 'ToolsNotFound',
    message: expect.stringMatching(
      /^The server is PostgreSQL 99, .*searched (.*, )?\/usr\/lib\/postgresql\/99\/bin \(no pg_dump\).*--build-arg POSTGRES_99_IMAGE=postgres:99-trixie examples\/kubernetes\/base-image\)/,
    ) as unknown,
  });
});

test('a folder in which one of the three is of another major does not count', async () => {
  await install({ pg_dump: '99.1', pg_restore: '99.1', psql: '16.1' });
  await expect(createToolFinder([folder]).find(major)).rejects.toMatchObject({ reason: 'ToolsNotFound' });
});

test('tools that were not found are looked for again, and found once they are installed', async () => {
  const finder = createToolFinder([folder]);
  await expect(finder.find(major)).rejects.toMatchObject({ reason: 'ToolsNotFound' });
  await install({ pg_dump: '99.1 (Debian 99.1-1)', pg_restore: '99.1', psql: '99beta1' });
  expect(await finder.find(major)).toMatchObject({
    pgDump: join(folder, 'pg_dump'),
    pgRestore: join(folder, 'pg_restore'),
    psql: join(folder, 'psql'),
    version: 'pg_dump (PostgreSQL) 99.1',
  });
});

test('MIGRATION_TARGET_PG_BIN names more folders', async () => {
  await install({ pg_dump: '99.1', pg_restore: '99.1', psql: '99.1' });
  process.env['MIGRATION_TARGET_PG_BIN'] = `/nowhere:${folder}`;
  try {
    expect((await createToolFinder().find(major)).pgDump).toBe(join(folder, 'pg_dump'));
  } finally {
    delete process.env['MIGRATION_TARGET_PG_BIN'];
  }
});
