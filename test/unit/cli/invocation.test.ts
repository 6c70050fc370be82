import { expect, test } from '@jest/globals';

import { commandInText, invocationOf, nameCommands, programName } from '../../../src/cli/invocation.ts';
import { createProgram } from '../../../src/cli/program.ts';

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

test('every command that people type is known in a message, and kept in one piece', () => {
  const { commands } = createProgram('migration-target', '0', () => Promise.resolve());
  // The last is started by the controller alone.
  const typed = commands.map((command) => command.name()).filter((name) => name !== 'serve-volume');
  expect(typed).toContain('approve');
  for (const name of typed) {
    const command = `migration-target ${name} unicorn --plan a1 --max-row-loss 60000`;
    const message = `To go on: ${command}; to take it back: declare a2`;
    expect(message.match(commandInText)).toEqual([command]);
    expect(nameCommands(message, 'mt --dir d', 'unicorn')).toContain(`mt --dir d ${name} unicorn`);
  }
});
