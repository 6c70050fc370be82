/**
 * Decides what to do, and does nothing: observations in, a plan out. Each rule is one function, asked in the order
 * in which they stand; the first that has an answer gives the plan.
 */
import { revisionsOf, revisionsOfBackup } from './compare.ts';
import { createHash } from 'node:crypto';

import type { Reason } from '../api/reasons.ts';
import { appliedBelow, formatHeads, headsOf, sameSet, simulate, stepsBetween } from './graph.ts';
import type {
  BackupManifest,
  ChangePlan,
  DatabaseState,
  Fallback,
  Plan,
  RestorePlan,
  RevisionGraph,
  Risk,
  Step,
} from './model.ts';
import { chooseFallback } from './retention.ts';
import { asPart } from './sentences.ts';

export interface Policy {
  readonly downgrade: 'Allow' | 'Forbid';
  readonly restore: 'Allow' | 'Forbid';
  readonly dataLoss: 'RequireApproval' | 'Allow' | 'Forbid';
  readonly rehearsal: 'Always' | 'Never';
}

export interface PlanInput {
  /** The target's, so that a plan made for another is another plan. */
  readonly uid: string;
  readonly name: string;
  /** Absolute ids; empty means base. */
  readonly desired: readonly string[];
  readonly policy: Policy;
  readonly state: DatabaseState;
  /** `schema.table` of the declared version table. */
  readonly versionTable: string;
  readonly graph: RevisionGraph;
  /** What its schema tells of where it is, in sentences; left out: nobody looked. */
  readonly identified?: string;
  /** The catalogue, newest first. */
  readonly backups: readonly BackupManifest[];
  /** What lies in its folder and is no whole backup, each with why. */
  readonly broken: readonly { readonly id: string; readonly problem: string }[];
}

/** What a restore that was declared or asked for is decided from: no Python is needed to carry one out. */
export type RestoreInput = Omit<PlanInput, 'graph'>;

type Rule = (input: PlanInput) => Plan | null;

const rules: readonly Rule[] = [
  blockedChange,
  missingVersionTable,
  unknownDesired,
  unknownCurrent,
  alreadyThere,
  unreachable,
  forbiddenDowngrade,
  forbiddenLoss,
];

export function decide(input: PlanInput): Plan {
  for (const rule of rules) {
    const plan = rule(input);
    if (plan !== null) return plan;
  }
  return change(input);
}

/** `restoreFrom`, or a person's `restore`: it comes before everything else, the revision is looked at afterwards. */
export function decideRestore(
  input: RestoreInput,
  wanted: { readonly backup: string; readonly because: string; readonly graph?: RevisionGraph | null },
): Plan {
  const backup = input.backups.find(({ id }) => id === wanted.backup);
  const broken = input.broken.find(({ id }) => id === wanted.backup);
  if (broken !== undefined) {
    return refuse(
      input,
      'BackupInvalid',
      `Backup ${broken.id} can't be restored (${wanted.because}): ${broken.problem}. See those that can: migration-target backups ${input.name}`,
    );
  }
  if (backup === undefined) {
    return refuse(
      input,
      'BackupNotFound',
      `The catalogue has no backup ${wanted.backup} (${wanted.because}). See: migration-target backups ${input.name}`,
    );
  }
  const { systemIdentifier, name } = input.state.identity;
  const isOfOther = backup.database.systemIdentifier !== systemIdentifier || backup.database.name !== name;
  if (isOfOther && backup.reason !== 'Imported') {
    return refuse(
      input,
      'BackupInvalid',
      `Backup ${backup.id} is of database ${backup.database.name} on server ${backup.database.systemIdentifier}, not of ${name} on ${systemIdentifier}. See: migration-target backups ${input.name}`,
    );
  }
  const revisions = revisionsOfBackup(backup);
  if (revisions === null && wanted.graph != null) return restoreUnmarked(input, backup, wanted.because, wanted.graph);
  return restore(input, backup, wanted.because, '', revisions ?? []);
}

/** Whether the scripts are needed to decide: a backup of which nothing tells the revision is at the one that is declared with it. */
export const isUnmarked = (backups: readonly BackupManifest[], id: string): boolean => {
  const backup = backups.find((one) => one.id === id);
  return backup !== undefined && revisionsOfBackup(backup) === null;
};

/** Nobody guesses: who declares `revision` and `restoreFrom` says that the backup is at it. But it has to be a revision. */
function restoreUnmarked(input: RestoreInput, backup: BackupManifest, because: string, graph: RevisionGraph): Plan {
  const desired = appliedBelow(graph, input.desired);
  if (desired.kind === 'known') {
    const marked = `${because}, and says that it is at ${formatHeads(input.desired)}: the dump has no version table`;
    return restore(input, backup, marked, graph.digest, input.desired);
  }
  return refuse(
    input,
    'RevisionNotFound',
    `Backup ${backup.id} has no version table, so it is taken to be at the declared revision, and the scripts have no ${formatHeads(desired.missing)}. Declare the revision that the backup is at, one of: ${knownIds(graph)}. See: migration-target history ${input.name}`,
  );
}

