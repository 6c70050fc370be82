import { expect, test } from '@jest/globals';

import { jobsOf, type Job, type Seen } from '../../../src/adapters/jobs/jobs.ts';

const job: Job = { name: 'unicorn-1', namespace: 'ops', uid: 'j', where: 'the Job ops/unicorn-1' };
const owner = { namespace: 'ops', name: 'unicorn', uid: 't' };
const pod = {
  metadata: { name: 'unicorn-1-a', uid: 'p', resourceVersion: '1' },
  status: { phase: 'Running', containerStatuses: [{ name: 'run', state: { running: {} } }] },
};

// No real API server loses a pod between a list and the watch that follows when it is told to.
test('a pod that went while nobody watched is gone, though its Job is there still', async () => {
  const lists = [[pod], []];
  const answers: Readonly<Record<string, unknown>> = {
    '/apis/batch/v1/namespaces/ops/jobs/unicorn-1': { metadata: { name: 'unicorn-1', uid: 'j' } },
    '/api/v1/namespaces/ops/events': { items: [] },
  };
  const client = {
    call: ({ path }: { readonly path: string }) =>
      Promise.resolve(
        path.endsWith('/pods')
          ? { metadata: { resourceVersion: '1' }, items: lists.length > 1 ? lists.shift() : lists[0] }
          : answers[path],
      ),
    insist: () => Promise.reject(new Error('nothing is changed')),
    // The server ends a watch from time to time.
    async *lines(): AsyncGenerator<unknown, void, undefined> {},
  };
  const stop = new AbortController();
  const seen: Pick<Seen, 'isGone'>[] = [];
  for await (const { pod: found, isGone } of jobsOf(client, owner, 'operation1').watch(job, stop.signal)) {
    seen.push({ isGone });
    if (found === null) break;
  }
  stop.abort();
  expect(seen).toEqual([{ isGone: false }, { isGone: true }]);
});
