/**
 * The trap that hurts most: the application went back to its older image first, whose scripts know nothing of the revision
 * that the database is at ("Can't locate revision"). What led there was recorded, and leads back.
 */
import { asFailure } from './errors.ts';
import { formatHeads } from './graph.ts';
import { shortImageId } from './image-id.ts';
import type { DatabaseIdentity, Plan, RecordedScripts, RevisionGraph, ScriptSource } from './model.ts';
import { currentHeads, decide, type RestoreInput } from './plan.ts';
import type { AlembicSession, BackupStore, LockToken, RunScripts } from './ports.ts';
import { asRun } from './scope.ts';
import { asPart } from './sentences.ts';

/** How many recordings are tried, the newest first. */
const mostTried = 3;

export interface Decided {
  readonly plan: Plan;
  readonly graph: RevisionGraph;
  /** What runs it, where that is not what is declared; to be ended by whoever asked. */
  readonly session: AlembicSession | null;
}

/** Whether the scripts lack an end of the way. Pure. */
export const lacksAnEnd = (input: RestoreInput, { revisions }: RevisionGraph): boolean => {
  const known = new Set(revisions.map(({ id }) => id));
  return [...currentHeads(input), ...input.desired].some((id) => !known.has(id));
};

/** Recordings that hold both ends. Pure. */
export function candidates(input: RestoreInput, recorded: readonly RecordedScripts[]): readonly RecordedScripts[] {
  const ends = [...currentHeads(input), ...input.desired];
  return recorded
    .filter(({ revisions }) => ends.every((id) => revisions.includes(id)))
    .filter(
      (one, index, all) => all.findIndex(({ digest, image }) => digest === one.digest && image === one.image) === index,
    )
    .slice(0, mostTried);
}

/**
 * Where the declared scripts lack an end, those that were recorded are tried: in the image that had them, and where that is
 * gone, as they were kept, in the present one. What can't be used is said with whatever is decided without it.
 */
export async function decideByRecorded(
  input: RestoreInput,
  decided: { readonly plan: Plan; readonly graph: RevisionGraph },
  means: {
    readonly store: BackupStore;
    readonly start: (scripts: RunScripts) => Promise<AlembicSession>;
    /** null: nothing is held, so env.py is not run; it is once an operation holds it. */
    readonly lock: LockToken | null;
  },
): Promise<Decided> {
  const asItIs = { ...decided, session: null };
  if (!lacksAnEnd(input, decided.graph)) return asItIs;
  const { identity } = input.state;
  const misses: string[] = [];
  for (const recorded of candidates(input, await means.store.recordedScripts(identity))) {
    for (const kind of ['image', 'archive'] as const) {
      const run = asRun(recorded, kind);
      if (run === null) continue;
      const tried = await tryOne(input, recorded, run, means, identity);
      if ('miss' in tried) {
        misses.push(tried.miss);
        continue;
      }
      const source: ScriptSource = { kind, digest: recorded.digest, because: sentence(input, recorded, kind, misses) };
      return { ...tried, plan: withScripts(tried.plan, source) };
    }
  }
  return misses.length === 0 ? asItIs : { ...asItIs, plan: withMisses(decided.plan, misses) };
}

type Tried = { readonly plan: Plan; readonly graph: RevisionGraph; readonly session: AlembicSession };

async function tryOne(
  input: RestoreInput,
  { digest, image }: RecordedScripts,
  run: RunScripts,
  {
    start,
    lock,
  }: { readonly start: (scripts: RunScripts) => Promise<AlembicSession>; readonly lock: LockToken | null },
  database: DatabaseIdentity,
): Promise<Tried | { readonly miss: string }> {
  const what =
    run.kind === 'image' ? `in image ${shortImageId(image ?? '')}` : 'as they were kept, in what is deployed now';
  let session: AlembicSession | null = null;
  const miss = async (why: string): Promise<{ readonly miss: string }> => {
    await session?.[Symbol.asyncDispose]();
    return { miss: `${what}: ${asPart(why)}` };
  };
  try {
    session = await start(run);
    await session.prove();
    const graph = await session.graph();
    if (graph.digest !== digest) return await miss('they are others than were recorded');
    const plan = decide({ ...input, graph });
    // What env.py needs beside them may have changed since. Without the lock it is not run: it may connect in ways of its own.
    const probed = lock === null ? null : await session.probe({ database, lock });
    if (probed?.ok === false) return await miss(`env.py can't run with them (${probed.error.message})`);
    return { plan, graph, session };
  } catch (thrown) {
    const failure = asFailure(thrown);
    if (failure.kind === 'retry') {
      await session?.[Symbol.asyncDispose]();
      throw failure;
    }
    return miss(failure.message);
  }
}

function sentence(
  input: RestoreInput,
  { at, image, reached }: RecordedScripts,
  kind: ScriptSource['kind'],
  misses: readonly string[],
): string {
  const whose =
    kind === 'image'
      ? `those of image ${shortImageId(image ?? '')} are run, in a container of it`
      : 'those are run that were kept, in what is deployed now';
  const not = misses.length === 0 ? '' : ` (not ${misses.join('; not ')})`;
  return `What is deployed does not have all migrations between ${formatHeads(currentHeads(input))} and ${formatHeads(input.desired)}: ${whose}, which led to ${formatHeads(reached)} at ${at}${not}.`;
}

const withScripts = (plan: Plan, scripts: ScriptSource): Plan => ('steps' in plan ? { ...plan, scripts } : plan);

/** The way that is left says why it is not another one. */
function withMisses(plan: Plan, misses: readonly string[]): Plan {
  const why = `the recorded migrations could not be run ${misses.join('; nor ')}`;
  if (plan.kind === 'restore') return { ...plan, because: `${plan.because}, and ${why}` };
  return plan.kind === 'refuse' ? { ...plan, message: `${plan.message} (${why}.)` } : plan;
}
