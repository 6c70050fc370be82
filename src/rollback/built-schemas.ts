/**
 * The schema at each revision as its own migrations make it: run from base in scratch databases, which are dropped whatever
 * happens. A history that base does not lead along is expected: then it is said up to where it went, and why no further.
 */
import { createHash } from 'node:crypto';
import { allStages, planBuild, stepsIn, type Stage } from './build-plan.ts';
import { formatRevisions, revisionsOf, sameRevisions } from './compare.ts';
import { asFailure, Failure, stalled } from './errors.ts';
import { formatHeads, sameSet } from './graph.ts';
import { describe } from './migration-errors.ts';
import type { BuiltSchemas, DatabaseProperties, Operation, OwnDatabase, RevisionGraph, SchemaFacts } from './model.ts';
import type { AlembicSession, MigrationError } from './ports.ts';
import { startAlembic, type Scope, withScratch } from './scope.ts';
import { asPart } from './sentences.ts';

/** Beside a change nobody waits for hundreds of migrations; `identify` runs them all, once. */
export const mostStepsBeside = 50;

export interface BuildOptions {
  readonly graph: RevisionGraph;
  /** Sets of revisions, as the version table would hold them. */
  readonly wanted: readonly (readonly string[])[];
  /** How many migrations may be run for what was not built before; beyond it, nothing is. */
  readonly mostSteps: number;
}

/** Those of `wanted` that are known from before or could be built, and the others with why. */
export async function buildSchemas(scope: Scope, operation: Operation, options: BuildOptions): Promise<BuiltSchemas> {
  const { graph, mostSteps } = options;
  const { major } = operation.origin.server;
  const live = await scope.database.properties();
  const of = digestOf(scope, operation, graph, live);
  const known = (await readKnown(scope, operation, of, major)) ?? { major, schemas: [], unbuilt: [] };
  const isKnown = (wanted: readonly string[]): boolean =>
    [...known.schemas, ...known.unbuilt].some(({ revisions }) => sameSet(revisions, wanted));
  const missing = options.wanted.filter((revisions) => !isKnown(revisions));
  if (missing.length === 0) return known;
  const base = planBuild(graph, missing);
  if (stepsIn(base) > mostSteps) {
    const steps = stepsIn(base);
    const beside = `that takes ${steps} ${steps === 1 ? 'migration' : 'migrations'}, which are not run ${mostSteps === 0 ? 'here' : `beside a change where they are more than ${mostSteps}`}`;
    const because = `${beside}; all are run, once, by: migration-target identify ${scope.key.name}`;
    return { ...known, unbuilt: [...known.unbuilt, ...missing.map((revisions) => ({ revisions, because }))] };
  }
  const build = new Build(scope, operation, stepsIn(base));
  await build.fromBase(base, live);
  const built = merged(known, build.result(major));
  // What only did not go through this time would be taken for the migrations' fault for ever.
  if (build.isLasting) await scope.store.recordBuilt(of, built);
  return built;
}

/** A damaged cache is no reason to stop: it is built again, and written over. */
async function readKnown(
  { store, ports, key }: Scope,
  operation: Operation,
  of: string,
  major: number,
): Promise<BuiltSchemas | null> {
  try {
    return await store.builtSchemas(of, major);
  } catch (thrown) {
    if (!(thrown instanceof Failure) || thrown.reason !== 'BackupInvalid') throw thrown;
    ports.observe(key, operation.id, {
      kind: 'note',
      level: 'warn',
      message: `${thrown.message} They are built again.`,
    });
    return null;
  }
}

function merged(known: BuiltSchemas, { major, schemas, unbuilt }: BuiltSchemas): BuiltSchemas {
  const isNew = ({ revisions }: { readonly revisions: readonly string[] }): boolean =>
    ![...schemas, ...unbuilt].some((built) => sameSet(built.revisions, revisions));
  return {
    major,
    schemas: [...known.schemas.filter(isNew), ...schemas],
    unbuilt: [...known.unbuilt.filter(isNew), ...unbuilt],
  };
}

