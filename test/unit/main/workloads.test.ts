import { expect, test } from '@jest/globals';
import { workloadsOf } from '../../../src/main/workloads.ts';
import type { WorkloadReference, Workloads } from '../../../src/rollback/ports.ts';

const none = (): never => {
  throw new Error('it was not to be asked');
};
const telling = (asked: string[], name: string) => async (): Promise<Workloads> =>
  ({ tryStop: async () => void asked.push(name), read: async () => [] }) as unknown as Workloads;

const before = (kind: WorkloadReference['kind']) =>
  ({ kind, name: 'a', id: 'a', running: true, startsAfter: [], settings: {} }) as const;

test('containers are asked of the engine, the others of the cluster', async () => {
  const asked: string[] = [];
  const workloads = workloadsOf({ docker: telling(asked, 'docker'), cluster: telling(asked, 'cluster') });
  await workloads.tryStop([before('Container')]);
  await workloads.tryStop([before('Deployment'), before('CronJob')]);
  expect(asked).toEqual(['docker', 'cluster']);
});

test('both at once are refused', async () => {
  const workloads = workloadsOf({ docker: none, cluster: none });
  await expect(workloads.stop([before('Container'), before('Deployment')], {} as never)).rejects.toThrow(
    /spec\.application\.workloads names containers and workloads of a cluster/,
  );
});

test('where nothing is declared neither is', async () => {
  const workloads = workloadsOf({ docker: none, cluster: none });
  expect(await workloads.read([])).toEqual([]);
  expect(await workloads.start([], new AbortController().signal)).toEqual({ gone: [], notes: [] });
  expect(await workloads.health([])).toMatchObject({ state: 'healthy' });
  expect(await workloads.log([], new Date())).toEqual([]);
});
