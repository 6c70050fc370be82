/**
 * What a doctor's findings mean for a rollback: facts in, one line each out. Pure. A fault is what would make a
 * rollback fail; a warning, what a person should know before.
 */
import { declaredRevisions, type MigrationTarget } from '../api/target.ts';
import { unsupportedFields } from '../api/unsupported.ts';
import { formatRevisions } from './compare.ts';
import type { Failure } from './errors.ts';
import { appliedBelow, formatHeads, headsOf, stepsBetween } from './graph.ts';
import type { BackupManifest, DatabaseState, Operation, Revision, RevisionGraph, WorkloadBefore } from './model.ts';
import type { BrokenBackup, Health, Home, MigrationError, MigrationResult } from './ports.ts';
import { chooseFallback } from './retention.ts';

export type Level = 'ok' | 'warning' | 'fault' | 'skipped';

export interface Finding {
  readonly check: string;
  readonly level: Level;
  /** What was found; for a fault, how to mend it as well. */
  readonly message: string;
}

/** What came of one look: a value, what went wrong, or null where something before it made the look impossible. */
export type Looked<T> =
  { readonly ok: true; readonly value: T } | { readonly ok: false; readonly failure: Failure } | null;

export interface Catalogue {
  readonly backups: readonly BackupManifest[];
  readonly broken: readonly BrokenBackup[];
  /** null: can't be known. */
  readonly freeBytes: number | null;
}

/** All that a doctor looks at. */
export interface DoctorFacts {
  readonly target: MigrationTarget;
  /** Where it is declared. */
  readonly home: Home['kind'];
  readonly unfinished: Operation | null;
  readonly secrets: Looked<null>;
  readonly state: Looked<DatabaseState>;
  /** Roles with sessions here that ours may not end; null: can't be known. */
  readonly unendable: Looked<string | null>;
  /** The version that the tools say, and the container that they are in, as the end of a sentence. */
  readonly tools: Looked<{ readonly version: string; readonly where: string }>;
  readonly lock: Looked<'free' | 'held'>;
  readonly graph: Looked<RevisionGraph>;
  /** The container that alembic ran in, as the end of a sentence. */
  readonly alembicWhere: string;
  readonly environment: Looked<MigrationResult>;
  readonly catalogue: Looked<Catalogue>;
  readonly writable: Looked<null>;
  /** The backup whose schema was restored into a scratch database; null as value: there is none to try. */
  readonly trial: Looked<BackupManifest | null>;
  /** What would be stopped, in its order, and how it is; null as value: nothing is declared. */
  readonly application: Looked<{ readonly workloads: readonly WorkloadBefore[]; readonly health: Health } | null>;
}

export function diagnose(facts: DoctorFacts): readonly Finding[] {
  return [
    declaration(facts),
    operation(facts),
    secrets(facts),
    ...connection(facts),
    ...rights(facts),
    versionTable(facts),
    tools(facts),
    lock(facts),
    ...alembic(facts),
    ...storage(facts),
    ...backups(facts),
    ...application(facts),
  ];
}

export const hasFault = (findings: readonly Finding[]): boolean => findings.some(({ level }) => level === 'fault');

const ok = (check: string, message: string): Finding => ({ check, level: 'ok', message });
const warning = (check: string, message: string): Finding => ({ check, level: 'warning', message });
const fault = (check: string, message: string): Finding => ({ check, level: 'fault', message });
const skipped = (check: string, because: string): Finding => ({
  check,
  level: 'skipped',
  message: `not looked at: ${because}`,
});

/** The line of a look that was not possible, that came to nothing, or that of its value. */
function lineOf<T>(check: string, looked: Looked<T>, obstacle: string, judge: (value: T) => Finding): Finding {
  if (looked === null) return skipped(check, obstacle);
  return looked.ok ? judge(looked.value) : fault(check, looked.failure.message);
}

/** What is in the way of looks that need more than the declaration; what is wrong with it is told once, in its own line. */
function obstacleOf({ secrets: read, state, lock: taken, tools: found, unfinished }: DoctorFacts): string {
  if (read?.ok !== true) return "a value that is declared elsewhere can't be read";
  if (state?.ok !== true)
    return state?.failure.reason === 'DatabaseUnreachable'
      ? "the server can't be reached"
      : "the database can't be looked into";
  if (taken?.ok !== true) return "the lock can't be taken";
  if (taken.value === 'held') return 'another operation holds the database';
  if (found?.ok !== true) return "PostgreSQL's tools can't be run";
  return unfinished === null ? 'something before it is at fault' : 'an operation was begun and not ended';
}

