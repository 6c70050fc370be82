/** What a Job's pod is at, always the newest, for whoever waits for it. */
import type { Job, Jobs } from './jobs.ts';
import { containerName } from './pod-template.ts';
import { stateOf, type PodState } from './pod-state.ts';

export interface Followed {
  /** null: nothing is known yet. Throws why nothing can be known any more. */
  state(): PodState | null;
  /** Resolves with the next news, or after so long without. */
  news(mostMs: number): Promise<void>;
}

export function follow(jobs: Pick<Jobs, 'watch'>, job: Job, signal: AbortSignal): Followed {
  let latest: PodState | null = null;
  let fault: { readonly thrown: unknown } | null = null;
  let waiting = Promise.withResolvers<void>();
  const tell = (): void => {
    waiting.resolve();
    waiting = Promise.withResolvers<void>();
  };
  void (async () => {
    try {
      for await (const { pod, isGone, refusal } of jobs.watch(job, signal)) {
        const state = pod === null ? null : stateOf(pod, containerName, job.where);
        if (state !== null && (state.kind === 'ended' || !isGone)) latest = state;
        // What ended before it went is known to have ended.
        else if (isGone && latest?.kind !== 'ended')
          latest = { kind: 'lost', what: 'it was deleted before its program had ended' };
        else if (refusal !== null) latest = { kind: 'refused', what: refusal };
        tell();
      }
    } catch (thrown) {
      fault = { thrown };
      tell();
    }
  })();
  return {
    state() {
      if (fault !== null) throw fault.thrown;
      return latest;
    },
    async news(mostMs) {
      const late = Promise.withResolvers<void>();
      const timer = setTimeout(late.resolve, mostMs);
      await Promise.race([waiting.promise, late.promise]);
      clearTimeout(timer);
    },
  };
}
