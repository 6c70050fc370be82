/** What those who wait for a target make of it: kubectl, kstatus (Flux), Argo CD's health; at each row of the conditions table. */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { parse } from 'yaml';
import { judges, type Judges } from '../support/gitops.ts';
import { closeGate, condition, operatorFor, place, useCluster, type Place } from '../support/place.ts';

useCluster();

let judge: Judges;
let dir: string;
let lua: string;
let here: Place;

beforeAll(async () => {
  [judge, dir, here] = await Promise.all([judges(), mkdtemp(join(tmpdir(), 'mt-gitops-')), place()]);
  const map = parse(await readFile('examples/argo-cd/argocd-cm.yaml', 'utf8')) as { data: Record<string, string> };
  lua = join(dir, 'health.lua');
  await writeFile(lua, map.data['resource.customizations.health.migrationtarget.dev_MigrationTarget'] ?? '');
});
afterAll(() => rm(dir, { recursive: true }));

interface Seen {
  /** Whether `kubectl wait --for=condition=Ready` ends at once. */
  readonly waited: boolean;
  readonly kstatus: string;
  readonly argo: string;
}

/** As all three see one and the same object. */
async function seen(): Promise<Seen & { readonly message: string }> {
  const object = await here.target('unicorn');
  const [kstatus, argo] = [await judge.kstatus(object), await judge.argoHealth(object, lua)];
  const { code } = await here.server.kubectl([
    '-n',
    here.ns,
    'wait',
    '--for=condition=Ready',
    '--timeout=0',
    'mtgt/unicorn',
  ]);
  return { waited: code === 0, kstatus: kstatus.status, argo: argo.status, message: argo.message };
}

describe('a target', () => {
  test('that no controller has looked at is in progress', async () => {
    await here.apply('unicorn', 'a2');
    expect(await seen()).toMatchObject({ waited: false, kstatus: 'InProgress', argo: 'Progressing' });
  });

  test('that is worked on is in progress; in sync it is ready', async () => {
    const closed = await closeGate(here);
    await operatorFor(here);
    await closed.reached();
    expect(condition(await here.target('unicorn'), 'Reconciling')?.status).toBe('True');
    expect(await seen()).toMatchObject({ waited: false, kstatus: 'InProgress', argo: 'Progressing' });

    await closed.open();
    await here.wait('unicorn', 'condition=Ready');
    expect(await seen()).toMatchObject({ waited: true, kstatus: 'Current', argo: 'Healthy' });
  });

  test('that is tried again by itself is in progress', async () => {
    const set = (url: string) =>
      here.kubectl(['patch', 'secret', 'unicorn', '--type=merge', '-p', JSON.stringify({ stringData: { url } })]);
    const closed = new URL(here.database.url);
    closed.port = '1';
    await set(closed.href);
    await here.patch('unicorn', { revision: 'a1' });
    await here.wait('unicorn', 'condition=Reconciling');
    expect(await seen()).toMatchObject({ waited: false, kstatus: 'InProgress', argo: 'Progressing' });

    await set(here.database.url);
    await here.wait('unicorn', 'condition=Ready');
    await here.patch('unicorn', { revision: 'a2' });
    await here.wait('unicorn', 'jsonpath={.status.currentRevision}=a2');
  });

  test('that waits for an approval is in progress, and suspended rather than degraded, with what would be lost', async () => {
    await here.patch('unicorn', { revision: 'a1', policy: { dataLoss: 'RequireApproval' } });
    await here.wait('unicorn', 'condition=ApprovalRequired');
    expect(await seen()).toEqual({
      waited: false,
      kstatus: 'InProgress',
      argo: 'Suspended',
      message: expect.stringContaining('would lose data'),
    });
  });

  test('that needs a human has failed, with the reason', async () => {
    await here.patch('unicorn', { revision: 'nowhere' });
    await here.wait('unicorn', 'condition=Stalled');
    expect(await seen()).toEqual({
      waited: false,
      kstatus: 'Failed',
      argo: 'Degraded',
      message: expect.stringContaining('nowhere'),
    });
  });

  test('that Flux asks for is looked at once more, and says so where Flux looks', async () => {
    const at = new Date().toISOString();
    const handled = 'jsonpath={.status.lastHandledReconcileAt}';
    const before = condition(await here.target('unicorn'), 'Stalled')?.message;
    // What somebody mended meanwhile.
    await writeFile(
      join(here.project.versionsDir, 'nowhere.py'),
      'revision = "nowhere"\ndown_revision = "a2"\ndef upgrade(): pass\ndef downgrade(): pass\n',
    );
    await here.kubectl(['annotate', 'mtgt', 'unicorn', `reconcile.fluxcd.io/requestedAt=${at}`]);
    await here.wait('unicorn', `${handled}=${at}`);
    expect(before).toContain('nowhere');
    expect((await here.target('unicorn')).status).toMatchObject({ currentRevision: 'nowhere' });
    await here.patch('unicorn', { revision: 'a2' });
    await here.wait('unicorn', 'jsonpath={.status.currentRevision}=a2');
  });

  test('that is suspended is in progress, and suspended', async () => {
    await here.patch('unicorn', { revision: 'a2', suspend: true });
    await here.wait(
      'unicorn',
      'jsonpath={.status.observedGeneration}=' + (await here.target('unicorn')).metadata.generation,
    );
    expect(await seen()).toMatchObject({ waited: false, kstatus: 'InProgress', argo: 'Suspended' });
  });

  test('whose newest declaration nobody has looked at yet is in progress, though it was ready', async () => {
    await here.patch('unicorn', { suspend: false });
    await here.wait('unicorn', 'condition=Ready');
    const object = await here.target('unicorn');
    const newer = { ...object, metadata: { ...object.metadata, generation: object.metadata.generation + 1 } };
    expect((await judge.kstatus(newer)).status).toBe('InProgress');
    expect((await judge.argoHealth(newer, lua)).status).toBe('Progressing');
  });
});