/** What decides over the schema that the migrations make: they themselves, how they are run, and who owns what they make. */
function digestOf(
  { target }: Scope,
  { origin }: Operation,
  { digest }: RevisionGraph,
  { owner, statements }: DatabaseProperties,
): string {
  const { python: _, ...alembic } = target.spec.alembic;
  const { systemIdentifier, name } = origin.identity;
  const { versionTable, versionTableSchema } = target.spec.database;
  const decides = { digest, alembic, systemIdentifier, name, owner, statements, versionTable, versionTableSchema };
  return createHash('sha256').update(JSON.stringify(decides)).digest('hex');
}

/** A database at a stage, and its schema there. */
interface At {
  readonly database: OwnDatabase;
  readonly stage: Stage;
  readonly schema: Rendered;
}

/** As the database itself renders it, and as every schema that is kept is. */
interface Rendered {
  readonly raw: SchemaFacts;
  readonly canonical: SchemaFacts;
}

class Build {
  readonly #scope: Scope;
  readonly #operation: Operation;
  readonly #as: string;
  readonly #deadline: AbortSignal;
  readonly #total: number;
  readonly #schemas: { readonly revisions: readonly string[]; readonly schema: SchemaFacts }[] = [];
  readonly #unbuilt: { readonly revisions: readonly string[]; readonly because: string }[] = [];
  #done = 0;
  /** Whether it would end in the same way another time. */
  isLasting = true;

  constructor(scope: Scope, operation: Operation, total: number) {
    this.#scope = scope;
    this.#operation = operation;
    // Its sessions are none of a rehearsal's that is under way, which looks for those of its own outside of its copy.
    this.#as = `${operation.id}b`;
    this.#deadline = scope.deadline(operation);
    this.#total = total;
  }

