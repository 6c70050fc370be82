/** Restores a backup as docs/backups.md tells people to: by its own commands, with nothing but the folder. */
import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { promisify } from 'node:util';
import type { TestDatabase } from './postgres.ts';

/** `folder`: the backup's; the database is replaced by it, and kept as `aside`. Throws where a command fails. */
export async function restoreByHand(
  folder: string,
  { server, name, adminUrl }: Pick<TestDatabase, 'server' | 'name' | 'adminUrl'>,
  aside: string,
): Promise<{ readonly stdout: string; readonly stderr: string }> {
  const url = new URL(adminUrl);
  // --norc: bash takes Node's pipes for a remote shell's, and would read /etc/bash.bashrc.
  return promisify(execFile)('bash', ['--norc', '-euo', 'pipefail', '-c', await documentedCommands()], {
    cwd: folder,
    env: {
      ...process.env,
      PATH: `${server.binDir}${delimiter}${process.env['PATH'] ?? ''}`,
      PGHOST: url.hostname,
      PGPORT: url.port,
      PGUSER: decodeURIComponent(url.username),
      PGPASSWORD: decodeURIComponent(url.password),
      LIVE: name,
      RESTORED: `${name.slice(0, 50)}_restored`,
      ASIDE: aside,
    },
  });
}

/** The shell commands of the chapter "Restore by hand", in order, without those that name a backup and a server. */
async function documentedCommands(): Promise<string> {
  const document = await readFile(join(import.meta.dirname, '../../docs/backups.md'), 'utf8');
  const [, chapter = ''] = document.split('## Restore by hand');
  const blocks = [...chapter.matchAll(/```sh\n(?<commands>.*?)```/gs)].map(({ groups }) => groups?.['commands'] ?? '');
  if (blocks.length < 6)
    throw new Error(`docs/backups.md has ${blocks.length} blocks of commands left to restore by hand`);
  return blocks.slice(1).join('\n');
}
