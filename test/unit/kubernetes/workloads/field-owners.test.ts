import { describe, expect, test } from '@jest/globals';
import { howToHold, lastSetBy } from '../../../../src/adapters/kubernetes/workloads/field-owners.ts';

const entry = (manager: string, time: string, spec: object, operation = 'Update') => ({
  manager,
  operation,
  time,
  fieldsV1: { 'f:spec': spec },
});

describe('who set spec.replicas', () => {
  test('is the newest that has the field, and not this program', () => {
    const all = [
      entry('argocd-controller', '2026-01-01T00:00:03Z', { 'f:replicas': {} }, 'Apply'),
      entry('kubectl', '2026-01-01T00:00:02Z', { 'f:replicas': {} }),
      entry('kube-controller-manager', '2026-01-01T00:00:05Z', { 'f:template': {} }),
      entry('migration-target', '2026-01-01T00:00:09Z', { 'f:replicas': {} }),
    ];
    expect(lastSetBy(all, 'replicas')).toBe('argocd-controller');
    expect(lastSetBy(all.slice(1), 'replicas')).toBe('kubectl');
    expect(lastSetBy(all.slice(2), 'replicas')).toBeNull();
    expect(lastSetBy(all, 'suspend')).toBeNull();
  });

  test.each([[undefined], [null], ['f:spec'], [{ 'f:spec': null }]])('is not told by fields such as %j', (fieldsV1) => {
    expect(lastSetBy([{ manager: 'a', operation: 'Update', fieldsV1 }], 'replicas')).toBeNull();
  });
});

describe('who scales up again is told how to leave it alone:', () => {
  test.each([
    ['argocd-controller', /ignoreDifferences .*RespectIgnoreDifferences=true/],
    ['kustomize-controller', /out of what Flux applies.*flux suspend kustomization/],
    ['helm-controller', /driftDetection\.ignore/],
    ['keda', /paused-replicas/],
    ['kube-controller-manager', /autoscaler.*kubectl get hpa/],
    ['somebody', /^See who that is: kubectl get x --show-managed-fields/],
    [null, /^See who that is/],
  ])('%s', (manager, expected) => {
    expect(howToHold(manager, 'kubectl get x')).toMatch(expected);
  });
});
