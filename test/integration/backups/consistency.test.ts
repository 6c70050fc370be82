/** A backup of a database that others write to all the while: of one moment, and its manifest says of which. */
import { expect, test } from '@jest/globals';
import pg from 'pg';
import { query } from '../../support/postgres.ts';
import { createScene, said, threeSteps } from '../../support/scene.ts';
import { backupsOf } from './catalogue.ts';

test('a backup taken while others write is of one moment: its counts are those that a restore of it gives', async () => {
  await using scene = await createScene(16, { history: threeSteps });
  await scene.goTo('a1');
  await query(
    scene.database.url,
    `
    CREATE TABLE orders (id serial PRIMARY KEY, filler text DEFAULT repeat('unicorn', 50));
    CREATE TABLE order_lines (order_id int);
    INSERT INTO orders SELECT FROM generate_series(1, 20000);
    INSERT INTO order_lines SELECT g FROM generate_series(1, 20000) g`,
  );
  const [atFirst] = await scene.query('SELECT count(*)::int AS orders FROM orders');

  const writer = await startWriter(scene.database.url);
  const { outcome } = await scene.reconcile({ kind: 'backup', reason: 'Requested' });
  const written = await writer.stop();
  expect(said(outcome)).toMatch(/^ready BackupVerified: /);

  const [manifest] = await backupsOf(scene);
  const { 'public.orders': orders = 0, 'public.order_lines': lines } = manifest?.rowCounts ?? {};
  expect(lines).toBe(orders);
  expect(orders).toBeGreaterThan(Number(atFirst?.['orders']));
  expect(orders).toBeLessThan(20_000 + written);

  const restored = await scene.reconcile({ kind: 'restore', backup: manifest?.id ?? '' });
  expect(said(restored.outcome)).toMatch(/^ready RestoredFromBackup: /);
  expect(
    await scene.query(
      'SELECT (SELECT count(*) FROM orders)::int AS orders, (SELECT count(*) FROM order_lines)::int AS lines',
    ),
  ).toEqual([{ orders, lines }]);
});

/** Writes an order with its line in each transaction, until it is stopped; resolves after the first. */
async function startWriter(url: string): Promise<{ stop(): Promise<number> }> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  let written = 0;
  let isStopped = false;
  const write = async () => {
    await client.query('BEGIN; INSERT INTO orders DEFAULT VALUES; INSERT INTO order_lines VALUES (0); COMMIT');
    written += 1;
  };
  await write();
  const writing = (async () => {
    while (!isStopped) await write();
  })();
  return {
    stop: async () => {
      isStopped = true;
      await writing;
      await client.end();
      return written;
    },
  };
}
