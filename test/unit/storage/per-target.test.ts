import { describe, expect, test } from '@jest/globals';

import { perTarget } from '../../../src/adapters/storage/per-target.ts';

const [one, other] = [
  { namespace: 'ops', name: 'one' },
  { namespace: 'ops', name: 'other' },
];

function recorded() {
  const ended: string[] = [];
  let made = 0;
  const kept = perTarget<string>((what) => ended.push(what));
  return { kept, ended, keep: (target: typeof one, named: string) => kept.keep(target, named, () => `${(made += 1)}`) };
}

describe('what is kept of the storage of a target', () => {
  test('is the same from look to look, and each target has its own', () => {
    const { keep, ended } = recorded();
    expect([keep(one, 'a'), keep(other, 'a'), keep(one, 'a')]).toEqual(['1', '2', '1']);
    expect(ended).toEqual([]);
  });

  test('is let go of once it names another storage', () => {
    const { keep, kept, ended } = recorded();
    expect([keep(one, 'a'), keep(one, 'b'), keep(one, 'a')]).toEqual(['1', '2', '3']);
    expect(ended).toEqual(['1', '2']);
    expect(kept.all()).toEqual(['3']);
  });

  test('is let go of with the target, once', () => {
    const { keep, kept, ended } = recorded();
    keep(one, 'a');
    keep(other, 'a');
    kept.letGo(one);
    kept.letGo(one);
    expect(ended).toEqual(['1']);
    expect(kept.all()).toEqual(['2']);
  });
});