const noStorage = "what backups are kept in can't be used";

function declaration({ target, home }: DoctorFacts): Finding {
  const fields = unsupportedFields(target.spec, home);
  if (fields.length > 0) return fault('declaration', `This version does not act on ${fields.join('; ')}.`);
  if (target.spec.suspend)
    return warning(
      'declaration',
      `spec.suspend is true, so nothing is done. To go on: migration-target resume ${target.metadata.name}`,
    );
  if (target.spec.policy.downgrade === 'Forbid')
    return warning('declaration', 'spec.policy.downgrade is Forbid, so only a restore leads back.');
  if (target.spec.policy.restore === 'Forbid')
    return warning(
      'declaration',
      'spec.policy.restore is Forbid, so where a downgrade fails there is no way back but to the origin.',
    );
  if (target.spec.policy.dataLoss === 'Forbid') {
    return warning(
      'declaration',
      'spec.policy.dataLoss is Forbid: a downgrade that loses data is refused, and so is the restore of a backup that something was written since. To be asked instead: spec.policy.dataLoss: RequireApproval',
    );
  }
  return ok('declaration', `valid; desired is ${formatHeads(declaredRevisions(target.spec))}`);
}

function application({ application: looked, target }: DoctorFacts): readonly Finding[] {
  const declared = target.spec.application;
  if (declared === undefined) return [];
  return [
    lineOf('application', looked, 'something before it is at fault', (value) => {
      if (value === null) return ok('application', 'declared, with nothing to stop and nothing to ask');
      const names = value.workloads.map(({ name, running }) => (running ? name : `${name} (does not run)`)).join(', ');
      const what = names === '' ? '' : declared.during === 'Stop' ? `would stop ${names}; ` : `${names} would run on; `;
      if (value.health.state === 'healthy') return ok('application', `${what}${value.health.what}`);
      return warning('application', `${what}${value.health.what}: a change would end in ApplicationUnhealthy`);
    }),
  ];
}

function operation({ unfinished, target }: DoctorFacts): Finding {
  if (unfinished === null) return ok('operation', 'none is under way, none was interrupted');
  return warning(
    'operation',
    `Operation ${unfinished.id} (${unfinished.plan.kind}) was begun and not ended; it stands at its step ${unfinished.step}. Where nobody is at it: migration-target reconcile ${target.metadata.name}`,
  );
}

const secrets = ({ secrets: looked }: DoctorFacts): Finding =>
  lineOf('secrets', looked, '', () => ok('secrets', 'every value that is declared elsewhere is there'));

function connection(facts: DoctorFacts): readonly Finding[] {
  const { state } = facts;
  if (state !== null && !state.ok) {
    const isPooler = state.failure.reason === 'PoolerRefused';
    const isServer = state.failure.reason === 'ServerNotSupported';
    const check = isPooler ? 'pooler' : isServer ? 'server' : 'connection';
    return [fault(check, state.failure.message)];
  }
  if (state === null) return [skipped('connection', obstacleOf(facts))];
  const { identity, server, role, sizeBytes } = state.value;
  return [
    ok('connection', `database ${identity.name} as role ${role.name}, ${megabytes(sizeBytes)}`),
    ok('pooler', 'none in between: sessions are our own'),
    ok('server', `PostgreSQL ${server.version}`),
  ];
}

function rights(facts: DoctorFacts): readonly Finding[] {
  const { state, unendable } = facts;
  if (state === null || !state.ok) return [skipped('rights', obstacleOf(facts))];
  const { blockers, role } = state.value;
  const found = blockers.map(({ reason, message }) => fault(reason === 'SwapBlocked' ? 'swap' : 'rights', message));
  const sessions = lineOf('sessions', unendable, obstacleOf(facts), (roles) =>
    roles === null || roles === ''
      ? ok('sessions', 'those that are open could be ended for a swap')
      : fault(
          'sessions',
          `Role ${role.name} may not end the sessions of ${roles}, which a swap has to. GRANT pg_signal_backend TO "${role.name}", or give spec.database.adminUrlFrom the URL of a superuser.`,
        ),
  );
  return [
    ...(found.length === 0
      ? [ok('rights', `role ${role.name} may read every table, create databases, and rename this one`)]
      : found),
    sessions,
  ];
}

