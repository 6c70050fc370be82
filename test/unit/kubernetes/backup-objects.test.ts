import { describe, expect, test } from '@jest/globals';
import { objectName } from '../../../src/adapters/kubernetes/backup-objects.ts';
import { newBackupId } from '../../../src/adapters/storage/backup-id.ts';
import { dnsName } from '../../../src/api/metadata.ts';

const at = new Date('2026-01-02T03:04:05Z');

describe('the object that shows a backup', () => {
  test('is named as the backup, without its namespace and in lower case', () => {
    const id = 'ops-center.unicorn-db-20260102T030405Z-57a1c6';
    expect(objectName({ namespace: 'ops-center', name: 'unicorn-db' }, id)).toBe('unicorn-db-20260102t030405z-57a1c6');
  });

  test.each(['a', 'a'.repeat(39), 'a'.repeat(40), 'a'.repeat(63), `${'a'.repeat(29)}.${'b'.repeat(33)}`, 'a.b-c.d'])(
    'has a name that an object may have, and another one for each backup: %s',
    (name) => {
      const target = { namespace: 'n'.repeat(63), name };
      const names = [1, 2, 3].map(() => objectName(target, newBackupId(target, at)));
      expect(new Set(names).size).toBe(3);
      for (const one of names) expect(dnsName.safeParse(one).error?.message ?? '').toBe('');
    },
  );
});
