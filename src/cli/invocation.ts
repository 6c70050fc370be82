/** How this program has to be called again, so that the commands that messages name can be copied. Pure. */
import { basename } from 'node:path';

/** What of the options decides which home the next command reaches. */
export interface HomeOptions {
  readonly dir?: string;
  readonly kubeconfig?: string;
  readonly context?: string;
  readonly namespace?: string;
}

/** What people call the program: kubectl finds it as a plugin under a name with an underscore. */
export function programName(path: string | undefined, env: Readonly<Record<string, string | undefined>>): string {
  if (path !== undefined && basename(path).startsWith('kubectl-migration_target')) return 'kubectl migration-target';
  return env['npm_command'] === 'exec' ? 'npx migration-target' : 'migration-target';
}

/** The program and the options that lead to the same home, e.g. `migration-target --dir ops`. */
export function invocationOf(
  path: string | undefined,
  env: Readonly<Record<string, string | undefined>>,
  options: HomeOptions,
): string {
  const flags = [
    ['--dir', options.dir],
    ['--kubeconfig', options.kubeconfig],
    ['--context', options.context],
    ['-n', options.namespace],
  ] as const;
  return [
    programName(path, env),
    ...flags.flatMap(([flag, value]) => (value === undefined ? [] : [flag, quoted(value)])),
  ].join(' ');
}

const commands =
  'plan|apply|approve|run|status|history|watch|wait|backup|backups|restore|suspend|resume|reconcile|doctor|identify|check';
const inMessage = new RegExp(`(?:\\bnpx )?\\bmigration-target (?=(?:${commands})\\b)([^.;,]*)`, 'g');

/** Commands to be copied out of a message, each up to the punctuation after it: ours anywhere, others' after a colon. */
export const commandInText = new RegExp(
  String.raw`(?:(?:npx |kubectl )?\bmigration-target (?=-|(?:${commands})\b)|(?<=: )(?:kubectl|alembic|flask|ls|rm|mv|chown|createdb|export|ALTER|GRANT) )` +
    String.raw`\S.*?(?=[.;,)]? \(|[.;,)] |[.;,)]?$)`,
  'g',
);

/** A message in which `migration-target status NAME` says what has to be typed here. */
export function nameCommands(message: string, invocation: string, name: string | undefined): string {
  return message.replaceAll(inMessage, (_, rest: string) => {
    const program = rest.includes('--dir ') ? (invocation.split(' --')[0] ?? invocation) : invocation;
    return `${program} ${name === undefined ? rest : rest.replaceAll(/\bNAME\b/g, name)}`;
  });
}

const quoted = (value: string): string =>
  /^[\w./:@%+=-]+$/.test(value) ? value : `'${value.replaceAll("'", String.raw`'\''`)}'`;
