/** `restore` in the directory home; a plain file becomes a backup of the catalogue first. */
import { statusOf } from '../rollback/status.ts';
import { importBackup } from '../rollback/import-backup.ts';
import { formatRevisions } from '../rollback/compare.ts';
import type { MigrationTarget } from '../api/target.ts';
import { applyHere } from './apply-here.ts';
import type { Context } from './context.ts';
import { exitCodes, type ExitCode } from './exit-codes.ts';
import { listenForInterrupts, stopsSafely } from './interrupts.ts';
import { confirm } from './confirm.ts';
import { Problem } from './problem.ts';
import { showProgress } from './progress.ts';
import { count, formatBytes } from './text.ts';

export async function restoreHere(
  context: Context,
  name: string,
  backup: string,
  { yes, isFile }: { readonly yes: boolean; readonly isFile: boolean },
): Promise<ExitCode> {
  const target = await context.target(name);
  const called = target.metadata.name;
  const { dataLoss, rehearsal, restore } = target.spec.policy;
  // A rehearsal will know what it loses, and the gate decides.
  const isLossForbidden = dataLoss === 'Forbid' && rehearsal === 'Never';
  if (isLossForbidden || restore === 'Forbid') {
    const field = restore === 'Forbid' ? 'restore' : 'dataLoss';
    throw new Problem(
      `${field === 'restore' ? 'RestoreForbidden' : 'DataLossForbidden'} ${called}`,
      `A restore loses what was written since the backup, and spec.policy.${field} is Forbid. To permit it, declare spec.policy.${field}: Allow; then: ${context.command(`apply -f FILE`)}`,
      exitCodes.stalled,
    );
  }
  const retyped = context.command(`restore ${called} ${backup} --yes`);
  if (!yes && !context.isInteractive) await confirm(context, yes, { title: `restore ${called}`, message: '', retyped });
  const id = isFile ? await bringIn(context, target, backup) : backup;
  return applyHere(
    context,
    { target: await context.target(name), text: null },
    {
      yes,
      retyped,
      asked: { kind: 'restore', backup: id },
      question: { message: `The database of ${called} is replaced.`, word: 'yes' },
    },
  );
}

/** The id of the backup that the file became. */
async function bringIn(context: Context, target: MigrationTarget, file: string): Promise<string> {
  if (statusOf(target).operation !== null) {
    throw new Problem(
      `RecoveryFailed ${target.metadata.name}`,
      `An operation was begun and not ended; it has to be finished first: ${context.command(`reconcile ${target.metadata.name}`)}`,
    );
  }
  const dump = await context.wiring.openPlainDump(file);
  const progress = showProgress({ screen: context.output.notes, now: () => performance.now() });
  using interrupts = listenForInterrupts(progress.say, stopsSafely);
  progress.say(
    `${dump.path} (${formatBytes(dump.sizeBytes)}) is brought into the catalogue: copied, and restored once to see what is in it.`,
  );
  try {
    const ports = await context.ports((event) => progress.observe(event));
    const manifest = await importBackup(target, ports, dump, interrupts.signal);
    progress.say(
      `It is backup ${manifest.id} now, at ${formatRevisions(manifest.revisions)}, with ${count(Object.keys(manifest.rowCounts).length, 'table')}.`,
    );
    return manifest.id;
  } finally {
    progress.stop();
  }
}
