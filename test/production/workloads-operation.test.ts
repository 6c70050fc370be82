/**
 * A whole operation around the workloads of a cluster: the program as a process of its own, a real database, a real API
 * server. Controllers are played (test/support/workloads.ts); with real ones it is test/cluster/workloads.test.ts.
 */
import { describe, expect, test } from '@jest/globals';
import { closeGate, condition, operatorFor, place, useCluster, afterwards, type Place } from '../support/place.ts';
import { workloadScene, type WorkloadScene } from '../support/workloads.ts';

useCluster();

const application = {
  workloads: [
    { kind: 'Deployment', name: 'web' },
    { kind: 'StatefulSet', name: 'queue' },
    { kind: 'CronJob', name: 'nightly' },
  ],
};

/** At a1, with an application of all three kinds. */
async function stage(): Promise<{ readonly here: Place; readonly scene: WorkloadScene }> {
  const here = await place();
  const scene = await workloadScene(here.server, { ns: here.ns });
  afterwards(async () => scene[Symbol.asyncDispose]());
  for (const { kind, name } of application.workloads) await scene.apply(scene.manifest(kind as 'CronJob', name));
  return { here, scene };
}

const levels = async (scene: WorkloadScene) => ({
  web: (await scene.get('Deployment', 'web')).spec.replicas,
  queue: (await scene.get('StatefulSet', 'queue')).spec.replicas,
  nightly: (await scene.get('CronJob', 'nightly')).spec.suspend,
});
const up = { web: 3, queue: 3, nightly: false };
const down = { web: 0, queue: 0, nightly: true };

describe('the workloads of a cluster', () => {
  test('stay stopped while the database changes, whoever kills the controller, and run again once it is verified', async () => {
    const { here, scene } = await stage();
    const gate = await closeGate(here);
    await using first = await operatorFor(here);
    await here.apply('unicorn', 'a2', { application });
    await gate.reached();
    expect(await levels(scene)).toEqual(down);
    expect((await scene.get('Deployment', 'web')).metadata.annotations).toMatchObject({
      'migrationtarget.dev/stoppedBy': 'unicorn',
      'migrationtarget.dev/replicasBefore': '3',
    });
    expect(condition(await here.target('unicorn'), 'ApplicationHealthy')).toMatchObject({
      status: 'False',
      reason: 'ApplicationStopped',
      message: expect.stringMatching(/^nightly, web, queue are stopped since /),
    });
    first.kill('SIGKILL');
    await first.ended;
    expect(await levels(scene)).toEqual(down);

    await operatorFor(here);
    await gate.open();
    await here.wait('unicorn', 'condition=Ready');
    expect(await here.version()).toBe('a2');
    expect(await levels(scene)).toEqual(up);
    const { metadata } = await scene.get('Deployment', 'web');
    expect(Object.keys(metadata.annotations ?? {}).filter((key) => key.startsWith('migrationtarget.dev'))).toEqual([]);
    expect(metadata.managedFields.map(({ manager }) => manager)).not.toContain('migration-target');
    expect(condition(await here.target('unicorn'), 'ApplicationHealthy')).toMatchObject({ status: 'True' });
  });

  test('are not stopped at all where one of them can’t be; doctor says so before, and the target which', async () => {
    const { here, scene } = await stage();
    await scene.patch('StatefulSet', 'queue', {
      spec: { persistentVolumeClaimRetentionPolicy: { whenScaled: 'Delete' } },
    });
    await here.apply('unicorn', 'a1', { application });
    const doctor = await here.command('doctor', 'unicorn');
    expect(doctor.code).toBe(1);
    expect(doctor.stdout).toMatch(/application .*The StatefulSet \S+\/queue .* would delete its volumes/);
    await operatorFor(here);
    await here.wait('unicorn', 'condition=Stalled');
    expect(condition(await here.target('unicorn'), 'Stalled')).toMatchObject({
      reason: 'WorkloadNotStopped',
      message: expect.stringMatching(/queue .* would delete its volumes.*migration-target reconcile unicorn/),
    });
    expect(await levels(scene)).toEqual(up);
  });

  test('that are missing are told by doctor, and by the target, with the command that shows those that there are', async () => {
    const { here } = await stage();
    await here.apply('unicorn', 'a1', { application: { workloads: [{ kind: 'Deployment', name: 'wbe' }] } });
    const doctor = await here.command('doctor', 'unicorn');
    expect(doctor.stdout).toMatch(/application .*The Deployment \S+\/wbe .* does not exist\. .*get deployments/);
    await operatorFor(here);
    await here.wait('unicorn', 'condition=Stalled');
    expect(condition(await here.target('unicorn'), 'Stalled')).toMatchObject({ reason: 'WorkloadNotFound' });
    expect(await here.kubectl(['get', 'deployment', 'web', '-o', 'jsonpath={.spec.replicas}'])).toBe('3');
  });

  test('that somebody scaled up meanwhile are left as they are, and the operation says who it was', async () => {
    const { here, scene } = await stage();
    const gate = await closeGate(here);
    await operatorFor(here);
    await here.apply('unicorn', 'a2', { application });
    await gate.reached();
    await scene.apply(
      scene.manifest('Deployment', 'web', { replicas: 2 }),
      '--force-conflicts',
      '--field-manager=argocd-controller',
    );
    await gate.open();
    await here.wait('unicorn', 'condition=Ready');
    expect(await levels(scene)).toEqual({ ...up, web: 2 });
    const { status } = await here.target('unicorn');
    expect(JSON.stringify(status?.history[0])).toMatch(
      /web .* was scaled to 2 by argocd-controller while it was to be stopped.*RespectIgnoreDifferences/,
    );
  });
});
