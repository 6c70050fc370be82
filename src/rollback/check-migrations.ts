/**
 * Each new migration up, down and up again, before it is ever applied: on a server where nothing is live, from base, with a
 * data sample where there is one. No home, backup or journal is involved; whatever is made there is dropped at the end.
 */
import type { TargetSpec } from '../api/target.ts';
import { findingsOf, tableLocks, type CheckFinding, type Ran, type Seen, type TableLock } from './check-findings.ts';
import { stalled } from './errors.ts';
import { appliedBelow, formatHeads, headsOf, resolveRevision, stepsBetween } from './graph.ts';
import { describe } from './migration-errors.ts';
import type { DataLoss, OwnDatabase, Revision, RevisionGraph, SchemaFacts, Step } from './model.ts';
import type { AlembicRunner, AlembicSession, CheckServer, Databases, HeldLock } from './ports.ts';
import { createScratches, type Scratch, type Scratches } from './scratch.ts';
import { asPart } from './sentences.ts';
import { newOperationId } from './steps/check.ts';

export interface CheckRequest {
  readonly alembic: TargetSpec['alembic'];
  /** The values of `alembic.env`. */
  readonly env: Readonly<Record<string, string>>;
  readonly versionTable: { readonly schema: string; readonly name: string };
  /** A URL of the server, libpq style. */
  readonly server: string;
  /** As it was typed: what is not below it is new; null: the heads alone are. */
  readonly since: string | null;
  /** A plain SQL file, loaded before the first new migration; null: there are no rows but the migrations' own. */
  readonly sample: string | null;
  readonly lockTimeoutSeconds: number;
  readonly timeoutSeconds: number;
  readonly signal: AbortSignal;
  readonly tell: (message: string) => void;
}

export interface CheckedRevision {
  readonly id: string;
  readonly message: string;
  readonly file: string;
  readonly findings: readonly CheckFinding[];
  readonly locks: readonly TableLock[];
  /** Milliseconds; null: it failed, or was not come to. */
  readonly ms: { readonly up: number | null; readonly down: number | null; readonly again: number | null };
  readonly loss: Seen['loss'];
}

export interface Checked {
  readonly server: { readonly version: string; readonly major: number };
  /** Where the new ones begin. */
  readonly since: readonly string[];
  readonly revisions: readonly CheckedRevision[];
  /** New ones that come after one that can't be applied. */
  readonly notChecked: readonly string[];
  readonly hasSample: boolean;
  /** What a run that was killed had left on the server. */
  readonly cleared: readonly string[];
}

interface CheckPorts {
  readonly databases: Pick<Databases, 'openCheckServer'>;
  readonly alembic: AlembicRunner;
}

const mostRowsCompared = 1_000_000;

/** Throws a Failure where nothing can be checked: the server, the scripts, the sample, or what comes before the new ones. */
export async function checkMigrations(request: CheckRequest, { databases, alembic }: CheckPorts): Promise<Checked> {
  const { versionTable, lockTimeoutSeconds } = request;
  const operationId = newOperationId();
  await using server = await databases.openCheckServer({
    url: request.server,
    versionTable,
    lockTimeoutSeconds,
    operationId,
  });
  const scratch = createScratches(server.database, operationId);
  try {
    const check = new Check(request, server, scratch, alembic, operationId);
    return await check.run();
  } finally {
    await scratch.clear();
  }
}

class Check {
  readonly #request: CheckRequest;
  readonly #server: CheckServer;
  readonly #scratch: Scratches;
  readonly #alembic: AlembicRunner;
  readonly #operationId: string;
  readonly #signal: AbortSignal;

  constructor(
    request: CheckRequest,
    server: CheckServer,
    scratch: Scratches,
    alembic: AlembicRunner,
    operationId: string,
  ) {
    this.#request = request;
    this.#server = server;
    this.#scratch = scratch;
    this.#alembic = alembic;
    this.#operationId = operationId;
    this.#signal = AbortSignal.any([request.signal, AbortSignal.timeout(request.timeoutSeconds * 1000)]);
  }

