import { expect, test } from '@jest/globals';

import { invocationOf, nameCommands, programName } from '../../../src/cli/invocation.ts';

test.each([
  ['/usr/bin/migration-target', {}, 'migration-target'],
  ['/usr/local/bin/kubectl-migration_target', {}, 'kubectl migration-target'],
  ['/x/node_modules/.bin/migration-target', { npm_command: 'exec' }, 'npx migration-target'],
  [undefined, {}, 'migration-target'],
])('the program %s calls itself as it was called', (path, env, name) => {
  expect(programName(path, env)).toBe(name);
});

test('the next command leads to the same home, with what a shell would take apart in quotes', () => {
  expect(invocationOf('migration-target', {}, { dir: 'ops', namespace: 'a' })).toBe('migration-target --dir ops -n a');
  expect(invocationOf('migration-target', {}, { dir: "it's here" })).toBe(
    String.raw`migration-target --dir 'it'\''s here'`,
  );
});

test.each([
  ['See: migration-target status NAME', 'See: mt --dir d status unicorn'],
  ['then: migration-target reconcile unicorn. Or not', 'then: mt --dir d reconcile unicorn. Or not'],
  ['To declare: migration-target apply -f FILE --dir /x', 'To declare: mt apply -f FILE --dir /x'],
  ['migration-target is a program', 'migration-target is a program'],
])('a message that says "%s" says what has to be typed here', (message, said) => {
  expect(nameCommands(message, 'mt --dir d', 'unicorn')).toBe(said);
});
