/**
 * Several controllers, each a process of its own, and one Lease on a real API server: who works, and who takes over when
 * a leader is killed, stopped, cut off or frozen. The times are those that the Lease itself tells.
 */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from '@jest/globals';
import { handOverSeconds, leaseTimes } from '../../src/controller/lease.ts';
import { Network } from '../support/network.ts';
import { metric, type Operator, type OperatorOptions } from '../support/operator.ts';
import { closeGate, eventually, kubectl, operatorFor, place, podOf, useCluster, type Place } from '../support/place.ts';
import { query } from '../support/postgres.ts';

useCluster();

const networks: Network[] = [];
afterAll(async () => {
  for (const network of networks) await network.close();
});

interface Lease {
  readonly holder: string;
  readonly acquiredAt: number;
  readonly renewedAt: number;
  readonly durationSeconds: number;
  readonly transitions: number;
}

async function leaseIn(here: Place, name = 'migration-target'): Promise<Lease> {
  const { spec } = JSON.parse(await here.kubectl(['get', 'lease', name, '-o', 'json'])) as {
    readonly spec: Readonly<Record<string, string>>;
  };
  return {
    holder: spec['holderIdentity'] ?? '',
    acquiredAt: Date.parse(spec['acquireTime'] ?? ''),
    renewedAt: Date.parse(spec['renewTime'] ?? ''),
    durationSeconds: Number(spec['leaseDurationSeconds']),
    transitions: Number(spec['leaseTransitions']),
  };
}

const elected = (here: Place, identity: string, more: Partial<OperatorOptions> = {}): Promise<Operator> =>
  operatorFor(here, { ...more, args: ['--leader-elect', '--identity', identity] });

const says = ({ log }: Operator, message: RegExp): boolean => log().some(({ msg }) => message.test(msg));
const leads = (operator: Operator): Promise<void> =>
  eventually('it leads', () => Promise.resolve(says(operator, /^Leading$/)));
const standsBy = (operator: Operator): Promise<void> =>
  eventually('it stands by', () => Promise.resolve(says(operator, /^Standing by: /)));
const timeOf = ({ log }: Operator, message: RegExp): number =>
  Date.parse(String(log().find(({ msg }) => message.test(msg))?.['time']));
const status = (operator: Operator): Promise<number | null> =>
  metric(operator, 'leader_election_master_status', { name: 'migration-target' });

async function pair(here: Place, first: Partial<OperatorOptions> = {}): Promise<readonly [Operator, Operator]> {
  const leader = await elected(here, 'first', first);
  await leads(leader);
  const other = await elected(here, 'second');
  await standsBy(other);
  return [leader, other];
}

/** Nobody renewed for so long that another took over, and no longer. */
async function expectHandedOver(here: Place, before: Lease): Promise<void> {
  const after = await leaseIn(here);
  expect(after).toMatchObject({ holder: 'second', durationSeconds: 15, transitions: before.transitions + 1 });
  const seconds = (after.acquiredAt - before.renewedAt) / 1000;
  expect(seconds).toBeGreaterThanOrEqual(leaseTimes.durationSeconds);
  expect(seconds).toBeLessThanOrEqual(20);
}

