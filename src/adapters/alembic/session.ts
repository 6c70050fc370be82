import { isAbsolute, relative } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { changedSincePlanned, stalled } from '../../rollback/errors.ts';
import type { RevisionGraph, ScriptArchive, Step } from '../../rollback/model.ts';
import type {
  AlembicSession,
  AlembicSettings,
  HeldLock,
  MigrationError,
  MigrationEvent,
  MigrationResult,
} from '../../rollback/ports.ts';
import type { GraphMemory, Sources } from './graph-cache.ts';
import type { PythonPlace } from './place.ts';
import { ProcessEnded, type Message, type PythonProcess } from './python-process.ts';

/** Lines of output that one run may report; a migration that prints each row must not fill the report. */
const mostLines = 1_000;
/** Less than what is read of a line, so that a secret at the cut is seen, and masked, as a whole. */
const longestLine = 2_000;

const tidyMs = 1_000;

type Offline = Awaited<ReturnType<AlembicSession['offlineSql']>>;
type GraphAnswer =
  | { readonly graph: RevisionGraph; readonly sources: Sources }
  | {
      readonly failure: {
        readonly reason: 'AlembicConfigNotFound' | 'AlembicFailed';
        readonly message: string;
        readonly file: string | null;
        readonly line: number | null;
      };
    };

export interface Opening {
  readonly mask: (text: string) => string;
  readonly place: Pick<PythonPlace, 'command' | 'image' | 'where'>;
  /** Resolves once alembic is imported; its failure is that of whatever needs Python. */
  readonly greeting: Promise<void>;
  readonly recalled: RevisionGraph | null;
  readonly memory: GraphMemory;
  /** When Python was started, in milliseconds. */
  readonly startedAt: number;
}

