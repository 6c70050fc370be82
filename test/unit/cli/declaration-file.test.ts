import { expect, test } from '@jest/globals';
import { parse } from 'yaml';

import { withRevisions } from '../../../src/cli/declaration-file.ts';

const text = `# of the unicorn team
kind: MigrationTarget
spec:
  revision: 4f1c2d9ab0e7 # the head
  # where it is
  database: {versionTable: v}
`;

test('another revision is written in quotes, and comments and order stay', () => {
  expect(withRevisions(text, ['0123'])).toBe(text.replace('4f1c2d9ab0e7 #', '"0123" #'));
});

test('no revision is base', () => {
  expect(parse(withRevisions(text, []))).toMatchObject({ spec: { revision: 'base' } });
});

test('several heads take the place of the one revision, and the other way round', () => {
  const several = withRevisions(text, ['a1', '0456']);
  expect(several).toContain('"0456"');
  expect(parse(several)).toEqual({
    kind: 'MigrationTarget',
    spec: { revisions: ['a1', '0456'], database: { versionTable: 'v' } },
  });
  expect(parse(withRevisions(several, ['a1']))).toEqual({
    kind: 'MigrationTarget',
    spec: { revision: 'a1', database: { versionTable: 'v' } },
  });
});

test('what has no spec is refused', () => {
  expect(() => withRevisions('kind: MigrationTarget', ['a'])).toThrow('no spec');
});
