import type { Command } from 'commander';
import type { Context } from '../context.ts';
import type { ExitCode } from '../exit-codes.ts';
import type { Invoke } from '../invoke.ts';

export interface CheckOptions {
  readonly file?: string;
  readonly workingDir?: string;
  readonly config?: string;
  readonly python?: string;
  readonly databaseUrlEnv?: string;
  readonly driver?: string;
  readonly server?: string;
  readonly since?: string;
  readonly sample?: string;
  readonly timeout?: string;
  readonly markdown?: boolean;
  readonly strict?: boolean;
}

export function addCheck(program: Command, invoke: Invoke): void {
  program
    .command('check')
    .summary('try new migrations before they are ever applied; for pipelines')
    .description(
      'Runs each new migration up, down and up again in scratch databases of a server that holds nothing live, and says what fails, what downgrade() does not take back, what is lost of a data sample, and which locks are held on tables that were there before. No target has to be declared. Ends with 1 where a migration fails or cannot be taken back; with --strict also where a downgrade is pass, the schema is another one afterwards, or data is lost.',
    )
    .option('-f, --file <FILE>', 'a MigrationTarget, whose spec.alembic and version table are used')
    .option(
      '--working-dir <DIR>',
      'the folder that alembic is run in; left out: that of the declaration, else this one',
    )
    .option('--config <FILE>', "alembic's configuration file, relative to that folder; left out: alembic.ini")
    .option('--python <PROGRAM>', 'the interpreter that alembic is installed for; left out: python3')
    .option('--database-url-env <NAME>', 'the variable in which env.py looks for the URL; left out: DATABASE_URL')
    .option('--driver <SCHEME>', "the URL's scheme as env.py wants it, e.g. postgresql+asyncpg")
    .option(
      '--server <URL>',
      'a PostgreSQL where databases may be created, and nothing is live; better, since others see arguments: the variable MIGRATION_TARGET_CHECK_SERVER',
    )
    .option(
      '--since <REVISION>',
      'what is not below it is new, e.g. the head of the main branch; base: everything; left out: the heads alone',
    )
    .option('--sample <FILE>', 'plain SQL with rows to try it on, loaded at the revision before the first new one')
    .option('--timeout <DURATION>', 'how long all of it may take', '30m')
    .option('--markdown', 'write Markdown, fit for a comment on a pull request')
    .option('--strict', 'warnings are errors')
    .action((options: CheckOptions, command: Command) =>
      invoke(command, null, async (context: Context): Promise<ExitCode> => {
        const { check } = await import('../check-here.ts');
        return check(context, options);
      }),
    );
}