function versionTable(facts: DoctorFacts): Finding {
  const { state, target } = facts;
  if (state?.ok !== true) return skipped('version table', obstacleOf(facts));
  const { versionTable: table, empty, versionTables } = state.value;
  const { versionTableSchema, versionTable: name } = target.spec.database;
  if (table.kind === 'present')
    return ok('version table', `${versionTableSchema}.${name} says ${formatRevisions(table.revisions)}`);
  if (empty) return ok('version table', 'none yet: the database is empty');
  const others =
    versionTables.length === 0
      ? ''
      : ` There is ${versionTables.join(', ')}: correct spec.database.versionTable and versionTableSchema.`;
  return fault(
    'version table',
    `There is no ${versionTableSchema}.${name}, yet there are tables, so the revision is unknown.${others} To see which one the schema is: migration-target identify ${target.metadata.name}`,
  );
}

const tools = (facts: DoctorFacts): Finding =>
  lineOf('tools', facts.tools, obstacleOf(facts), ({ version, where }) =>
    ok('tools', `${version.replace(/^\S+ /, 'pg_dump, pg_restore and psql ')}${where}, as the server`),
  );

function lock(facts: DoctorFacts): Finding {
  return lineOf('lock', facts.lock, obstacleOf(facts), (state) =>
    state === 'free'
      ? ok('lock', 'free')
      : warning('lock', 'Another operation holds the database now; it would be waited for.'),
  );
}

function alembic(facts: DoctorFacts): readonly Finding[] {
  const { graph, environment, state, target } = facts;
  const obstacle = obstacleOf(facts);
  if (graph === null) return [skipped('alembic', obstacle), skipped('env.py', obstacle)];
  if (!graph.ok) return [fault('alembic', graph.failure.message), skipped('env.py', "the migrations can't be read")];
  const { revisions, tools: versions } = graph.value;
  const python = ok(
    'alembic',
    `Python ${versions.python}, alembic ${versions.alembic}, SQLAlchemy ${versions.sqlalchemy}${facts.alembicWhere}; ${revisions.length} revisions`,
  );
  const reached = lineOf('env.py', environment, obstacle, (result) =>
    result.ok ? ok('env.py', 'reaches this database, and this version table') : environmentFault(result.error),
  );
  if (state?.ok !== true) return [python, reached, skipped('revisions', obstacle), skipped('downgrades', obstacle)];
  const current = state.value.versionTable.kind === 'present' ? state.value.versionTable.revisions : [];
  return [python, reached, revisionsLine(graph.value, current, target), ...waysBack(graph.value, current, facts)];
}

function environmentFault({ kind, message, file, line }: MigrationError): Finding {
  const at = file === null ? '' : ` At ${file}${line === null ? '' : `:${line}`}.`;
  const mend =
    kind === 'wrongDatabase'
      ? 'Have env.py take its URL from what spec.alembic.databaseUrl hands it.'
      : kind === 'timedOut'
        ? 'See what env.py waits for: alembic current'
        : 'See what alembic says itself: alembic current';
  return fault('env.py', `${message.trim().replace(/[.\s]+$/, '')}.${at} ${mend}`);
}

function revisionsLine(graph: RevisionGraph, current: readonly string[], target: MigrationTarget): Finding {
  const desired = declaredRevisions(target.spec);
  const missing = [...current, ...desired].filter((id) => !graph.revisions.some((revision) => revision.id === id));
  if (missing.length === 0)
    return ok(
      'revisions',
      `current (${formatHeads(current)}) and desired (${formatHeads(desired)}) are both in the scripts`,
    );
  return fault(
    'revisions',
    `The scripts have no ${formatHeads(missing)}. Deploy the scripts that have it, or declare another revision. See: migration-target history ${target.metadata.name}`,
  );
}

/** Downgrades on the way that lead nowhere by themselves. */
function waysBack(graph: RevisionGraph, current: readonly string[], facts: DoctorFacts): readonly Finding[] {
  const desired = declaredRevisions(facts.target.spec);
  const [from, to] = [appliedBelow(graph, current), appliedBelow(graph, desired)];
  if (from.kind === 'unknown' || to.kind === 'unknown') return [];
  const down = stepsBetween(graph, from.applied, to.applied).filter(({ direction }) => direction === 'down');
  const byId = new Map(graph.revisions.map((revision) => [revision.id, revision]));
  const odd = down
    .map(({ revision }) => byId.get(revision))
    .filter((revision) => revision !== undefined && revision.downgrade.shape !== 'code');
  if (down.length === 0) return [oneStepBack(graph, from.applied, facts)];
  if (odd.length === 0) return [ok('downgrades', `${down.length} to run, each with a body`)];
  return [
    warning(
      'downgrades',
      `${odd.map((revision) => describeBody(revision as Revision)).join('; ')}. Where a downgrade fails or does nothing, a backup at the desired revision is restored.`,
    ),
  ];
}

