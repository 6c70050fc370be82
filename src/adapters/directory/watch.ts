/** Notices that something changed: by the kernel's word where it gives one, and by looking now and then in any case. */
import { watch } from 'node:fs';

export interface WatchOptions {
  /** Looked at again at least this often, in milliseconds: editors, git and mounts tell the kernel different things. */
  readonly pollMs: number;
  /** Several changes within this time are one, in milliseconds. */
  readonly gatherMs: number;
}

/** A change is told within this time, in milliseconds, also where the kernel says nothing of it. */
export const noticedWithinMs = 2_000;

/** Half of that time: looking takes some too. */
export const defaultWatch: WatchOptions = { pollMs: noticedWithinMs / 2, gatherMs: 50 };

/** What was seen of each key: any difference is a change. */
export type Sight = ReadonlyMap<string, string>;

/**
 * Calls `onChange` for each key whose sight differs from the one before, until aborted. Resolves once everything was
 * seen once, and told. Never throws later: `onProblem` is told, once for each new problem, and it goes on.
 */
export async function watchSight(
  folders: readonly string[],
  look: () => Promise<Sight>,
  onChange: (key: string) => void,
  onProblem: (problem: Error) => void,
  signal: AbortSignal,
  { pollMs, gatherMs }: WatchOptions,
): Promise<void> {
  let seen: Sight = new Map();
  let lastProblem = '';
  let timer: NodeJS.Timeout | null = null;
  let looking = false;
  let again = false;

  const tell = (problem: Error): void => {
    if (problem.message !== lastProblem) onProblem(problem);
    lastProblem = problem.message;
  };
  const lookOnce = async (): Promise<void> => {
    const now = await look();
    const changed = new Set([...seen.keys(), ...now.keys()].filter((key) => seen.get(key) !== now.get(key)));
    seen = now;
    lastProblem = '';
    for (const key of changed) onChange(key);
  };
  const lookLater = (ms: number): void => {
    clearTimeout(timer ?? undefined);
    if (!signal.aborted) timer = setTimeout(lookNow, ms);
  };
  const lookNow = (): void => {
    looking = true;
    again = false;
    lookOnce()
      .catch((error: unknown) => tell(error instanceof Error ? error : new Error(String(error))))
      .finally(() => {
        looking = false;
        lookLater(again ? gatherMs : pollMs);
      });
  };
  // Not put off by further changes, or a file that is written to all the time would never be seen.
  const hint = (): void => {
    if (!again && !looking) lookLater(gatherMs);
    again = true;
  };

  await lookOnce();
  if (signal.aborted) return;
  lookLater(pollMs);
  const stopHints = folders.map((folder) => startHints(folder, hint, tell));
  signal.addEventListener(
    'abort',
    () => {
      clearTimeout(timer ?? undefined);
      for (const stop of stopHints) stop();
    },
    { once: true },
  );
}

/** Without the kernel's word (too many watches, an odd mount) the poll is enough. */
function startHints(folder: string, onHint: () => void, onProblem: (problem: Error) => void): () => void {
  const failed = (cause: unknown): void =>
    onProblem(
      new Error(`Changes in ${folder} are only noticed by looking every now and then: ${String(cause)}`, { cause }),
    );
  try {
    const watcher = watch(folder, { persistent: false }, onHint);
    watcher.on('error', failed);
    return () => watcher.close();
  } catch (error) {
    failed(error);
    return () => {};
  }
}
