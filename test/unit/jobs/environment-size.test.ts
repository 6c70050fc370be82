import { describe, expect, test } from '@jest/globals';

import { podOf, podTemplate, shapeOf } from '../../../src/adapters/jobs/pod-template.ts';

const mostOfOne = 131_072;

/** What becomes of a pod with these variables, declared in its Deployment and over it. */
function refusal(inDeployment: readonly object[], over: readonly object[] = []): string {
  const templateOf = (env: readonly object[]) =>
    podTemplate.parse({ spec: { containers: [{ image: 'r/ops:2', env }] } });
  const deployment = { name: 'ops', container: undefined, template: templateOf(inDeployment) };
  const shape = shapeOf({ image: undefined, template: templateOf(over) }, deployment);
  try {
    podOf(shape, { command: ['python3'], env: { PGAPPNAME: 'x' } }, {});
    return '';
  } catch (thrown) {
    return String(thrown);
  }
}
/** As many bytes, with all that belongs to it. */
const variable = (name: string, bytes: number, letter = 'x') => ({
  name,
  value: letter.repeat((bytes - name.length - 2) / Buffer.byteLength(letter)),
});

describe('variables that Linux would start no program with', () => {
  test('are told before there is a Job, by name and size', () => {
    expect(refusal([variable('LARGE', mostOfOne)])).toBe('');
    expect(refusal([variable('LARGE', mostOfOne + 1)])).toMatch(
      /The variable LARGE has 131,073 bytes, and Linux starts no program with one of more than 131,072\. .*reconcile NAME$/,
    );
    expect(refusal([], [variable('UMLAUTS', mostOfOne + 1, 'ü')])).toMatch(/UMLAUTS has 131,073 bytes/);
    expect(refusal([variable('LARGE', mostOfOne + 1)])).not.toContain('xx');
  });

  test('are told where all of them together are too large', () => {
    const many = (count: number) => Array.from({ length: count }, (_, n) => variable(`V${n + 10}`, mostOfOne));
    expect(refusal(many(15))).toBe('');
    expect(refusal(many(8), many(16).slice(8))).toMatch(
      /The 17 variables have 2,097,164 bytes, .* more than 2,097,152; the largest is V\d+, with 131,072\./,
    );
  });

  test('count once where one is declared over another, and not where nobody knows them here', () => {
    expect(refusal([variable('LARGE', mostOfOne + 1)], [{ name: 'LARGE', value: 'small' }])).toBe('');
    expect(refusal([{ name: 'URL', valueFrom: { secretKeyRef: { name: 'db', key: 'url' } } }])).toBe('');
  });
});
