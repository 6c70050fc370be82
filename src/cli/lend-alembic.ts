/**
 * One Python for the plan that is shown and for the operation that follows at once: importing alembic is most of what a
 * small change costs.
 */
import type { AlembicRunner, AlembicSession } from '../rollback/ports.ts';
import { sameWork } from './same-work.ts';

export interface LentAlembic extends AsyncDisposable {
  /** Its session outlives the one who started it. */
  readonly lender: AlembicRunner;
  /** Hands that session on, once, to who asks for the same; whoever asks for anything else gets one of their own. */
  readonly heir: AlembicRunner;
}

interface Lent {
  readonly wanted: string;
  readonly starting: Promise<AlembicSession>;
  /** Lets another signal than the first one's interrupt it. */
  readonly follow: (signal: AbortSignal) => void;
}

export function lendAlembic(runner: AlembicRunner): LentAlembic {
  let lent: Lent | null = null;

  async function end(): Promise<void> {
    const ending = lent;
    lent = null;
    // What did not start was told to who wanted it.
    const session = await ending?.starting.catch(() => null);
    await session?.[Symbol.asyncDispose]();
  }

  return {
    lender: {
      async start(settings) {
        await end();
        const follow = follower();
        follow.follow(settings.signal);
        const starting = runner.start({ ...settings, signal: follow.signal });
        lent = { wanted: sameWork(settings), starting, follow: follow.follow };
        return { ...(await starting), [Symbol.asyncDispose]: () => Promise.resolve() };
      },
    },
    heir: {
      async start(settings) {
        if (lent?.wanted !== sameWork(settings)) {
          await end();
          return runner.start(settings);
        }
        const { starting, follow } = lent;
        lent = null;
        follow(settings.signal);
        return starting;
      },
    },
    [Symbol.asyncDispose]: end,
  };
}

/** A signal that is aborted with the one that was followed last. */
function follower(): { readonly signal: AbortSignal; readonly follow: (signal: AbortSignal) => void } {
  const controller = new AbortController();
  let leave = (): void => {};
  return {
    signal: controller.signal,
    follow(signal) {
      leave();
      const abort = (): void => controller.abort(signal.reason);
      if (signal.aborted) return abort();
      signal.addEventListener('abort', abort, { once: true });
      leave = () => signal.removeEventListener('abort', abort);
    },
  };
}