// --------------------------------------------------------------------------------------------------- rules

function blockedChange(input: PlanInput): Plan | null {
  const blocker = input.state.blockers.find(({ blocks }) => blocks === 'change');
  return blocker === undefined ? null : refuse(input, blocker.reason, blocker.message);
}

/** Missing is not empty. Only a database with nothing in it may start from base without anybody being asked. */
function missingVersionTable(input: PlanInput): Plan | null {
  const { versionTable, empty, identity, versionTables } = input.state;
  if (versionTable.kind === 'present' || empty) return null;
  const others =
    versionTables.length === 0
      ? ''
      : ` There are version tables elsewhere: ${versionTables.join(', ')} (spec.database.versionTable, versionTableSchema).`;
  return refuse(
    input,
    'VersionTableMissing',
    `Database ${identity.name} has tables but no version table, so its revision is unknown, and none is guessed.${others}${whichOne(input)}`,
  );
}

/**
 * Whether the version table tells nothing that the scripts know: then only the schema can say where the database is, and
 * whoever refuses it for that looks at it.
 */
export const isLost = ({ state, graph, desired }: PlanInput): boolean =>
  state.versionTable.kind === 'missing'
    ? !state.empty
    : appliedBelow(graph, state.versionTable.revisions).kind === 'unknown' &&
      appliedBelow(graph, desired).kind === 'known';

/** The planner itself does not look at the schema: that takes scratch databases. */
const whichOne = ({ name, identified }: PlanInput): string =>
  identified === undefined
    ? ` To see which revision its schema is: migration-target identify ${name}; to restore a backup: migration-target backups ${name}`
    : ` ${identified}`;

function unknownDesired(input: PlanInput): Plan | null {
  const desired = appliedBelow(input.graph, input.desired);
  if (desired.kind === 'known') return null;
  return (
    fallbackRestore(input, `the scripts have no ${formatHeads(desired.missing)}`) ??
    refuse(
      input,
      'RevisionNotFound',
      `The scripts have no revision ${formatHeads(desired.missing)}, and there is no verified backup at it.${beginnings(input.graph, desired.missing)} Deploy the scripts that have it, or declare one of: ${knownIds(input.graph)}. See: migration-target history ${input.name}`,
    )
  );
}

/** "Can't locate revision": the scripts are older than the database. They can't take it down; a backup can. */
function unknownCurrent(input: PlanInput): Plan | null {
  const current = appliedBelow(input.graph, currentHeads(input));
  if (current.kind === 'known') return null;
  return (
    fallbackRestore(input, `the scripts have no ${formatHeads(current.missing)}, which the database is at`) ??
    refuse(
      input,
      'RevisionNotFound',
      `Database ${input.state.identity.name} is at ${formatHeads(current.missing)}, which the scripts don't have, so they can't take it down; and ${noBackupBecause(input)}. Deploy the scripts that have ${formatHeads(current.missing)}, then: migration-target reconcile ${input.name}.${whichOne(input)}`,
    )
  );
}

function alreadyThere(input: PlanInput): Plan | null {
  const { from, to } = ends(input);
  const isThere = from.size === to.size && [...from].every((id) => to.has(id));
  return isThere ? { kind: 'nothing', current: currentHeads(input), desired: input.desired } : null;
}

function unreachable(input: PlanInput): Plan | null {
  const { from, to } = ends(input);
  const arrived = simulate(input.graph, currentHeads(input), stepsBetween(input.graph, from, to));
  if (arrived !== null && sameSet(arrived, headsOf(input.graph, to))) return null;
  return refuse(
    input,
    'RevisionUnreachable',
    `No sequence of migrations leads from ${formatHeads(currentHeads(input))} to exactly ${formatHeads(input.desired)}: simulated, it ends at ${arrived === null ? 'a step that cannot be run' : formatHeads(arrived)}. See: migration-target history ${input.name}`,
  );
}

function forbiddenDowngrade(input: PlanInput): Plan | null {
  if (input.policy.downgrade === 'Allow') return null;
  const down = planSteps(input).filter(({ direction }) => direction === 'down');
  if (down.length === 0) return null;
  return refuse(
    input,
    'DowngradeForbidden',
    `Reaching ${formatHeads(input.desired)} takes ${down.length === 1 ? 'a downgrade' : `${down.length} downgrades`} (${down.map(({ revision }) => revision).join(', ')}), and spec.policy.downgrade is Forbid. Declare ${formatHeads(currentHeads(input))}, or set spec.policy.downgrade: Allow.`,
    change(input),
  );
}