  async run(): Promise<Checked> {
    const { tell, sample } = this.#request;
    const graph = await this.#readGraph();
    const { old, fresh } = this.#divide(graph);
    const since = headsOf(graph, old);
    const revisions: CheckedRevision[] = [];
    const { server, cleared } = this.#server;
    if (fresh.length === 0) return { server, since, revisions, notChecked: [], hasSample: sample !== null, cleared };
    await this.#using(async ({ database: at, created }) => {
      await created;
      await this.#reach(at, stepsBetween(graph, new Set(), old), since);
      if (sample !== null) await this.#load(at, sample);
      const applied = new Set(old);
      for (const revision of fresh) {
        this.#stopIfAsked();
        tell(`checking ${revision.id}`);
        const from = headsOf(graph, applied);
        applied.add(revision.id);
        const seen = await this.#look(at, revision, from, headsOf(graph, applied));
        revisions.push(checkedOf(seen));
        if (seen.up.error !== null) break;
      }
    });
    const notChecked = fresh.slice(revisions.length).map(({ id }) => id);
    return { server, since, revisions, notChecked, hasSample: sample !== null, cleared };
  }

  async #readGraph(): Promise<RevisionGraph> {
    await using session = await this.#start(this.#server.root);
    return await session.graph();
  }

  #divide(graph: RevisionGraph): { readonly old: ReadonlySet<string>; readonly fresh: readonly Revision[] } {
    const all = new Set(graph.revisions.map(({ id }) => id));
    const old = this.#request.since === null ? without(all, headsOf(graph, all)) : below(graph, this.#request.since);
    return { old, fresh: graph.revisions.filter(({ id }) => !old.has(id)) };
  }

  /** What is there already is no news: that it can't be built means that nothing after it can be checked. */
  async #reach(at: OwnDatabase, steps: readonly Step[], heads: readonly string[]): Promise<void> {
    if (steps.length === 0) return;
    this.#request.tell(
      `running ${steps.length === 1 ? '1 migration' : `${steps.length} migrations`} from base to ${formatHeads(heads)}`,
    );
    const { error } = await this.#migrate(at, [], steps);
    if (error === null) return;
    throw stalled(
      'UpgradeFailed',
      `Base does not lead to ${formatHeads(heads)}, which the new migrations follow, so they can't be checked: ${asPart(describe(error))}.`,
    );
  }

  async #load(at: OwnDatabase, sample: string): Promise<void> {
    this.#request.tell(`loading ${sample}`);
    await this.#server.database.restoreInto(
      at,
      { place: { kind: 'path', path: sample }, format: 'plain' },
      () => {},
      this.#signal,
    );
  }

  /** `at` is taken up, and stays there for the next one; the way back is tried on a copy. */
  async #look(at: OwnDatabase, revision: Revision, from: readonly string[], to: readonly string[]): Promise<Seen> {
    const { database } = this.#server;
    const id = revision.id;
    return this.#using(
      async ({ database: before, created }) => {
        await created;
        const schema = await this.#canonical(before);
        const rows = (await database.contents(before)).rowCounts;
        const tables = await this.#tables(before);
        const held: HeldLock[] = [];
        const up = await this.#migrate(at, from, [{ direction: 'up', revision: id }], (locks) => held.push(...locks));
        const seen = {
          revision,
          up,
          down: null,
          again: null,
          before: schema,
          after: null,
          back: null,
          afterAgain: null,
          loss: { up: null, down: null, round: null },
          locks: tableLocks(held, tables, rows),
          hasSample: this.#request.sample !== null,
        } satisfies Seen;
        if (up.error !== null) return seen;
        const after = await this.#canonical(at);
        const lost = await this.#loss(before, at);
        return this.#tryBack({ ...seen, after, loss: { ...seen.loss, up: lost } }, { before, at, from, to });
      },
      (named) => database.copyDatabase(at, named),
    );
  }

  async #tryBack(
    seen: Seen,
    {
      before,
      at,
      from,
      to,
    }: {
      readonly before: OwnDatabase;
      readonly at: OwnDatabase;
      readonly from: readonly string[];
      readonly to: readonly string[];
    },
  ): Promise<Seen> {
    const { id } = seen.revision;
    return this.#using(
      async ({ database: trial, created }) => {
        await created;
        const down = await this.#migrate(trial, to, [{ direction: 'down', revision: id }]);
        if (down.error !== null) return { ...seen, down };
        // It imports alembic while the database is looked at, and connects only then.
        await using session = await this.#start(trial);
        const back = await this.#canonical(trial);
        const loss = {
          ...seen.loss,
          down: await this.#loss(at, trial),
          round: await this.#loss(before, trial),
        };
        const again = await this.#run(session, trial, from, [{ direction: 'up', revision: id }]);
        const afterAgain = again.error === null ? await this.#canonical(trial) : null;
        return { ...seen, down, back, again, afterAgain, loss };
      },
      (named) => this.#server.database.copyDatabase(at, named),
    );
  }

  /**
   * By a Python of its own: whoever's session stays on a database is in the way of copying it, and what an application keeps
   * open, or knows of tables, is in the way of the next migration. Nobody runs one back and forth in the same process.
   */
  async #migrate(
    database: OwnDatabase,
    from: readonly string[],
    steps: readonly Step[],
    onLocks?: (locks: readonly HeldLock[]) => void,
  ): Promise<Ran> {
    await using session = await this.#start(database);
    return await this.#run(session, database, from, steps, onLocks);
  }

  async #run(
    session: AlembicSession,
    database: OwnDatabase,
    from: readonly string[],
    steps: readonly Step[],
    onLocks?: (locks: readonly HeldLock[]) => void,
  ): Promise<Ran> {
    let ms = 0;
    const request = { from, steps, database, lock: this.#server.lock.token };
    const result = await session.migrate(
      request,
      (event) => {
        if (event.kind === 'finished') ms += event.ms;
      },
      onLocks,
    );
    this.#stopIfAsked();
    if (!result.ok && !ofMigrations.has(result.error.kind)) {
      throw stalled('AlembicFailed', `The migrations could not be run: ${describe(result.error)}`);
    }
    return { ms, error: result.ok ? null : result.error };
  }

  #start(database: OwnDatabase): Promise<AlembicSession> {
    const { alembic: spec, versionTable, lockTimeoutSeconds, env } = this.#request;
    const copy = { insteadOf: this.#server.root.name, database: database.name, url: null };
    return this.#alembic.start({
      spec,
      runtime: { process: {} },
      owner: null,
      versionTable,
      databaseUrl: this.#server.url,
      operationId: this.#operationId,
      lockTimeoutSeconds,
      signal: this.#signal,
      env,
      copy,
    });
  }

  #canonical(of: OwnDatabase): Promise<SchemaFacts> {
    return this.#using(({ database, created }) => this.#server.database.canonicalSchema(database, created, of));
  }

  #loss(before: OwnDatabase, after: OwnDatabase): Promise<DataLoss> {
    const options = { isCopy: true, mostRows: mostRowsCompared };
    return this.#server.database.findLoss(before, after, options, () => {}, this.#signal);
  }

  async #tables(of: OwnDatabase): Promise<ReadonlyMap<number, string>> {
    const text = await this.#server.database.query(tablesQuery, of);
    const rows = JSON.parse(text ?? '[]') as readonly (readonly [number, string])[];
    const { schema, name } = this.#request.versionTable;
    return new Map(rows.filter(([, table]) => table !== `${schema}.${name}`));
  }

  #using<T>(work: (scratch: Scratch) => Promise<T>, make?: (named: OwnDatabase) => Promise<unknown>): Promise<T> {
    return this.#scratch.use(() => this.#server.journal(this.#scratch.names()), work, make);
  }

  #stopIfAsked(): void {
    if (this.#request.signal.aborted)
      throw stalled('OperationInterrupted', 'It was stopped; what it made was dropped.');
    if (this.#signal.aborted)
      throw stalled('TimedOut', `It did not end within ${this.#request.timeoutSeconds} s. Give it more: --timeout`);
  }
}

