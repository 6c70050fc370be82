/** docs/reference/cli.md: what `--help` says of each command, in one place. */
import type { Command } from 'commander';
import { createProgram } from '../../src/cli/program.ts';

export const cliReferenceFile = 'docs/reference/cli.md';

const columns = 100;

export function cliReference(): string {
  const program = createProgram('migration-target', '0.0.0', async () => {});
  const sections = [program, ...visible(program).flatMap(withSubcommands)].map(section);
  return `# Command line

Written by \`node scripts/generate.ts\` from the program's own help.

In a cluster the same commands are there as \`kubectl migration-target …\`, where \`kubectl-migration_target\` is on the PATH.

${sections.join('\n')}`;
}

/** Without those that are for the program itself. */
function visible(command: Command): readonly Command[] {
  const shown = command.createHelp().visibleCommands(command);
  return command.commands.filter((below) => shown.includes(below));
}

const withSubcommands = (command: Command): readonly Command[] => [
  command,
  ...visible(command).flatMap(withSubcommands),
];

function section(command: Command): string {
  const isProgram = command.parent === null;
  command.configureHelp({ helpWidth: columns, showGlobalOptions: false, sortSubcommands: false });
  const text: string[] = [];
  command.configureOutput({ writeOut: (piece) => void text.push(piece) });
  command.outputHelp();
  const title = isProgram ? 'migration-target' : pathOf(command);
  return `## ${title}\n\n\`\`\`\n${text.join('').trimEnd()}\n\`\`\`\n`;
}

const pathOf = (command: Command): string =>
  command.parent === null || command.parent.parent === null
    ? command.name()
    : `${pathOf(command.parent)} ${command.name()}`;