/**
 * Unknown loss counts as loss: only statements that are known to lose nothing pass. A rehearsal will know, so where there
 * is one nothing is refused before it.
 */
function forbiddenLoss(input: PlanInput): Plan | null {
  if (!isJudgedByReading(input)) return null;
  const risks = planRisks(input);
  if (risks.length === 0) return null;
  const shown = risks.slice(0, 3).map(({ file, line, what }) => `${what} (${file}:${line})`);
  const more = risks.length > shown.length ? `, and ${risks.length - shown.length} more` : '';
  return refuse(
    input,
    'DataLossForbidden',
    `Reaching ${formatHeads(input.desired)} may lose data: ${shown.join('; ')}${more}. spec.policy.dataLoss is Forbid. To permit it: spec.policy.dataLoss: Allow; to take it back: declare ${formatHeads(currentHeads(input))}.`,
    change(input),
  );
}

// ------------------------------------------------------------------------------------------------ outcomes

function change(input: PlanInput): ChangePlan {
  const steps = planSteps(input);
  const directions = new Set(steps.map(({ direction }) => direction));
  const kind = directions.size === 2 ? 'switch' : directions.has('down') ? 'downgrade' : 'upgrade';
  const current = currentHeads(input);
  const desired = headsOf(input.graph, ends(input).to);
  const risks = planRisks(input);
  const fallback = chooseChangeFallback(input, kind);
  return {
    kind,
    current,
    desired,
    steps,
    risks,
    fallback,
    digest: digest(input, input.graph.digest, { kind, current, desired, steps, risks, fallback }),
  };
}

/**
 * Only a backup at the desired revision reaches it; and only a way back may lose what was written since, so an
 * upgrade that fails always goes back to where it came from.
 */
function chooseChangeFallback(input: PlanInput, kind: ChangePlan['kind']): Fallback {
  if (kind === 'upgrade') return { kind: 'origin', because: 'an upgrade that fails is undone' };
  const backup = permittedFallback(input);
  return backup.kind === 'backup'
    ? { kind: 'restore', backup: backup.manifest.id, takenAt: backup.manifest.finishedAt }
    : { kind: 'origin', because: backup.because };
}

function fallbackRestore(input: PlanInput, because: string): Plan | null {
  const backup = permittedFallback(input);
  if (backup.kind === 'backup') return restore(input, backup.manifest, because, input.graph.digest, input.desired);
  if (backup.kind === 'forbidden') {
    return refuse(
      input,
      backup.reason,
      `Only a restore leads to ${formatHeads(input.desired)} (${because}): ${backup.because}.`,
    );
  }
  return null;
}

function restore(
  input: RestoreInput,
  backup: BackupManifest,
  because: string,
  scripts: string,
  desired: readonly string[],
): Plan {
  const forbidden = restoreForbidden(input);
  if (forbidden !== null) {
    return refuse(
      input,
      forbidden.reason,
      `Backup ${backup.id} would have to be restored (${because}): ${forbidden.because}.`,
    );
  }
  const blocker = input.state.blockers.find(({ blocks }) => blocks === 'change') ?? restoreBlocker(input);
  if (blocker !== null) return refuse(input, blocker.reason, blocker.message);
  const current = revisionsOf(input.state.versionTable);
  const plan = {
    kind: 'restore',
    current,
    desired,
    backup: backup.id,
    takenAt: backup.finishedAt,
    because,
  } as const;
  return { ...plan, digest: digest(input, scripts, { ...plan, because: '' }) } satisfies RestorePlan;
}

function refuse(input: RestoreInput, reason: Reason, message: string, refused: ChangePlan | null = null): Plan {
  const current = revisionsOf(input.state.versionTable);
  return { kind: 'refuse', current, desired: input.desired, reason, message, change: refused };
}

// ------------------------------------------------------------------------------------------------- reading

export const currentHeads = ({ state }: Pick<PlanInput, 'state'>): readonly string[] =>
  state.versionTable.kind === 'present' ? state.versionTable.revisions : [];

function ends(input: PlanInput): { readonly from: ReadonlySet<string>; readonly to: ReadonlySet<string> } {
  const from = appliedBelow(input.graph, currentHeads(input));
  const to = appliedBelow(input.graph, input.desired);
  if (from.kind === 'unknown' || to.kind === 'unknown')
    throw new Error('asked for the ends of a plan before both were known');
  return { from: from.applied, to: to.applied };
}

function planSteps(input: PlanInput): readonly Step[] {
  const { from, to } = ends(input);
  return stepsBetween(input.graph, from, to);
}

function planRisks(input: PlanInput): readonly Risk[] {
  const byId = new Map(input.graph.revisions.map((revision) => [revision.id, revision]));
  return planSteps(input).flatMap(({ direction, revision }) => {
    const found = byId.get(revision);
    return found === undefined ? [] : direction === 'up' ? found.upgrade.risks : found.downgrade.risks;
  });
}

