import { expect, test } from '@jest/globals';
import { selectorText } from '../../../../src/adapters/kubernetes/workloads/selector.ts';

test.each([
  [{ matchLabels: { app: 'web', 'app.kubernetes.io/part-of': 'ops' } }, 'app=web,app.kubernetes.io/part-of=ops'],
  [{ matchExpressions: [{ key: 'tier', operator: 'In', values: ['a', 'b'] }] }, 'tier in (a,b)'],
  [
    {
      matchLabels: { app: 'web' },
      matchExpressions: [
        { key: 'tier', operator: 'NotIn', values: ['a'] },
        { key: 'x', operator: 'Exists' },
        { key: 'y', operator: 'DoesNotExist' },
      ],
    },
    'app=web,tier notin (a),x,!y',
  ],
])('%j selects %s', (selector, expected) => {
  expect(selectorText(selector)).toBe(expected);
});

test('an operator that is not known selects nothing by mistake', () => {
  expect(() => selectorText({ matchExpressions: [{ key: 'x', operator: 'Near' }] })).toThrow(/operator Near/);
});
