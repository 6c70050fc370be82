import { isAbsolute, relative } from 'node:path';
import { stalled } from '../../rollback/errors.ts';
import type { RevisionGraph, Step } from '../../rollback/model.ts';
import type {
  AlembicSession,
  AlembicSettings,
  MigrationError,
  MigrationEvent,
  MigrationResult,
} from '../../rollback/ports.ts';
import { ProcessEnded, type Message, type PythonProcess } from './python-process.ts';

/** Lines of output that one run may report; a migration that prints each row must not fill the report. */
const mostLines = 1_000;
/** Less than what is read of a line, so that a secret at the cut is seen, and masked, as a whole. */
const longestLine = 2_000;

type Offline = Awaited<ReturnType<AlembicSession['offlineSql']>>;
type GraphAnswer =
  | { readonly graph: RevisionGraph }
  | {
      readonly failure: {
        readonly reason: 'AlembicConfigNotFound' | 'AlembicFailed';
        readonly message: string;
        readonly file: string | null;
        readonly line: number | null;
      };
    };

/** One operation's conversation with the driver. Requests are answered one at a time. */
export function openSession(
  python: PythonProcess,
  settings: AlembicSettings,
  mask: (text: string) => string,
): AlembicSession {
  const { spec, signal } = settings;
  let graph: Promise<RevisionGraph> | null = null;
  let warming: Promise<unknown> = Promise.resolve();

  /** Asks once; gives the process up if the signal aborts first, unless `mayInterrupt` says that it is too late for that. */
  const ask = async (
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

  const readGraph = async (): Promise<RevisionGraph> => {
    let answer: GraphAnswer;
    try {
      answer = (await ask('graph', {}, ignore, ignore, () => true)) as GraphAnswer;
    } catch (error) {
      if (!(error instanceof ProcessEnded)) throw error;
      if (signal.aborted)
        throw stalled(
          'TimedOut',
          `Reading the migrations of ${spec.workingDir} did not finish in time${hangsAt(error, spec.workingDir)}. Try: cd ${spec.workingDir} && alembic history`,
          error,
        );
      throw stalled(
        'AlembicFailed',
        mask(`Python ${error.how} while alembic read the migrations of ${spec.workingDir}.${lastWords(error)}`),
        error,
      );
    }
    if ('graph' in answer) return answer.graph;
    const { reason, message, file, line } = answer.failure;
    if (reason === 'AlembicConfigNotFound')
      throw stalled(reason, `${message}. Correct spec.alembic.workingDir and spec.alembic.config.`);
    throw stalled(
      reason,
      mask(
        `alembic can't read the migrations of ${spec.workingDir}${at(file, line)}: ${message}. Try: cd ${spec.workingDir} && alembic history`,
      ),
    );
  };

  return {
    graph: () => (graph ??= readGraph()),

    warmUp() {
      const driver = spec.databaseUrl?.driver ?? null;
      // Whether it could be imported is told by who needs it.
      warming = ask('warmUp', { driver }, ignore, ignore, () => true).catch(() => undefined);
    },

    async migrate(request, onEvent): Promise<MigrationResult> {
      const watch = watcher(request.steps, onEvent);
      let free = false;
      const onDriverEvent = (event: Message): void => {
        if (event['kind'] !== 'ready') return watch.event(event);
        // From here on it is never interrupted. Without the go-ahead it has not begun, and then it never will.
        if (signal.aborted) return;
        free = true;
        python.send({ go: true });
      };
      await warming;
      try {
        const answer = (await ask('migrate', request, onDriverEvent, watch.line, () => !free)) as MigrationResult;
        return answer.ok ? answer : { ok: false, error: masked(answer.error, mask) };
      } catch (error) {
        if (!(error instanceof ProcessEnded)) throw error;
        return {
          ok: false,
          error: masked(deathOf(error, watch.running(), signal.aborted && !free, spec.workingDir), mask),
        };
      }
    },

    async probe(request): Promise<MigrationResult> {
      await warming;
      try {
        const answer = (await ask('probe', request, ignore, ignore, () => true)) as MigrationResult;
        return answer.ok ? answer : { ok: false, error: masked(answer.error, mask) };
      } catch (error) {
        if (!(error instanceof ProcessEnded)) throw error;
        return { ok: false, error: masked(deathOf(error, null, signal.aborted, spec.workingDir), mask) };
      }
    },

    async offlineSql(request): Promise<Offline> {
      if (request.steps.length === 0) return { kind: 'sql', sql: '' };
      await warming;
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

    [Symbol.asyncDispose]: () => python[Symbol.asyncDispose](),
  };
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

function deathOf(error: ProcessEnded, step: Step | null, timedOut: boolean, workingDir: string): MigrationError {
  const frame = timedOut ? innermost(error, workingDir) : null;
  return {
    kind: timedOut ? 'timedOut' : 'died',
    message: timedOut
      ? `No migration had started in time${hangsAt(error, workingDir)}; nothing was changed.${lastWords(error)}`
      : `Python ${error.how} ${step === null ? 'outside of any migration' : `in the ${step.direction === 'up' ? 'upgrade' : 'downgrade'} of ${step.revision}`}.${lastWords(error)}`,
    step,
    sqlstate: null,
    statement: null,
    file: frame?.file ?? null,
    line: frame?.line ?? null,
    blockedBy: null,
    committed: timedOut ? false : null,
  };
}

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
