/** What a cluster does to a controller that is at work, and what people hand to it. */
import { readFile } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import type { MigrationTarget } from '../../src/api/target.ts';
import { query, testServer } from '../support/postgres.ts';
import {
  closeGate,
  condition,
  eventually,
  operatorFor,
  place,
  podOf,
  useCluster,
  type Place,
} from '../support/place.ts';
import { metric, startOperator, type Operator } from '../support/operator.ts';
import { startApiServer, type OwnApiServer } from '../support/apiserver.ts';

useCluster();

const asks = (operator: Operator, pattern: RegExp): Promise<void> =>
  eventually(`the log tells ${String(pattern)}`, async () => operator.log().some(({ msg }) => pattern.test(msg)));

describe('in the middle of a change', () => {
  let here: Place;
  beforeAll(async () => {
    here = await place();
  });

  test('a Secret whose password was rotated counts from then on, and the operation goes on with it', async () => {
    await operatorFor(here);
    await here.apply('unicorn', 'a1');
    await here.wait('unicorn', 'condition=Ready');
    const gate = await closeGate(here);
    await here.patch('unicorn', { revision: 'a2' });
    await gate.reached();
    const password = 'another-one';
    await query(here.database.adminUrl, `ALTER ROLE ${here.database.owner} PASSWORD '${password}'`);
    await gate.open();
    await eventually('the old password is refused', async () =>
      /password authentication failed/.test(condition(await here.target('unicorn'), 'Ready')?.message ?? ''),
    );
    const url = Object.assign(new URL(here.database.url), { password });
    const secret = { stringData: { url: url.href } };
    await here.kubectl(['patch', 'secret', 'unicorn', '--type=merge', '-p', JSON.stringify(secret)]);
    await here.wait('unicorn', 'condition=Ready');
    expect(await here.version()).toBe('a2');
    const { status } = await here.target('unicorn');
    expect(status?.history[0]).toMatchObject({ kind: 'upgrade', result: 'success' });
  });

  test('rights that are withdrawn stop nothing half-way: the change ends, and what was journalled is gone on with', async () => {
    const other = await place();
    const operator = await operatorFor(other, { pod: await podOf(other), args: ['--allow=process,directory'] });
    await other.apply('unicorn', 'a1');
    await other.wait('unicorn', 'condition=Ready');
    const gate = await closeGate(other);
    await other.patch('unicorn', { revision: 'a2' });
    await gate.reached();
    await other.kubectl(['delete', 'rolebinding', 'controller']);
    await gate.open();
    await asks(operator, /A right is missing in the cluster: .*cannot \w+ resource "migrationtargets\/status"/s);
    expect(await other.version()).toBe('a2');
    const bind = ['create', 'rolebinding', 'controller', '--clusterrole=cluster-admin'];
    await other.kubectl([...bind, `--serviceaccount=${other.ns}:controller`]);
    await other.wait('unicorn', 'condition=Ready');
    expect((await other.target('unicorn')).status?.history[0]).toMatchObject({ kind: 'upgrade', result: 'success' });
  });
});

describe('what is declared', () => {
  let here: Place;
  let operator: Operator;
  beforeAll(async () => {
    here = await place();
    operator = await operatorFor(here);
  });

  test('with a megabyte in a field is refused by the API server, which names the field', async () => {
    const document = await here.document('large', 'a1', { alembic: { xArgs: { tenant: 'x'.repeat(1 << 20) } } });
    const { code, stderr } = await here.server.kubectl(['-n', here.ns, 'create', '-f', '-'], {
      input: JSON.stringify(document),
    });
    expect({ code, stderr }).toEqual({
      code: 1,
      stderr: expect.stringMatching(/spec\.alembic\.xArgs\.tenant: Too long/),
    });
  });

  test('as large as is allowed is carried out like any other', async () => {
    const xArgs = Object.fromEntries(Array.from({ length: 32 }, (_, n) => [`key${n}`, 'x'.repeat(1000)]));
    const queries = Array.from({ length: 20 }, (_, n) => ({
      name: `query-${n}`,
      sql: `SELECT true -- ${'x'.repeat(3000)}`,
      expect: 't',
    }));
    await here.apply('unicorn', 'a1', { alembic: { xArgs }, verify: { queries } });
    await here.wait('unicorn', 'condition=Ready');
    expect(await here.version()).toBe('a1');
  });

  test('by 300 targets that change at once comes true for each, and none is tried twice', async () => {
    const names = Array.from({ length: 300 }, (_, n) => `target-${n}`);
    // Each with a version table of its own in the one database: nothing has to be done, and each is read.
    const tables = names.map((name) => `CREATE TABLE "${name}" AS SELECT * FROM alembic_version`).join(';');
    await query(here.database.url, tables);
    const document = (interval: string): Promise<string> =>
      Promise.all(
        names.map((name) =>
          here.document(name, 'a1', {
            interval,
            database: { urlFrom: { secretKeyRef: { name: 'unicorn' } }, versionTable: name },
          }),
        ),
      ).then((items) => JSON.stringify({ apiVersion: 'v1', kind: 'List', items }));
    // kubectl wait asks for one after the other, at a few a second.
    const allReady = (generation: number): Promise<void> =>
      eventually(
        `all are Ready at generation ${generation}`,
        async () => {
          const { items } = JSON.parse(await here.kubectl(['get', 'mtgt', '-o', 'json'])) as {
            items: MigrationTarget[];
          };
          const isReady = (target: MigrationTarget): boolean =>
            target.status?.observedGeneration === generation && condition(target, 'Ready')?.status === 'True';
          const ready = new Set(items.filter(isReady).map(({ metadata }) => metadata.name));
          return names.every((name) => ready.has(name));
        },
        { everyMs: 1_000, withinMs: 200_000 },
      );
    await here.kubectl(['apply', '--server-side', '-f', '-'], await document('6m'));
    await allReady(1);
    await here.kubectl(['apply', '--server-side', '-f', '-'], await document('7m'));
    await allReady(2);
    expect(await metric(operator, 'controller_runtime_reconcile_errors_total')).toBe(0);
  }, 600_000);
});

describe('the kinds', () => {
  let server: OwnApiServer;
  beforeAll(async () => {
    server = await startApiServer();
  });
  afterAll(async () => server.stop());

  test('of another version than the controller’s are told, and waited for', async () => {
    const crds = await readFile('crds/migrationtarget.dev_migrationtargets.yaml', 'utf8');
    expect(crds).toContain('name: v1alpha1');
    const ours = await server.kubectl(['apply', '-f', '-'], {
      input: crds.replace('name: v1alpha1', 'name: v1alpha9'),
    });
    expect(ours.code).toBe(0);
    const { binDir } = await testServer(16);
    await using operator = await startOperator({ kubeconfig: server.kubeconfig, namespace: 'default', binDir });
    await asks(operator, /does not know the kind MigrationTarget.*kubectl apply -f crds\//);
    expect((await fetch(`${operator.url}/readyz`)).status).toBe(503);
    await server.kubectl(['delete', 'crd', 'migrationtargets.migrationtarget.dev']);
    await server.kubectl(['apply', '-f', 'crds/']);
    await eventually('it is ready', async () => (await fetch(`${operator.url}/readyz`)).status === 200);
  });
});
