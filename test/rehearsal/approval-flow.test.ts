/** A downgrade that loses data, in a cluster: it waits, somebody who may approves, it goes on. As people type it. */
import { describe, expect, test } from '@jest/globals';

import { condition, operatorFor, place, useCluster } from '../support/place.ts';
import { threeSteps } from '../support/scene.ts';

useCluster();

const policy = { rehearsal: 'Always', dataLoss: 'RequireApproval' };

describe('a downgrade that would lose data', () => {
  test('waits with what it would lose, is approved with kubectl, and is carried out', async () => {
    const at = await place(threeSteps);
    await at.apply('unicorn', 'a3', { policy });
    await operatorFor(at);
    await at.wait('unicorn', 'condition=Ready');
    await at.patch('unicorn', { revision: 'a1' });
    await at.wait('unicorn', 'condition=ApprovalRequired');

    const waiting = await at.target('unicorn');
    expect(condition(waiting, 'Ready')).toMatchObject({ status: 'False', reason: 'ApprovalRequired' });
    expect(condition(waiting, 'Reconciling')).toMatchObject({ status: 'False' });
    expect(condition(waiting, 'Stalled')).toMatchObject({ status: 'False' });
    expect(condition(waiting, 'Rehearsed')).toMatchObject({ status: 'True', reason: 'RehearsalPassed' });
    expect(waiting.status?.plan?.loss).toMatchObject({ measured: true, rows: 1000 });
    expect(await at.version()).toBe('a3');
    const described = await at.kubectl(['describe', 'mtgt', 'unicorn']);
    expect(described).toMatch(/would lose data: 1,000 rows in 1 table: public\.users/);

    const digest = waiting.status?.plan?.digest ?? '';
    const approval = {
      apiVersion: 'migrationtarget.dev/v1alpha1',
      kind: 'MigrationApproval',
      metadata: { name: 'yes' },
      spec: { targetRef: { name: 'unicorn' }, planDigest: digest, maxRowLoss: 1000, approvedBy: 'admin' },
    };
    await at.kubectl(['create', '-f', '-'], JSON.stringify(approval));
    await at.wait('unicorn', 'condition=Ready');
    expect(await at.version()).toBe('a1');
    const used = JSON.parse(await at.kubectl(['get', 'migrationapproval', 'yes', '-o', 'json'])) as {
      status: { usedBy: string };
    };
    expect(used.status.usedBy).toBe((await at.target('unicorn')).status?.history[0]?.operationId);
  });

  test('is approved by the command, and one of the target’s namesake elsewhere counts for nothing', async () => {
    const [at, elsewhere] = [await place(threeSteps), await place(threeSteps)];
    for (const one of [at, elsewhere]) {
      await one.apply('unicorn', 'a3', { policy });
      await operatorFor(one);
      await one.wait('unicorn', 'condition=Ready');
      await one.patch('unicorn', { revision: 'a1' });
      await one.wait('unicorn', 'condition=ApprovalRequired');
    }
    const [mine, theirs] = [await at.target('unicorn'), await elsewhere.target('unicorn')];
    expect(mine.status?.plan?.digest).not.toBe(theirs.status?.plan?.digest);
    const refused = await at.command('approve', 'unicorn', '--plan', theirs.status?.plan?.digest ?? '');
    expect(refused).toMatchObject({ code: 1 });
    const approved = await at.command('approve', 'unicorn', '--plan', mine.status?.plan?.digest ?? '');
    expect(approved).toMatchObject({ code: 0 });
    await at.wait('unicorn', 'condition=Ready');
    expect(await at.version()).toBe('a1');
    expect(await elsewhere.version()).toBe('a3');
    expect(condition(await elsewhere.target('unicorn'), 'ApprovalRequired')).toMatchObject({ status: 'True' });
  });
});