/** One operation's conversation with the driver. Requests are answered one at a time, in their order. */
export function openSession(python: PythonProcess, settings: AlembicSettings, opening: Opening): AlembicSession {
  const { spec, signal, copy } = settings;
  const { mask, memory, place } = opening;
  const history = place.command(spec.workingDir, 'alembic history');
  let { recalled } = opening;
  /** What was told from memory, and not held against what alembic reads yet. */
  let told: RevisionGraph | null = null;
  let reading: Promise<RevisionGraph> | null = null;
  let keeping: Promise<void> = Promise.resolve();
  let last: Promise<unknown> = opening.greeting;

  /** Waits for its turn. */
  const ask: typeof askNow = async (...request) => {
    const turn = last;
    const { promise, resolve } = Promise.withResolvers<void>();
    last = turn.then(() => promise);
    last.catch(() => undefined);
    try {
      await turn;
      return await askNow(...request);
    } finally {
      resolve();
    }
  };
  /** Asks once; gives the process up if the signal aborts first, unless `mayInterrupt` says that it is too late for that. */
  const askNow = async (
    method: string,
    params: unknown,
    onEvent: (event: Message) => void,
    onLine: (line: string) => void,
    mayInterrupt: () => boolean,
  ): Promise<unknown> => {
    const interrupt = (): void => {
      if (mayInterrupt()) python.giveUp();
    };
    signal.addEventListener('abort', interrupt, { once: true });
    try {
      if (signal.aborted) interrupt();
      else python.send({ method, params });
      return (await python.receive(onEvent, (line) => onLine(mask(line).slice(0, longestLine))))['result'];
    } finally {
      signal.removeEventListener('abort', interrupt);
    }
  };
  const ignore = (): void => {};
  const died = (error: ProcessEnded, run: Interrupted): MigrationError =>
    run.mayTimeOut && signal.aborted ? timedOut(error, run, spec.workingDir) : deathOf(error, run.step);

  const readGraph = async (): Promise<RevisionGraph> => {
    let answer: GraphAnswer;
    try {
      answer = (await ask('graph', {}, ignore, ignore, () => true)) as GraphAnswer;
    } catch (error) {
      if (!(error instanceof ProcessEnded)) throw error;
      if (error.lost !== null) throw error.lost;
      if (signal.aborted)
        throw stalled(
          'TimedOut',
          `Reading the migrations of ${spec.workingDir} did not finish in time${hangsAt(error, spec.workingDir)}. Try: ${history}`,
          error,
        );
      throw stalled(
        'AlembicFailed',
        mask(`Python ${error.how} while alembic read the migrations of ${spec.workingDir}.${lastWords(error)}`),
        error,
      );
    }
    if ('graph' in answer) {
      const { graph, sources } = answer;
      if (recalled === null) keeping = memory.keep(graph, sources, opening.startedAt);
      // What differs although it looks the same may differ again, so that it isn't kept either.
      else if (!isDeepStrictEqual(recalled, graph)) await memory.forget();
      return graph;
    }
    const { reason, message, file, line } = answer.failure;
    if (reason === 'AlembicConfigNotFound')
      throw stalled(reason, `${message}. Correct spec.alembic.workingDir and spec.alembic.config.`);
    throw stalled(
      reason,
      mask(`alembic can't read the migrations of ${spec.workingDir}${at(file, line)}: ${message}. Try: ${history}`),
    );
  };

  const read = (): Promise<RevisionGraph> => (reading ??= readGraph());
  const prove = async (): Promise<boolean> => {
    const real = await read();
    const before = told;
    recalled = told = null;
    return before === null || isDeepStrictEqual(before, real);
  };

  return {
    where: place.where,
    image: place.image,
    graph: async () => (recalled === null ? read() : (told = recalled)),
    prove,

    async archive() {
      await read();
      try {
        return (await ask('archive', {}, ignore, ignore, () => true)) as ScriptArchive | null;
      } catch (error) {
        if (!(error instanceof ProcessEnded)) throw error;
        throw (
          error.lost ??
          stalled(
            'AlembicFailed',
            mask(`Python ${error.how} while it read the migrations of ${spec.workingDir}.`),
            error,
          )
        );
      }
    },

    warmUp() {
      const driver = spec.databaseUrl?.driver ?? null;
      // What goes wrong is told by who needs it. The graph first: it is waited for first.
      read().catch(() => undefined);
      ask('warmUp', { driver }, ignore, ignore, () => true).catch(() => undefined);
    },

    async migrate(request, onEvent, onLocks): Promise<MigrationResult> {
      const watch = watcher(request.steps, onEvent);
      const asked = onLocks === undefined ? request : { ...request, tellLocks: true };
      let free = false;
      const mayInterrupt = (): boolean => !free || copy !== null;
      const onDriverEvent = (event: Message): void => {
        if (event['kind'] === 'locks') return onLocks?.(event['locks'] as readonly HeldLock[]);
        if (event['kind'] !== 'ready') return watch.event(event);
        // From here on it is never interrupted, but in a rehearsal. Without the go-ahead it has not begun, and then it never will.
        if (signal.aborted) return;
        free = true;
        python.send({ go: true });
      };
      if (told !== null && !(await prove())) throw changedSincePlanned(spec.workingDir);
      try {
        const answer = (await ask('migrate', asked, onDriverEvent, watch.line, mayInterrupt)) as MigrationResult;
        return answer.ok ? answer : { ok: false, error: masked(answer.error, mask) };
      } catch (error) {
        if (!(error instanceof ProcessEnded)) throw error;
        return {
          ok: false,
          error: masked(died(error, { step: watch.running(), begun: free, mayTimeOut: mayInterrupt() }), mask),
        };
      }
    },

    async probe(request): Promise<MigrationResult> {
      try {
        const answer = (await ask('probe', request, ignore, ignore, () => true)) as MigrationResult;
        return answer.ok ? answer : { ok: false, error: masked(answer.error, mask) };
      } catch (error) {
        if (!(error instanceof ProcessEnded)) throw error;
        return { ok: false, error: masked(died(error, { step: null, begun: false, mayTimeOut: true }), mask) };
      }
    },

    async offlineSql(request): Promise<Offline> {
      if (request.steps.length === 0) return { kind: 'sql', sql: '' };
      try {
        const answer = (await ask('offlineSql', request, ignore, ignore, () => true)) as Offline;
        return answer.kind === 'sql' ? answer : { kind: 'unavailable', because: mask(answer.because) };
      } catch (error) {
        if (!(error instanceof ProcessEnded)) throw error;
        const because = signal.aborted
          ? `it did not finish in time${hangsAt(error, spec.workingDir)}`
          : `Python ${error.how}.${lastWords(error)}`;
        return { kind: 'unavailable', because: mask(because) };
      }
    },

    async [Symbol.asyncDispose]() {
      if (settings.scripts?.kind === 'archive') await tidied(ask('tidy', {}, ignore, ignore, () => true));
      await python[Symbol.asyncDispose]();
      await keeping;
    },
  };
}

