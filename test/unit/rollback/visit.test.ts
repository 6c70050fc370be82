import { describe, expect, test } from '@jest/globals';

import type { MigrationTarget } from '../../../src/api/target.ts';
import { requestedAt } from '../../../src/rollback/visit.ts';

const own = 'migrationtarget.dev/requestedAt';
const flux = 'reconcile.fluxcd.io/requestedAt';

describe('the request that counts', () => {
  test.each<[string, Readonly<Record<string, string>>, string | null]>([
    ['none where there is none', {}, null],
    ['none where it is empty', { [own]: '' }, null],
    ["Flux's where it is the only one", { [flux]: '2026-01-01T00:00:00Z' }, '2026-01-01T00:00:00Z'],
    [
      "Flux's where it is newer",
      { [own]: '2026-01-01T00:00:00Z', [flux]: '2026-01-02T00:00:00Z' },
      '2026-01-02T00:00:00Z',
    ],
    [
      'our own where it is newer',
      { [own]: '2026-01-03T00:00:00Z', [flux]: '2026-01-02T00:00:00Z' },
      '2026-01-03T00:00:00Z',
    ],
    ['our own where they cannot be compared', { [own]: '2026-01-03T00:00:00Z', [flux]: 'now' }, '2026-01-03T00:00:00Z'],
  ])('is %s', (_, annotations, counts) => {
    expect(requestedAt({ metadata: { annotations } } as MigrationTarget)).toBe(counts);
  });
});
