/**
 * What an operation tells, on stderr while it goes on: one line a step, with a tick and how long it took. On a terminal
 * the line of what is being done is written over; elsewhere each line is written once, and long work says now and then
 * how far it is.
 */
import type { ExpectedTimes, OperationEvent } from '../rollback/ports.ts';
import type { Screen } from './output.ts';
import { formatBytes, formatDuration, grouped, printable, wrap } from './text.ts';

export interface Progress {
  readonly observe: (event: OperationEvent) => void;
  /** A sentence between the steps. */
  readonly say: (text: string) => void;
  /** Clears the line that is written over; to be called at the end, and before anything else is written. */
  readonly stop: () => void;
}

export interface ProgressOptions {
  readonly screen: Screen;
  /** Milliseconds, monotonic. */
  readonly now: () => number;
  /** What a revision is about, where that is known. */
  readonly describe?: (revision: string) => string | null;
  /** Also what env.py and the migrations print. */
  readonly verbose?: boolean;
}

const frames = ['⠋', '⠙', '⠹', '⠸', '⠼', '⠴', '⠦', '⠧', '⠇', '⠏'] as const;
const frameMs = 100;
/** How often long work says how far it is, where lines can't be written over. */
const plainMs = 10_000;

const what: Readonly<Record<string, string>> = {
  check: 'read the database',
  plan: 'planned',
  backup: 'dumped, restored once, compared',
  rehearse: 'tried on a copy: there, back, there again; compared',
  gate: 'policy and approval looked at',
  quiesce: 'the application is stopped',
  resume: 'the application is up again',
  change: 'migrated',
  verify: 'read again: revision, schema, rows, queries',
  restore: 'restored into a new database, verified, swapped in',
  report: 'reported',
  compare: 'read the schema',
  build: 'the migrations run from base, in scratch databases',
  import: 'each restored once into a scratch database',
};
const doing: Readonly<Record<string, string>> = {
  check: 'reading the database',
  plan: 'planning',
  backup: 'dumping',
  rehearse: 'trying it on a copy',
  gate: 'asking the policy',
  quiesce: 'stopping the application',
  resume: 'starting the application',
  change: 'migrating',
  verify: 'reading the database again',
  restore: 'restoring a backup into a new database',
  report: 'writing the report',
  compare: 'reading the schema',
  build: 'running the migrations from base',
  import: 'restoring each once',
};
/** While something is counted; a backup has two parts, each with a hundred percent of its own. */
function counting(step: string, counted: string): string {
  if (step === 'restore') return 'restoring';
  if (step === 'resume') return 'waiting until the application is healthy';
  if (counted === 'migrations') return 'running the migrations from base';
  if (step === 'rehearse') return counted === 'tables restored' ? 'restoring another copy' : 'comparing';
  return step === 'backup' && counted === 'tables restored' ? 'trying the dump' : (doing[step] ?? '');
}

