import { describe, expect, test } from '@jest/globals';
import {
  describeLog,
  isError,
  isLeft,
  isResumeDue,
  isStopped,
  isToBeStopped,
} from '../../../src/rollback/application.ts';
import type { ApplicationRecord, Operation, WorkloadBefore } from '../../../src/rollback/model.ts';
import { targetWith } from './targets.ts';

const workload: WorkloadBefore = {
  kind: 'Container',
  name: 'ops-center-direct',
  id: 'c1',
  running: true,
  startsAfter: [],
  settings: {},
};
const record = (change: Partial<ApplicationRecord> = {}): ApplicationRecord => ({
  workloads: [workload],
  stoppedAt: '2026-01-01T00:00:00Z',
  resumedAt: null,
  downMs: null,
  health: null,
  log: [],
  ...change,
});
const operation = (change: Partial<Operation>): Operation =>
  ({
    plan: { kind: 'downgrade' },
    application: null,
    swapped: false,
    begun: false,
    failure: null,
    ...change,
  }) as Operation;
const workloads = [{ kind: 'Container', name: 'ops-center-direct' }];
const failure = { reason: 'DowngradeFailed', message: '', passing: false, committed: false } as const;

describe('the application is stopped', () => {
  test.each<[string, Readonly<Record<string, unknown>> | undefined, Partial<Operation>, boolean]>([
    ['before a change', { workloads }, {}, true],
    ['before a restore', { workloads }, { plan: { kind: 'restore' } as Operation['plan'] }, true],
    ['never for a backup', { workloads }, { plan: { kind: 'backup' } as Operation['plan'] }, false],
    ['never where it is kept', { workloads, during: 'Keep' }, {}, false],
    ['never where there is none', { workloads: [] }, {}, false],
    ['never where none is declared', undefined, {}, false],
    ['never twice', { workloads }, { application: record() }, false],
  ])('%s', (_, application, change, expected) => {
    expect(isToBeStopped(targetWith({ application }), operation(change))).toBe(expected);
  });
});

describe('the application is seen to at the end', () => {
  const healthCheck = { url: 'http://127.0.0.1:8084/' };
  test.each<[string, Readonly<Record<string, unknown>> | undefined, Partial<Operation>, boolean]>([
    ['where it was stopped, though nothing changed', { workloads }, { application: record(), failure }, true],
    ['where it was stopped, though it is declared no more', undefined, { application: record() }, true],
    ['not twice', { workloads }, { application: record({ resumedAt: 'now' }), failure }, false],
    ['where it ran on and the database changed', { workloads, during: 'Keep' }, { begun: true }, true],
    ['where a backup was swapped in', { workloads, during: 'Keep' }, { swapped: true, failure }, true],
    ['not where nothing changed', { workloads, during: 'Keep' }, { begun: true, failure }, false],
    ['where it is only to be asked', { healthCheck, after: 'None' }, { begun: true }, true],
    ['not where there is nothing to ask', { workloads: [], after: 'None' }, { begun: true }, false],
    ['not where none is declared', undefined, { begun: true }, false],
  ])('%s', (_, application, change, expected) => {
    expect(isResumeDue(targetWith({ application }), operation(change))).toBe(expected);
  });

  test('a journal of a version that knew no application has stopped none', () => {
    const { application: _, ...old } = operation({});
    expect(isStopped(old as Operation)).toBe(false);
  });

  test('after: None leaves stopped what was stopped for a change that went through, and only that', () => {
    const declared = targetWith({ application: { workloads, after: 'None' } }).spec.application;
    expect(isLeft(declared, operation({ begun: true }))).toBe(true);
    expect(isLeft(declared, operation({ begun: true, failure }))).toBe(false);
    // Back at the origin, by way of a swap.
    const restore = { goal: 'origin' } as Operation['restore'];
    expect(isLeft(declared, operation({ swapped: true, failure, restore }))).toBe(false);
  });
});

describe('the last lines', () => {
  const line = (text: string) => ({ workload: 'api', text });
  test.each([
    ['ERROR: relation "users" does not exist', true],
    ['Traceback (most recent call last):', true],
    ['sqlalchemy.exc.ProgrammingError: boom', true],
    ['FATAL:  the database system is starting up', true],
    ['GET /api/v1/system/status 200', false],
    ['terrorism and mirrors', false],
  ])('%s: an error: %s', (text, expected) => {
    expect(isError(line(text))).toBe(expected);
  });

  test('errors are told before anything else; nothing where there are none', () => {
    expect(describeLog({ log: [line('started'), line('ERROR: no'), line('waiting')] })).toBe(
      ' Its last errors: ✗ api: ERROR: no.',
    );
    expect(describeLog({ log: [line('started')] })).toBe(' Its last lines: api: started.');
    expect(describeLog({ log: [] })).toBe('');
  });
});
