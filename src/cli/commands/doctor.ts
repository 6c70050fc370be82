import type { Command } from 'commander';
import type { Context } from '../context.ts';
import { exitCodes, type ExitCode } from '../exit-codes.ts';
import { nameHelp } from '../help.ts';
import type { Invoke } from '../invoke.ts';

export function addDoctor(program: Command, invoke: Invoke): void {
  program
    .command('doctor')
    .summary('look at everything that a rollback would need')
    .description(
      'Looks, one line each, at what a rollback would need: declaration, secrets, connection, rights, version table, tools, lock, alembic, env.py, backup folder, free space, backups; and restores the schema of the newest backup into a scratch database. Each fault says how to mend it. Ends with 1 if a rollback would fail.',
    )
    .argument('[NAME]', nameHelp)
    .action((name: string | undefined, _options: unknown, command: Command) =>
      invoke(command, name ?? null, (context) => doctor(context, name)),
    );
}

async function doctor(context: Context, name: string | undefined): Promise<ExitCode> {
  const [{ examine }, { diagnose, hasFault }, { renderFindings }, { answer }, { listenForInterrupts, stopsSafely }] =
    await Promise.all([
      import('../../rollback/doctor.ts'),
      import('../../rollback/diagnosis.ts'),
      import('../render-findings.ts'),
      import('../output.ts'),
      import('../interrupts.ts'),
    ]);
  const target = await context.target(name);
  const called = target.metadata.name;
  using interrupts = listenForInterrupts((text) => context.output.notes.write(`${text}\n`), stopsSafely);
  const findings = diagnose(await examine(target, await context.ports(), interrupts.signal));
  const fails = hasFault(findings);
  await answer(context.output, {
    object: { target: called, wouldFail: fails, findings },
    names: findings.filter(({ level }) => level === 'fault').map(({ check }) => check),
    text: ({ screen }) => renderFindings(called, findings, { screen, say: (message) => context.say(message, called) }),
  });
  return fails ? exitCodes.error : exitCodes.done;
}