/** Nothing is to go down now; whether the newest could, should it turn out to be wrong. */
function oneStepBack(graph: RevisionGraph, applied: ReadonlySet<string>, { catalogue, state }: DoctorFacts): Finding {
  const heads = headsOf(graph, applied);
  const odd = graph.revisions.filter(({ id, downgrade }) => heads.includes(id) && downgrade.shape !== 'code');
  const none = 'none is needed for what is declared';
  if (odd.length === 0 || state?.ok !== true || catalogue?.ok !== true) return ok('downgrades', none);
  const before = headsOf(graph, new Set([...applied].filter((id) => !heads.includes(id))));
  const { identity, server } = state.value;
  const choice = chooseFallback(catalogue.value.backups, before, identity, server.major);
  const way =
    choice.kind === 'backup'
      ? `Backup ${choice.backup.id}, at ${formatHeads(before)}, leads back`
      : `There is no verified backup at ${formatHeads(before)} either, so nothing leads back`;
  return warning('downgrades', `${none}; but ${odd.map(describeBody).join('; ')}. ${way}.`);
}

function describeBody({ id, file, downgrade }: Revision): string {
  const what = downgrade.shape === 'raises' ? 'raises' : downgrade.shape === 'pass' ? 'does nothing' : 'is missing';
  return `downgrade() of ${id} ${what} (${file})`;
}

function storage({ target, catalogue, writable, state }: DoctorFacts): readonly Finding[] {
  const { s3 } = target.spec.backup.storage;
  const name = s3 === undefined ? 'backup folder' : 'bucket';
  const usable = lineOf(name, writable, noStorage, () => ok(name, 'is there, and can be written to'));
  // A bucket has no end that could be known.
  if (s3 !== undefined) return [usable];
  return [
    usable,
    catalogue?.ok === true
      ? freeSpace(catalogue.value, state?.ok === true ? state.value.sizeBytes : null)
      : skipped('free space', noStorage),
  ];
}

function freeSpace({ freeBytes }: Catalogue, size: number | null): Finding {
  if (freeBytes === null)
    return warning('free space', 'The free space of the backup folder can not be known. See for yourself: df -h');
  if (size !== null && freeBytes < size) {
    return fault(
      'free space',
      `The backup folder's disk has ${megabytes(freeBytes)} free, and the database is ${megabytes(size)}. Make room, or declare another folder: spec.backup.storage.directory.path`,
    );
  }
  return ok(
    'free space',
    `${megabytes(freeBytes)} for backups${size === null ? '' : `, and the database is ${megabytes(size)}`}; that of the server's own disk can't be read by SQL`,
  );
}

function backups(facts: DoctorFacts): readonly Finding[] {
  const { catalogue, trial, target } = facts;
  if (catalogue === null || !catalogue.ok) return [skipped('backups', noStorage)];
  const { backups: all, broken } = catalogue.value;
  const { name } = target.metadata;
  const [newest] = all;
  const faults = broken.map(({ id, problem }) => warning('backups', `${id} is broken: ${problem}`));
  if (newest === undefined)
    return [
      ...faults,
      warning(
        'backups',
        `None yet, so nothing could be restored; one is taken before every change. To take one now: migration-target backup ${name}`,
      ),
    ];
  const last =
    newest.verifiedAt === null
      ? warning(
          'backups',
          `${newest.id}, at ${formatRevisions(newest.revisions)}, was never restored. To try it: migration-target backups verify ${newest.id}`,
        )
      : ok('backups', `${all.length}, the newest ${newest.id} at ${formatRevisions(newest.revisions)}, verified`);
  const tried = lineOf('restorable', trial, obstacleOf(facts), (manifest) =>
    ok(
      'restorable',
      manifest === null
        ? 'nothing to try yet'
        : `the schema of ${manifest.id} was restored into a scratch database, by the role that a restore would use`,
    ),
  );
  return [...faults, last, tried];
}

const megabytes = (bytes: number): string =>
  bytes >= 1e9 ? `${(bytes / 1e9).toFixed(1)} GB` : `${(bytes / 1e6).toFixed(1)} MB`;