const tablesQuery = `
  SELECT pg_catalog.json_agg(pg_catalog.json_build_array(c.oid::bigint, pg_catalog.format('%s.%s', n.nspname, c.relname)))::text
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  WHERE c.relkind IN ('r', 'p', 'm') AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_(toast|temp_)'`;

/** What a migration does by itself; anything else says nothing of it. */
const ofMigrations: ReadonlySet<string> = new Set(['migration', 'nothingDone', 'escaped']);

function below(graph: RevisionGraph, since: string): ReadonlySet<string> {
  const resolved = resolveRevision(graph, since, []);
  if (resolved.kind === 'unknown')
    throw stalled('RevisionNotFound', resolved.message.replace(/ See: migration-target history$/, ''));
  const found = appliedBelow(graph, resolved.revisions);
  if (found.kind === 'unknown') throw stalled('RevisionNotFound', `The scripts have no ${formatHeads(found.missing)}.`);
  return found.applied;
}

const without = (all: ReadonlySet<string>, some: readonly string[]): ReadonlySet<string> =>
  new Set([...all].filter((id) => !some.includes(id)));

function checkedOf(seen: Seen): CheckedRevision {
  const { revision, up, down, again, loss, locks } = seen;
  const msOf = (ran: Ran | null): number | null => (ran === null || ran.error !== null ? null : ran.ms);
  return {
    id: revision.id,
    message: revision.message,
    file: revision.file,
    findings: findingsOf(seen),
    locks,
    ms: { up: msOf(up), down: msOf(down), again: msOf(again) },
    loss,
  };
}