/** What was unpacked is removed by who unpacked it, unless it hangs: then it is ended without. */
async function tidied(asked: Promise<unknown>): Promise<void> {
  const signal = AbortSignal.timeout(tidyMs);
  const late = new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }));
  await Promise.race([asked.catch(() => undefined), late]);
}

/** Turns the driver's events into the port's, measures each step, bounds the output. */
function watcher(steps: readonly Step[], onEvent: (event: MigrationEvent) => void) {
  let lines = 0;
  let running: Step | null = null;
  let startedAt = 0;
  return {
    running: () => running,
    line: (line: string): void => {
      lines += 1;
      if (lines <= mostLines) onEvent({ kind: 'output', line });
      else if (lines === mostLines + 1)
        onEvent({ kind: 'output', line: `… more than ${mostLines} lines: the rest is left out` });
    },
    event: (event: Message): void => {
      const index = event['index'] as number;
      const step = steps[index];
      if (step === undefined) throw new Error(`the driver told of step ${index} of ${steps.length}`);
      if (event['kind'] === 'started') {
        running = step;
        startedAt = performance.now();
        onEvent({ kind: 'started', step, index, total: steps.length });
      } else {
        running = null;
        onEvent({ kind: 'finished', step, index, total: steps.length, ms: Math.round(performance.now() - startedAt) });
      }
    },
  };
}

/** Where a run was when its process ended. */
interface Interrupted {
  readonly step: Step | null;
  readonly begun: boolean;
  readonly mayTimeOut: boolean;
}

function deathOf(error: ProcessEnded, step: Step | null): MigrationError {
  const where = step === null ? 'outside of any migration' : `in the ${nameOf(step)}`;
  const message = `Python ${error.how} ${where}.${lastWords(error)}`;
  return { ...unknownError, kind: 'died', message, step, ...(error.lost === null ? {} : { lost: error.lost }) };
}

function timedOut(error: ProcessEnded, { step, begun }: Interrupted, workingDir: string): MigrationError {
  const frame = innermost(error, workingDir);
  const at = hangsAt(error, workingDir);
  const message = begun
    ? `The ${step === null ? 'change' : nameOf(step)} did not end in time${at}.`
    : `No migration had started in time${at}; nothing was changed.`;
  return {
    ...unknownError,
    kind: 'timedOut',
    message: message + lastWords(error),
    step,
    file: frame?.file ?? null,
    line: frame?.line ?? null,
    committed: begun ? null : false,
  };
}

const unknownError = {
  sqlstate: null,
  statement: null,
  file: null,
  line: null,
  blockedBy: null,
  committed: null,
} as const;

const nameOf = ({ direction, revision }: Step): string =>
  `${direction === 'up' ? 'upgrade' : 'downgrade'} of ${revision}`;

function masked(error: MigrationError, mask: (text: string) => string): MigrationError {
  const hide = (text: string | null): string | null => (text === null ? null : mask(text));
  return { ...error, message: mask(error.message), statement: hide(error.statement), blockedBy: hide(error.blockedBy) };
}

/** The innermost line of the user's own at which a process hung. */
function innermost(error: ProcessEnded, workingDir: string): { readonly file: string; readonly line: number } | null {
  const frame = error.frames.findLast(([file]) => {
    const path = relative(workingDir, file);
    return isAbsolute(file) && !path.startsWith('..') && !path.split('/').includes('site-packages');
  });
  return frame === undefined ? null : { file: relative(workingDir, frame[0]), line: frame[1] };
}

function hangsAt(error: ProcessEnded, workingDir: string): string {
  const frame = innermost(error, workingDir);
  return frame === null ? '' : `: it was at ${frame.file}:${frame.line}`;
}

const at = (file: string | null, line: number | null): string => (file === null ? '' : ` (${file}:${line})`);

const lastWords = (error: ProcessEnded): string =>
  error.lastOutput.length === 0 ? '' : ` It wrote last:\n${error.lastOutput.join('\n')}`;