describe('of two controllers', () => {
  test('one works; the other is alive and ready, counts no target, and takes over at once where the first is stopped', async () => {
    const here = await place();
    const [first, second] = await pair(here);
    await here.apply('unicorn', 'a1');
    await here.wait('unicorn', 'condition=Ready');

    for (const path of ['healthz', 'readyz']) expect((await fetch(`${second.url}/${path}`)).status).toBe(200);
    expect([await status(first), await status(second)]).toEqual([1, 0]);
    expect(await metric(first, 'migrationtarget_condition', { type: 'Ready', status: 'True' })).toBe(1);
    expect(await metric(second, 'migrationtarget_condition')).toBeNull();
    expect(says(second, /^Standing by: first leads$/)).toBe(true);
    const before = await leaseIn(here);
    expect(before).toMatchObject({ holder: 'first', transitions: 0 });

    first.kill('SIGTERM');
    expect(await first.ended).toBe(0);
    await leads(second);
    const after = await leaseIn(here);
    expect(after).toMatchObject({ holder: 'second', transitions: 1 });
    // It did not have to run out.
    expect((after.acquiredAt - before.renewedAt) / 1000).toBeLessThan(leaseTimes.durationSeconds);
    await here.patch('unicorn', { revision: 'a2' });
    await here.wait('unicorn', 'jsonpath={.status.currentRevision}=a2');
    expect(await status(second)).toBe(1);
    const events = await here.kubectl(['events', '--for', 'lease/migration-target']);
    expect(events).toMatch(/LeaderElection .*first became leader/);
    expect(events).toMatch(/LeaderElection .*first stopped leading/);
    expect(events).toMatch(/LeaderElection .*second became leader/);
  });

  test('one is killed in the middle of a migration: the other takes over within 20 s, and finishes what was begun', async () => {
    expect(handOverSeconds(leaseTimes)).toBeLessThanOrEqual(20);
    const here = await place();
    const closed = await closeGate(here);
    const [first, second] = await pair(here);
    await here.apply('unicorn', 'a2');
    await closed.reached();
    const { status: under } = await here.target('unicorn');
    expect(under?.operation).toMatchObject({ step: 'change' });

    first.kill('SIGKILL');
    await first.ended;
    const before = await leaseIn(here);
    await closed.open();
    await here.wait('unicorn', 'condition=Ready');

    await expectHandedOver(here, before);
    expect(says(second, /^Leading$/)).toBe(true);
    expect((await here.target('unicorn')).status).toMatchObject({
      operation: null,
      currentRevision: 'a2',
      history: [{ operationId: under?.operation?.id, result: 'success' }],
    });
    expect(await query(here.database.adminUrl, 'SELECT count(*)::int AS n FROM users')).toEqual([{ n: 100 }]);
  });

  test('one is stopped in the middle of a migration: it leads until that is done, and the other begins after', async () => {
    const here = await place();
    const closed = await closeGate(here);
    const [first, second] = await pair(here);
    await here.apply('unicorn', 'a2');
    await closed.reached();
    first.kill('SIGTERM');
    await eventually('it is no longer ready', async () => (await fetch(`${first.url}/readyz`)).status === 503);
    const { renewedAt } = await leaseIn(here);
    await eventually('it renews while it stops', async () => (await leaseIn(here)).renewedAt > renewedAt);
    expect(says(second, /^Leading$/)).toBe(false);

    await closed.open();
    expect(await first.ended).toBe(0);
    await leads(second);
    expect(timeOf(second, /^Leading$/)).toBeGreaterThanOrEqual(timeOf(first, /^Stopped/));
    await here.wait('unicorn', 'condition=Ready');
    expect((await here.target('unicorn')).status?.history).toHaveLength(1);
  });

  test('one is cut off from the API server: it has ended, with 1, before the other begins, which finishes its work', async () => {
    const here = await place();
    const closed = await closeGate(here);
    const network = new Network(new URL(here.server.url));
    networks.push(network);
    const config = await kubectl(['config', 'view', '--raw', '--flatten', '-o', 'json']);
    const kubeconfig = join(here.dir, 'kubeconfig');
    await writeFile(kubeconfig, config.replaceAll(here.server.url, await network.listen()), { mode: 0o600 });
    const [first, second] = await pair(here, { kubeconfig });
    await here.apply('unicorn', 'a2');
    await closed.reached();

    network.swallow();
    const before = await leaseIn(here);
    expect(await first.ended).toBe(1);
    const hadBegun = says(second, /^Leading$/);
    expect(hadBegun).toBe(false);
    expect(first.log().at(-1)).toMatchObject({
      level: 'error',
      msg: expect.stringMatching(/^No longer leading: .*kubectl -n \S+ get lease migration-target$/),
    });
    await closed.open();
    await here.wait('unicorn', 'condition=Ready');
    await expectHandedOver(here, before);
    expect(await here.version()).toBe('a2');
    expect((await here.target('unicorn')).status).toMatchObject({ history: [{ result: 'success' }] });
  });

  test('one is frozen in the middle of a migration: the other waits for its lock, and the first ends once it is thawed', async () => {
    const here = await place();
    const closed = await closeGate(here);
    const [first, second] = await pair(here);
    await here.apply('unicorn', 'a2');
    await closed.reached();
    const { status: under } = await here.target('unicorn');

    first.kill('SIGSTOP');
    const before = await leaseIn(here);
    await leads(second);
    await expectHandedOver(here, before);
    await eventually('it finds the lock held', () =>
      Promise.resolve(second.log().some(({ msg }) => /hold|lock/i.test(msg) && /tried again/.test(msg))),
    );
    expect(await query(here.database.adminUrl, "SELECT to_regclass('users') AS users")).toEqual([{ users: null }]);

    first.kill('SIGCONT');
    expect(await first.ended).toBe(1);
    await closed.open();
    await here.wait('unicorn', 'condition=Ready');
    expect(await here.version()).toBe('a2');
    const { history } = (await here.target('unicorn')).status ?? {};
    expect(history).toMatchObject([{ operationId: under?.operation?.id, result: 'success' }]);
  });
});

test('controllers with Leases of their own share a target all the same: what each database is locked with keeps them apart', async () => {
  const here = await place();
  const closed = await closeGate(here);
  const lease = (name: string): Partial<OperatorOptions> => ({ args: ['--leader-elect', '--lease-name', name] });
  const [one, other] = await Promise.all([operatorFor(here, lease('one')), operatorFor(here, lease('other'))]);
  await Promise.all([leads(one), leads(other)]);
  await here.apply('unicorn', 'a2');
  await closed.reached();
  await eventually('one of them finds the lock held', () =>
    Promise.resolve([one, other].some(({ log }) => log().some(({ msg }) => /tried again/.test(msg)))),
  );
  await closed.open();
  await here.wait('unicorn', 'condition=Ready');
  expect((await here.target('unicorn')).status?.history).toHaveLength(1);
  expect((await leaseIn(here, 'one')).holder).not.toBe((await leaseIn(here, 'other')).holder);
});

test('in a pod a leader is elected though nobody says so, in the pod’s own namespace', async () => {
  const [here, there] = [await place(), await place()];
  const pod = await podOf(here);
  const bind = ['create', 'rolebinding', 'controller', '--clusterrole=cluster-admin'];
  await there.kubectl([...bind, `--serviceaccount=${here.ns}:controller`]);
  const operator = await operatorFor(here, { pod, args: ['--allow=process,directory', '-n', there.ns] });
  await leads(operator);
  expect((await leaseIn(here)).holder).toMatch(/^[\w.-]+_[0-9a-f-]{36}$/);
  expect(await there.kubectl(['get', 'leases', '-o', 'name'])).toBe('');
  // It watches the namespace that it was told, and only that.
  await Promise.all([here.apply('unicorn', 'a1'), there.apply('unicorn', 'a1')]);
  await there.wait('unicorn', 'condition=Ready');
  expect((await here.target('unicorn')).status?.observedGeneration).toBe(-1);
});
