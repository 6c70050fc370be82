import { access, chown, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

import { installDebianPackage } from '../../scripts/lib/debian.ts';
import { serverAccount } from '../../scripts/lib/embedded-postgres.ts';
import { freePort } from '../../scripts/lib/free-port.ts';
import { supervise } from '../../scripts/lib/supervise.ts';
import type { TestDatabase } from './postgres.ts';

const PGBOUNCER = '/usr/sbin/pgbouncer';

/** A connection pooler before a test database's server. */
export interface Pooler extends AsyncDisposable {
  /** The database through the pooler, as its owner. */
  readonly url: string;
  stop(): Promise<void>;
}

/** Starts pgbouncer, pooling by transaction or by session, and installs it where it is missing and we are root. */
export async function startPooler(database: TestDatabase, mode: 'transaction' | 'session'): Promise<Pooler> {
  await access(PGBOUNCER).catch(() =>
    installDebianPackage('pgbouncer', (message) => void process.stderr.write(`test bed: ${message}\n`)),
  );
  const account = await serverAccount();
  const dir = await mkdtemp(join(tmpdir(), 'migration-target-pooler-'));
  const port = await freePort();
  const files = {
    'users.txt': `"${database.owner}" "${database.password}"\n`,
    'pgbouncer.ini': `[databases]
* = host=127.0.0.1 port=${database.server.port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = ${port}
unix_socket_dir =
auth_type = plain
auth_file = ${dir}/users.txt
pool_mode = ${mode}
`,
  };
  for (const [name, text] of Object.entries(files)) await writeFile(join(dir, name), text);
  if (account) await chown(dir, account.uid, account.gid);
  const server = supervise([PGBOUNCER, join(dir, 'pgbouncer.ini')], {
    logFile: join(dir, 'log'),
    signal: 'TERM',
    ...account,
    removeAfterwards: dir,
  });
  const stop = async (): Promise<void> => {
    await server.stop();
    await rm(dir, { recursive: true, force: true });
  };
  await untilListening(port);
  const url = new URL(database.url);
  url.port = String(port);
  return { url: url.href, stop, [Symbol.asyncDispose]: stop };
}

async function untilListening(port: number): Promise<void> {
  for (let attempt = 0; attempt < 400; attempt++) {
    const socket = connect(port, '127.0.0.1');
    const open = await once(socket, 'connect').then(
      () => true,
      () => false,
    );
    socket.destroy();
    if (open) return;
    await delay(50);
  }
  throw new Error(`pgbouncer did not listen on port ${port} within 20 s`);
}