type PermittedFallback =
  | { readonly kind: 'backup'; readonly manifest: BackupManifest }
  | { readonly kind: 'forbidden'; readonly reason: Reason; readonly because: string }
  | { readonly kind: 'none'; readonly because: string };

function permittedFallback(input: PlanInput): PermittedFallback {
  const { identity, server } = input.state;
  const choice = chooseFallback(input.backups, input.desired, identity, server.major);
  if (choice.kind === 'none') return { kind: 'none', because: noBackupBecause(input) };
  const forbidden = restoreForbidden(input);
  if (forbidden !== null) return { kind: 'forbidden', ...forbidden };
  const blocker = restoreBlocker(input);
  if (blocker !== null) return { kind: 'forbidden', reason: blocker.reason, because: asPart(blocker.message) };
  return { kind: 'backup', manifest: choice.backup };
}

/** Whether what may be lost is forbidden, and there will be no better knowledge of it. */
const isJudgedByReading = ({ policy }: RestoreInput): boolean =>
  policy.dataLoss === 'Forbid' && policy.rehearsal === 'Never';

/** A restore loses whatever was written since its backup; without a rehearsal nobody knows how much that is. */
function restoreForbidden(input: RestoreInput): { readonly reason: Reason; readonly because: string } | null {
  if (input.policy.restore === 'Forbid') {
    return {
      reason: 'RestoreForbidden',
      because: 'spec.policy.restore is Forbid; to permit it: spec.policy.restore: Allow',
    };
  }
  if (isJudgedByReading(input)) {
    return {
      reason: 'DataLossForbidden',
      because:
        'a restore loses what was written since, and spec.policy.dataLoss is Forbid; to permit it: spec.policy.dataLoss: Allow',
    };
  }
  return null;
}

/** What makes a swap impossible, or would rewind somebody else's history with this one. */
function restoreBlocker({
  state,
  name,
  versionTable,
}: RestoreInput): { readonly reason: Reason; readonly message: string } | null {
  const others = state.versionTables.filter((table) => table !== versionTable);
  if (others.length > 0) {
    return {
      reason: 'TargetConflict',
      message: `Database ${state.identity.name} holds another history too (${others.join(', ')}), which a restore would rewind with this one. Give each a database of its own, or restore by hand: migration-target backups ${name}.`,
    };
  }
  return state.blockers.find(({ blocks }) => blocks === 'restore') ?? null;
}

/** Names those that would have been the one, were they whole, verified and of this database. */
function noBackupBecause({ backups, broken, desired, state: { identity, server } }: PlanInput): string {
  const choice = chooseFallback(backups, desired, identity, server.major);
  const atDesired = new Set(
    backups.filter((backup) => sameSet(revisionsOfBackup(backup) ?? ['?'], desired)).map(({ id }) => id),
  );
  const rejected = choice.kind === 'backup' ? [] : choice.rejected.filter(({ id }) => atDesired.has(id));
  const told = [
    ...rejected.map(({ id, because }) => `${id}: ${because}`),
    // The remedy that follows the first sentence is told by the catalogue.
    ...broken.map(({ id, problem }) => `${id} is damaged: ${problem.split(/\. (?=[A-Z])/)[0]}`),
  ].slice(0, 2);
  return `there is no verified backup at ${formatHeads(desired)}${told.length === 0 ? '' : ` (${told.join('; ')})`}`;
}

/** Short ids mean something else after the next commit, so the planner resolves none; it tells which were meant. */
function beginnings(graph: RevisionGraph, missing: readonly string[]): string {
  return missing
    .map((text) => ({ text, ids: graph.revisions.map(({ id }) => id).filter((id) => id.startsWith(text)) }))
    .filter(({ ids }) => ids.length > 0)
    .map(
      ({ text, ids }) =>
        ` ${text} is the beginning of ${ids.slice(0, 5).join(', ')}${ids.length > 5 ? ', …' : ''}: declare one, in full.`,
    )
    .join('');
}

function knownIds(graph: RevisionGraph): string {
  const newest = graph.revisions
    .slice(-5)
    .map(({ id }) => id)
    .reverse();
  return newest.length === 0
    ? 'base (the scripts are empty)'
    : `${newest.join(', ')}${graph.revisions.length > 5 ? ', …' : ''}`;
}

/** What an approval would be bound to: whose, which database, from where to where, with which scripts. Not counts. */
function digest(input: RestoreInput, scripts: string, plan: object): string {
  const { systemIdentifier, name, oid } = input.state.identity;
  const covered = { uid: input.uid, systemIdentifier, name, oid, scripts, plan };
  return createHash('sha256').update(JSON.stringify(covered)).digest('hex').slice(0, 16);
}