export function showProgress({ screen, now, describe = () => null, verbose = false }: ProgressOptions): Progress {
  const { paint, width } = screen;
  let current: {
    readonly step: string;
    readonly startedAt: number;
    detail: string;
    failed: string | null;
    /** A migration under way that was tried before: how long it took then. */
    expected: { readonly times: ExpectedTimes; readonly since: number } | null;
    /** What is being counted, and since when: the pace of a dump says nothing of a restore. */
    counted: { readonly what: string; readonly since: number } | null;
  } | null = null;
  let toldAt = now();
  let frame = 0;
  let timer: NodeJS.Timeout | null = null;
  let shown = false;

  const clear = (): void => {
    if (shown) screen.write('\r\u001b[2K');
    shown = false;
  };
  const line = (text: string): void => {
    clear();
    screen.write(`${text}\n`);
  };
  const detail = ({ detail: text, expected }: NonNullable<typeof current>): string =>
    expected === null ? text : `${text}  ${expectedLeft(expected.times, now() - expected.since)}`;
  const draw = (): void => {
    if (!screen.isTerminal || current === null) return;
    frame = (frame + 1) % frames.length;
    const text = `${frames[frame]} ${current.step.padEnd(8)} ${formatDuration(now() - current.startedAt).padStart(8)}   ${detail(current)}`;
    screen.write(`\r\u001b[2K${paint('cyan', cut(`  ${text}`, width))}`);
    shown = true;
  };
  const begin = (step: string): void => {
    current = { step, startedAt: now(), detail: doing[step] ?? '', failed: null, expected: null, counted: null };
    toldAt = now();
    if (screen.isTerminal) timer ??= setInterval(draw, frameMs).unref();
    draw();
  };
  const end = (step: string, ms: number | undefined, message = what[step] ?? ''): void => {
    const failed = current?.failed ?? null;
    const took = formatDuration(ms ?? now() - (current?.startedAt ?? now()));
    current = null;
    if (failed !== null) return;
    line(`  ${paint('green', '✓')} ${step.padEnd(8)} ${took.padStart(8)}   ${paint('dim', message)}`.trimEnd());
  };
  const fail = (step: string, message: string): void => {
    line(`  ${paint('red', '✗')} ${step}`);
    screen.write(`${wrap(message, '      ', width)}\n`);
    if (current !== null) current.failed = message;
  };
  const tellPlainly = (): void => {
    if (screen.isTerminal || current === null || now() - toldAt < plainMs) return;
    toldAt = now();
    line(`  … ${current.step.padEnd(8)} ${formatDuration(now() - current.startedAt).padStart(8)}   ${detail(current)}`);
  };
  const migrated = (direction: 'up' | 'down', revision: string, index: number, total: number): string => {
    const about = describe(revision);
    return `${direction === 'up' ? '↑' : '↓'} ${direction === 'up' ? 'upgrade' : 'downgrade'} ${printable(revision)}${total > 1 ? ` (${index + 1} of ${total})` : ''}${about === null ? '' : `  ${printable(about)}`}`;
  };

  return {
    observe(event) {
      switch (event.kind) {
        case 'step':
          // The swap is a part of the restore: how long nobody could connect.
          if (event.step === 'swap')
            return line(`      swapped in; closed to everybody for ${formatDuration(event.ms ?? 0)}`);
          if (event.state === 'started') begin(event.step);
          else if (event.state === 'finished') end(event.step, event.ms, event.message);
          else if (event.state === 'failed') fail(event.step, event.message ?? 'failed');
          return;
        case 'progress':
          if (current !== null) {
            if (current.counted?.what !== event.what)
              current.counted = { what: event.what, since: current.counted === null ? current.startedAt : now() };
            current.detail = `${counting(current.step, event.what)}: ${howFar(event, now() - current.counted.since)}`;
          }
          return tellPlainly();
        case 'migration':
          if (event.event.kind === 'output') {
            if (verbose) line(`      ${paint('dim', printable(event.event.line))}`);
            return;
          }
          if (event.event.kind === 'started') {
            const { step, index, total } = event.event;
            if (current !== null) {
              current.detail = migrated(step.direction, step.revision, index, total);
              current.expected = event.expected === undefined ? null : { times: event.expected, since: now() };
            }
            return tellPlainly();
          }
          if (current !== null) current.expected = null;
          return line(
            `      ${event.copy === true ? 'on the copy ' : ''}${migrated(event.event.step.direction, event.event.step.revision, event.event.index, event.event.total)}  ${paint('dim', formatDuration(event.event.ms))}`,
          );
        case 'downtime':
          return line(`      the application was down for ${formatDuration(event.ms)}`);
        case 'refused':
          return; // the outcome says why
        case 'note':
          clear();
          screen.write(`${paint(event.level === 'warn' ? 'yellow' : 'dim', wrap(event.message, '      ', width))}\n`);
      }
    },
    say(text) {
      clear();
      screen.write(`${wrap(text, '  ', width)}\n`);
    },
    stop() {
      clear();
      clearInterval(timer ?? undefined);
      timer = null;
      current = null;
    },
  };
}

/** e.g. `42 %, about 3 s left, 12.3 MB of 29 MB`; without the whole: `3 tables dumped`. What may be cut off comes last. */
function howFar({ done, total, what: unit }: Extract<OperationEvent, { kind: 'progress' }>, elapsedMs: number): string {
  const amount = (value: number): string => (unit === 'bytes' ? formatBytes(value) : grouped(value));
  const suffix = unit === 'bytes' ? '' : ` ${printable(unit)}`;
  if (total === null || total === 0) return `${amount(done)}${suffix}`;
  const percent = Math.min(100, Math.floor((done / total) * 100));
  return `${percent} %${timeLeft(done, total, elapsedMs)}, ${amount(done)} of ${amount(total)}${suffix}`;
}

/** Against the time that it took on a copy: `42 %, about 3 s left`; nothing where that is over, or was no time at all. */
function expectedLeft({ totalMs, beforeMs, stepMs }: ExpectedTimes, elapsedMs: number): string {
  if (totalMs < 1_000) return '';
  if (elapsedMs >= stepMs && beforeMs + stepMs >= totalMs) return 'longer than on the copy';
  const done = beforeMs + Math.min(elapsedMs, stepMs);
  return `${Math.floor((done / totalMs) * 100)} %, about ${formatDuration(totalMs - done)} left`;
}

/** From the pace so far; nothing is said before there is one. */
function timeLeft(done: number, total: number, elapsedMs: number): string {
  if (done <= 0 || done >= total || elapsedMs < 2_000) return '';
  return `, about ${formatDuration((elapsedMs * (total - done)) / done)} left`;
}

const cut = (text: string, width: number | null): string =>
  width === null || text.length < width ? text : `${text.slice(0, width - 2)}…`;
