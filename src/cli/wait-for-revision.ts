/**
 * `wait --revision`: holds whoever asks until the database is verified to be at what is needed. The gate of a pod, so it
 * needs no right but to read the one target, and whatever keeps it from that is waited for as well.
 */
import { revisionsText } from '../api/conditions.ts';
import { headRevision, revision } from '../api/revision.ts';
import { emptyStatus, keyText, seconds, type Condition, type TargetKey, type TargetStatus } from '../api/target.ts';
import type { Declaration, Home } from '../rollback/ports.ts';
import { restingRevisions, restsAt } from '../rollback/resting.ts';
import { statusOf } from '../rollback/status.ts';
import { wait } from '../rollback/wait.ts';
import type { Context } from './context.ts';
import { exitCodes, type ExitCode } from './exit-codes.ts';
import { listenForInterrupts } from './interrupts.ts';
import { declarationObject } from './objects.ts';
import { answer } from './output.ts';
import { Problem } from './problem.ts';
import { printable, wrap } from './text.ts';
import { unattendedText } from './unattended.ts';

/** A request every two seconds: pods may be many, and an operation takes longer. */
const pollMs = 2_000;
/** What a line says of a condition; the status has all of it. */
const mostShown = 400;

export interface Gate {
  readonly name: string | undefined;
  /** Several heads joined by commas; `base`: none. */
  readonly revision: string;
  /** As in YAML. */
  readonly timeout: string;
}

/** What one look found. */
type Look =
  | { readonly kind: 'open'; readonly declaration: Declaration }
  | { readonly kind: 'closed'; readonly because: string }
  /** A human is needed: waiting longer leads to nothing. */
  | { readonly kind: 'stalled'; readonly condition: Condition };

export async function waitForRevision(context: Context, { name, ...gate }: Gate): Promise<ExitCode> {
  const wanted = wantedRevisions(gate.revision);
  const home = await context.home();
  const key = await context.namedKey(name);
  const { notes } = context.output;
  const say = (text: string): void => notes.write(`${wrap(printable(context.say(text, key.name)), '', notes.width)}\n`);
  using interrupts = listenForInterrupts(say, { first: 'No longer waiting.', second: 'Ended at once.' });
  say(`Waiting until the database of ${keyText(key)} is at ${revisionsText(wanted)}, for ${gate.timeout} at most.`);

  const deadline = performance.now() + seconds(gate.timeout) * 1000;
  let told = '';
  for (;;) {
    const look = await lookAt(home, key, wanted);
    if (look.kind === 'open') return await opened(context, key, look.declaration, wanted);
    if (look.kind === 'stalled')
      throw new Problem(`${look.condition.reason} ${key.name}`, look.condition.message, exitCodes.stalled);
    if (look.because !== told) say((told = look.because));
    if (interrupts.signal.aborted)
      throw new Problem(`Interrupted ${key.name}`, 'Nothing was done here.', exitCodes.interrupted);
    const left = deadline - performance.now();
    if (left <= 0)
      throw new Problem(
        `TimedOut ${key.name}`,
        `The database did not come to ${revisionsText(wanted)} within ${gate.timeout}. ${told}`,
        exitCodes.timedOut,
      );
    await wait(Math.min(pollMs, left), interrupts.signal);
  }
}

/** Throws a Problem that says what to write instead. */
function wantedRevisions(text: string): readonly string[] {
  if (text === 'base') return [];
  const ids = text.split(',');
  const schema = ids.length === 1 ? revision : headRevision;
  for (const id of ids) {
    const parsed = schema.safeParse(id);
    if (!parsed.success) throw new Problem(`Usage wait --revision ${text}`, parsed.error.issues[0]?.message ?? '');
  }
  return ids;
}

async function lookAt(home: Home, key: TargetKey, wanted: readonly string[]): Promise<Look> {
  let declaration: Declaration | null;
  try {
    declaration = await home.get(key);
  } catch (thrown) {
    return { kind: 'closed', because: thrown instanceof Error ? thrown.message : String(thrown) };
  }
  if (declaration === null) return { kind: 'closed', because: `There is no MigrationTarget ${keyText(key)} yet.` };
  // What else is declared may be of a newer version than this program; the status is enough.
  const { status, generation } =
    declaration.kind === 'target'
      ? { status: statusOf(declaration.target), generation: declaration.target.metadata.generation }
      : { status: declaration.status ?? emptyStatus, generation: declaration.generation };
  if (restsAt(status, wanted)) return { kind: 'open', declaration };
  const stalled = status.conditions.find(({ type }) => type === 'Stalled');
  if (stalled?.status === 'True' && stalled.observedGeneration === generation)
    return { kind: 'stalled', condition: stalled };
  return { kind: 'closed', because: closedText(key, status, generation) };
}

/** Why the gate is closed; pure. */
export function closedText(key: TargetKey, status: TargetStatus, generation: number): string {
  if (status.observedGeneration !== generation) return unattendedText(key);
  const ready = status.conditions.find(({ type }) => type === 'Ready');
  const resting = restingRevisions(status);
  const where = resting === null ? 'is not at rest' : `is at ${revisionsText(resting)}`;
  const why = `${ready?.reason ?? 'Unknown'}: ${ready?.message ?? ''}`;
  // A command that is cut off must not look like one.
  const shown =
    why.length > mostShown
      ? `${why.slice(0, mostShown).toWellFormed()} … All of it: migration-target status ${key.name}`
      : why;
  return `It ${where}, and ${revisionsText(status.desiredRevisions)} is declared. ${shown}`;
}

async function opened(
  context: Context,
  key: TargetKey,
  declaration: Declaration,
  wanted: readonly string[],
): Promise<ExitCode> {
  await answer(context.output, {
    object: declarationObject(declaration),
    names: [`migrationtarget/${key.name}`],
    text: ({ screen }) => `${screen.paint('green', '✓')} ${key.name}   at ${revisionsText(wanted)}`,
  });
  return exitCodes.done;
}