  result(major: number): BuiltSchemas {
    return { major, schemas: this.#schemas, unbuilt: this.#unbuilt };
  }

  /** In an empty database that is set up as the live one: whoever owns that one makes everything there. */
  async fromBase(base: Stage, live: DatabaseProperties): Promise<void> {
    const { database: server } = this.#scope;
    try {
      await withScratch(
        this.#scope,
        this.#operation,
        async ({ database, created }) => {
          await created;
          const raw = (await server.contents(database)).schema;
          const schema = { raw, canonical: await this.#canonical(database) };
          this.#schemas.push({ revisions: [], schema: schema.canonical });
          await this.#goOn({ database, stage: base, schema });
        },
        (named) => server.createDatabase(named, emptyLike(live)),
      );
    } catch (thrown) {
      const failure = asFailure(thrown);
      if (failure.reason !== 'PermissionDenied' || this.#schemas.length > 0) throw thrown;
      this.#giveUp([base], `no database like it can be made: ${failure.message}`, { isLasting: false });
    }
  }

  /** Up to where it ends; each branching off goes its way in a copy first. */
  async #goOn(start: At): Promise<void> {
    let at: At | null = start;
    while (at !== null) {
      const [main, ...others] = at.stage.next.toReversed();
      if (main === undefined) return;
      const from: At = at;
      for (const stage of others) {
        await withScratch(
          this.#scope,
          this.#operation,
          async ({ database, created }) => {
            await created;
            const reached = await this.#climb({ ...from, database }, stage);
            if (reached !== null) await this.#goOn(reached);
          },
          (named) => this.#scope.database.copyDatabase(from.database, named),
        );
      }
      at = await this.#climb(from, main);
    }
  }

  /** From one stage on as far as nothing branches off; null: it ended before. One Python runs all of it. */
  async #climb(from: At, first: Stage): Promise<At | null> {
    const { database } = from;
    await using session = await this.#startOn(database);
    await using strays = await this.#scope.database.watchStrays(database, this.#as);
    let at: At | null = from;
    let stage: Stage | undefined = first;
    while (at !== null && stage !== undefined) {
      at = await this.#step(session, at, stage);
      stage = at !== null && at.stage.next.length === 1 ? at.stage.next[0] : undefined;
    }
    const [stray] = await strays.found();
    if (stray === undefined) return at;
    throw stalled(
      'RehearsalFailed',
      `A migration reaches beyond the scratch database that it was run in: ${asPart(stray)}. Take that out of the migration.`,
    );
  }

  async #startOn(database: OwnDatabase): Promise<AlembicSession> {
    const { key, target, ports, signal } = this.#scope;
    return startAlembic(
      { key, target, ports, signal: AbortSignal.any([signal, this.#deadline]) },
      this.#as,
      { insteadOf: this.#operation.origin.identity.name, database: database.name, url: null },
      await this.#scope.scripts(),
    );
  }

  async #step(session: AlembicSession, at: At, stage: Stage): Promise<At | null> {
    const { database } = at;
    const { lock, ports, key, database: server, signal } = this.#scope;
    const before = this.#done;
    const told = (done: number): void => {
      this.#done = done;
      const progress = { kind: 'progress', step: 'build', done, total: this.#total, what: 'migrations' } as const;
      ports.observe(key, this.#operation.id, progress);
    };
    const request = { from: at.stage.revisions, steps: stage.steps, database, lock: lock.token };
    const result = await session.migrate(request, (event) => {
      if (event.kind === 'finished') told(before + event.index + 1);
    });
    told(before + stage.steps.length);
    if (!result.ok) {
      if (signal.aborted) throw stalled('TimedOut', describe(result.error));
      this.#giveUp([stage], this.#reasonOf(result.error), { isLasting: lasting.has(result.error.kind) });
      return null;
    }
    const { schema: raw, versionTable } = await server.contents(database);
    const revisions = revisionsOf(versionTable);
    if (!sameRevisions(revisions, stage.revisions)) {
      const because = `the migrations to ${formatHeads(stage.revisions)} ran, and the version table says ${formatRevisions(revisions)}`;
      this.#giveUp([stage], because, { isLasting: true });
      return null;
    }
    // Most of what a data migration costs is to look at a schema that did not move.
    const hasMoved = raw.digest !== at.schema.raw.digest;
    const canonical = hasMoved ? await this.#canonical(database) : at.schema.canonical;
    this.#schemas.push({ revisions: stage.revisions, schema: canonical });
    return { database, stage, schema: { raw, canonical } };
  }

  #canonical(of: OwnDatabase): Promise<SchemaFacts> {
    return withScratch(this.#scope, this.#operation, ({ database, created }) =>
      this.#scope.database.canonicalSchema(database, created, of),
    );
  }

  #reasonOf(error: MigrationError): string {
    const { timeout } = this.#scope.target.spec;
    return this.#deadline.aborted ? `it did not end within spec.timeout (${timeout})` : describe(error);
  }

  #giveUp(from: readonly Stage[], because: string, { isLasting }: { readonly isLasting: boolean }): void {
    this.isLasting = this.isLasting && isLasting;
    for (const { revisions } of from.flatMap(allStages)) this.#unbuilt.push({ revisions, because });
  }
}

/** What a migration does by itself. Anything else may be otherwise the next time. */
const lasting: ReadonlySet<MigrationError['kind']> = new Set(['migration', 'nothingDone', 'escaped']);

/** There is nothing of the live database's in it, so whoever may connect to that one may connect to it. */
const emptyLike = (live: DatabaseProperties): DatabaseProperties => ({
  ...live,
  connectionLimit: -1,
  comment: 'migration-target: scratch, dropped after use',
  statements: live.statements.filter(
    (statement) => !/"default_transaction_read_only"|^ALTER DATABASE \S+ IS_TEMPLATE /.test(statement),
  ),
});
