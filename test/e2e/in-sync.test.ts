/** What a target in sync asks of the API server at each look: nothing. And that nothing is begun by what is known so. */
import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from '@jest/globals';
import { metric } from '../support/operator.ts';
import { condition, eventually, operatorFor, place, useCluster } from '../support/place.ts';
import { query } from '../support/postgres.ts';

useCluster();

/** Declared, in sync, and looked at each second. */
async function inSync() {
  const here = await place();
  const operator = await operatorFor(here);
  await here.apply('unicorn', 'a2', { interval: '1s' });
  await here.wait('unicorn', 'condition=Ready');
  const labels = { namespace: here.ns, name: 'unicorn' };
  const lastCheck = (): Promise<number | null> =>
    metric(operator, 'migrationtarget_last_check_timestamp_seconds', labels);
  const anotherLook = async (): Promise<void> => {
    const before = (await lastCheck()) ?? 0;
    await eventually('it was looked at again', async () => ((await lastCheck()) ?? 0) > before);
  };
  // The first may be the end of the operation, the second what was left to be said after it.
  await anotherLook();
  await anotherLook();
  return { here, anotherLook };
}

test('neither its Secret is read again nor its status written, until something is asked for', async () => {
  const { here, anotherLook } = await inSync();
  const { resourceVersion } = (await here.target('unicorn')).metadata as { readonly resourceVersion?: string };
  expect(resourceVersion).toBeDefined();
  await here.kubectl(['delete', 'secret', 'unicorn']);

  await anotherLook();
  await anotherLook();

  expect((await here.target('unicorn')).metadata).toMatchObject({ resourceVersion });
  expect(condition(await here.target('unicorn'), 'Ready')).toMatchObject({ status: 'True' });
  expect(await here.command('reconcile', 'unicorn')).toMatchObject({ code: 4 });
  expect(condition(await here.target('unicorn'), 'Stalled')).toMatchObject({ reason: 'SecretNotFound' });
});

test('what others change in the database is found, and so is what is declared anew', async () => {
  const { here, anotherLook } = await inSync();
  await anotherLook();
  await query(here.database.url, `UPDATE alembic_version SET version_num = 'a1'`);
  await here.wait('unicorn', 'condition=Stalled');
  expect(condition(await here.target('unicorn'), 'Stalled')).toMatchObject({ reason: 'ChangedOutside' });
  await query(here.database.url, `UPDATE alembic_version SET version_num = 'a2'`);
  await here.wait('unicorn', 'condition=Ready');
  await here.apply('unicorn', 'a1', { interval: '1s' });
  await eventually('it was taken down', async () => (await here.version()) === 'a1');
});

test('what a MigrationBackup says is put right where somebody else wrote it, and it goes though its backup was broken first', async () => {
  const { here, anotherLook } = await inSync();
  const shown = async () => {
    const { items } = JSON.parse(await here.kubectl(['get', 'migrationbackups', '-o', 'json'])) as {
      items: { metadata: { name: string }; status?: { backupId?: string; conditions?: { reason: string }[] } }[];
    };
    return items[0];
  };
  const name = (await shown())?.metadata.name ?? '';
  const id = (await shown())?.status?.backupId ?? '';
  expect(id).toMatch(/unicorn/);
  await anotherLook();

  const nothing = JSON.stringify([{ op: 'remove', path: '/status' }]);
  await here.kubectl(['patch', 'migrationbackup', name, '--subresource=status', '--type=json', '-p', nothing]);
  await eventually('it says again what it shows', async () => (await shown())?.status?.backupId === id);

  await writeFile(join(here.backups, id, 'manifest.json'), 'nonsense');
  await eventually(
    'it says that its backup is broken',
    async () => (await shown())?.status?.conditions?.some(({ reason }) => reason === 'BackupInvalid') === true,
  );
  await anotherLook();
  await anotherLook();
  await rm(join(here.backups, id), { recursive: true });
  await eventually('it is gone', async () => (await shown()) === undefined);
});
