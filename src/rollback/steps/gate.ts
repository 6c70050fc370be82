import { isToBeStopped } from '../application.ts';
import { findApproval } from '../approval.ts';
import { stalled } from '../errors.ts';
import { askText, atGate, gateDigest, isRestore, judgeGate } from '../gate.ts';
import type { Operation, Rehearsal } from '../model.ts';
import { findBackup, type Scope } from '../scope.ts';
import { writesSinceBackup } from './change.ts';

/**
 * Policy, and an approval bound to the plan where something would be lost. Nothing of the database was touched yet: what
 * waits for a person holds no lock, and is planned and tried anew once that person has approved.
 */
export async function gate(scope: Scope, operation: Operation): Promise<Operation> {
  const { plan } = operation;
  if (plan.kind === 'backup') throw new Error('a backup passes no gate');
  const gated = { ...operation, plan };
  const at = atGate(scope.target, gated, await writtenSince(scope, operation));
  const verdict = judgeGate(at);
  const digest = gateDigest(gated);
  switch (verdict.kind) {
    case 'refuse':
      return {
        ...operation,
        step: 'report',
        failure: { reason: verdict.reason, message: verdict.message, passing: true, committed: false },
      };
    case 'open':
      return pass(scope, {
        ...operation,
        gate: {
          digest,
          approval: null,
          waitsFor: null,
          rowsCovered: at.policy.dataLoss === 'Allow' ? null : 0,
          coversFallback: verdict.coversFallback,
        },
      });
    case 'ask': {
      const found = findApproval(await scope.ports.home.approvals(scope.key), {
        digest,
        rows: verdict.rows,
        rowsAsked: rowsAsked(scope, digest),
        operationId: operation.id,
        now: scope.ports.clock.now(),
      });
      if (found.kind === 'none') {
        const waitsFor = askText(at, verdict, { digest, because: found.because, again: again(scope) });
        return {
          ...operation,
          step: 'report',
          gate: { digest, approval: null, waitsFor, rowsCovered: 0, coversFallback: false },
        };
      }
      const { name, maxRowLoss } = found.approval;
      const rowsCovered = maxRowLoss ?? rowsAsked(scope, digest) ?? verdict.rows;
      const approved = await scope.save({
        ...operation,
        gate: { digest, approval: name, waitsFor: null, rowsCovered, coversFallback: verdict.coversFallback },
      });
      await scope.ports.home.useApproval(scope.key, name, operation.id);
      return pass(scope, approved);
    }
  }
}

/** A restore that was asked for is declared nowhere, so an approval alone does not bring it about. */
const again = ({ asked, key }: Scope): string | null =>
  asked.kind === 'restore' ? `migration-target restore ${key.name} ${asked.backup}` : null;

/** What the status said would be lost when it was asked for an approval; null: another plan, or unknown. */
function rowsAsked({ planBefore }: Scope, digest: string): number | null {
  return planBefore?.digest === digest ? (planBefore.loss?.rows ?? null) : null;
}

/** Where anybody wrote while it was tried, the backup is no longer one of this very state: it is taken again. */
async function pass(scope: Scope, operation: Operation): Promise<Operation> {
  const { rehearsal } = operation;
  if (isToBeStopped(scope.target, operation)) return { ...operation, step: 'quiesce' };
  if (isRestore(operation)) return { ...operation, step: 'restore' };
  const isBehind = rehearsal?.backup === operation.backup?.id && (await writesSinceBackup(scope, operation)) !== null;
  return { ...operation, step: isBehind ? 'backup' : 'change' };
}

/**
 * Rows written since the rehearsal to what goes: each may be lost as well. For a change they are looked for once the backup
 * was taken again, which it is where anybody wrote; for a restore, which loses all that is written, always.
 */
export async function writtenSince(scope: Scope, operation: Operation): Promise<number> {
  const { rehearsal, backup } = operation;
  if (rehearsal === null) return 0;
  if (!isRestore(operation) && rehearsal.backup === backup?.id) return 0;
  const writes = await scope.database.writesSince(await snapshotOf(scope, rehearsal));
  const atRisk = rehearsal.atRisk === null ? null : new Set(rehearsal.atRisk);
  return writes.filter(({ table }) => atRisk?.has(table) !== false).reduce((sum, { written }) => sum + written, 0);
}

async function snapshotOf(
  scope: Scope,
  { backup, xmax, inProgress }: Rehearsal,
): Promise<Parameters<Scope['database']['writesSince']>[0]> {
  const manifest = await findBackup(scope.store, backup);
  if (manifest === undefined)
    throw stalled(
      'BackupNotFound',
      `Backup ${backup}, which the rehearsal was made with, is no longer in the catalogue. See: migration-target backups ${scope.key.name}`,
    );
  return { xmax, inProgress, rowCounts: manifest.rowCounts };
}
