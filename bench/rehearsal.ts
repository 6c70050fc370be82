/**
 * What a rehearsal costs on a database with rows in it, against a dump and a restore done by hand. `MIGRATION_TARGET_BENCH_MB`
 * says how large
 * (default 60): rows are added to its audit log until it is.
 */
import { join } from 'node:path';
import { readFile, rm } from 'node:fs/promises';
import { Client } from 'pg';
import { runOrThrow } from '../scripts/lib/run.ts';
import { figure, median, race, type Figure } from './measure.ts';
import { newest, older, progress, targetName, type Stage } from './stage.ts';

export async function measureRehearsal(stage: Stage, runs: number): Promise<readonly Figure[]> {
  const megabytes = await grow(stage, Number(process.env['MIGRATION_TARGET_BENCH_MB'] ?? '60'));
  await stage.alembic('upgrade', newest);
  const home = await stage.home('rehearsed', older);
  const dump = join(stage.dir, 'by-hand');
  const admin = async (sql: string): Promise<void> =>
    void (await onDatabase(stage.adminUrl, (client) => client.query(sql)));
  let peak = 0;
  const work: Record<string, number[]> = { 'by hand': [], rehearsal: [] };
  const measured = async (name: string, run: () => Promise<void>): Promise<void> => {
    const before = await serverSeconds(stage.dataDir);
    await run();
    work[name]?.push((await serverSeconds(stage.dataDir)) - before);
  };
  const times = await race(
    [
      {
        name: 'by hand',
        prepare: async () => {
          await rm(dump, { recursive: true, force: true });
          await admin('DROP DATABASE IF EXISTS by_hand');
          await admin('CREATE DATABASE by_hand OWNER unicorn TEMPLATE template0');
        },
        run: () =>
          measured('by hand', async () => {
            const there = new URL(stage.url);
            there.pathname = '/by_hand';
            await runOrThrow('pg_dump', ['--format=directory', `--file=${dump}`, stage.url], { env: stage.env });
            await runOrThrow('pg_restore', [`--dbname=${there.href}`, dump], { env: stage.env });
          }),
      },
      {
        name: 'rehearsal',
        prepare: () => admin('DROP DATABASE IF EXISTS by_hand'),
        run: () =>
          measured('rehearsal', async () => {
            const watching = watchSpace(stage.adminUrl, (bytes) => (peak = Math.max(peak, bytes)));
            try {
              await stage.migrationTarget('plan', '--rehearse', '--dir', home, targetName);
            } finally {
              await watching.stop();
            }
          }),
      },
    ],
    runs,
  );
  progress(
    `at its most the copies took ${Math.round(peak / 1_000_000)} MB of the server's disk, for a database of ${megabytes} MB`,
  );
  const seconds = (name: string): string => median(work[name]).toFixed(1);
  progress(`processor seconds of the server: ${seconds('rehearsal')} for the rehearsal, ${seconds('by hand')} by hand`);
  return [
    figure(
      `plan --rehearse, one step down, ${megabytes} MB`,
      median(times['rehearsal']),
      'pg_dump and pg_restore by hand',
      median(times['by hand']),
      { goal: null, runs },
    ),
  ];
}

/** The sample application's rows, and as many of its audit log as make the database so large; returns how large. */
async function grow(stage: Stage, megabytes: number): Promise<number> {
  return onDatabase(stage.url, async (client) => {
    const size = async (): Promise<number> => {
      const { rows } = await client.query<{ mb: number }>(
        'SELECT (pg_database_size(current_database()) / 1000000)::int AS mb',
      );
      return rows[0]?.mb ?? 0;
    };
    await client.query(`
      INSERT INTO organizations (name) SELECT 'organization ' || g FROM generate_series(1, 10) g;
      INSERT INTO users (organization_id, email, given_name, family_name)
        SELECT (SELECT min(id) FROM organizations), g || '@example.org', 'given', 'family' FROM generate_series(1, 1000) g;
      INSERT INTO projects (organization_id, name, starts_on) SELECT min(id), 'project', now() FROM organizations;
      INSERT INTO tickets (project_id, reporter_id, title)
        SELECT p.id, u.id, 'ticket' FROM projects p, users u, generate_series(1, 20)`);
    for (let now = await size(); now < megabytes; now = await size()) {
      progress(`${now} of ${megabytes} MB`);
      await client.query(
        `INSERT INTO audit_log (user_id, action, client_hash) SELECT id, 'look', md5(random()::text) FROM users, generate_series(1, 200)`,
      );
    }
    return size();
  });
}

async function onDatabase<T>(url: string, work: (client: Client) => Promise<T>): Promise<T> {
  const client = new Client({ connectionString: url });
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}

/** The sizes of all scratch databases together, looked at again and again. */
function watchSpace(url: string, tell: (bytes: number) => void): { readonly stop: () => Promise<void> } {
  let stopped = false;
  const watching = onDatabase(url, async (client) => {
    while (!stopped) {
      const { rows } = await client.query<{ bytes: string | null }>(
        "SELECT sum(pg_database_size(oid)) AS bytes FROM pg_database WHERE position('__s' IN datname) > 0",
      );
      tell(Number(rows[0]?.bytes ?? 0));
      await new Promise((resolve) => void setTimeout(resolve, 100));
    }
  });
  return {
    stop: async () => {
      stopped = true;
      // A database that was dropped while it was measured says nothing of the space.
      await watching.catch(() => undefined);
    },
  };
}

/** Processor seconds that the server and its ended sessions took since it was started (Linux: /proc). */
async function serverSeconds(dataDir: string): Promise<number> {
  const [pid] = (await readFile(join(dataDir, 'postmaster.pid'), 'utf8')).split('\n');
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8');
  // After the name in brackets; utime, stime, cutime and cstime are the 14th to the 17th of all, in ticks of 10 ms.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return fields.slice(11, 15).reduce((sum, ticks) => sum + Number(ticks), 0) / 100;
}
