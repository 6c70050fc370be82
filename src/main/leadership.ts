/** When this controller works: at once, or only while it leads; and what the log and the metrics tell of that. */
import type { Election, Served } from '../cli/wiring.ts';
import { lead } from '../controller/election.ts';
import { handOverSeconds, leaseTimes } from '../controller/lease.ts';
import type { Clock, LeaseStore } from '../rollback/ports.ts';
import type { Logger } from '../telemetry/log.ts';
import type { Metrics } from '../telemetry/metrics.ts';

/** Works until the signal is aborted; returns what did not end in time. */
type Work = (signal: AbortSignal) => Promise<readonly string[]>;

export interface Leadership {
  /** Whether it waits for its turn. */
  readonly standsBy: () => boolean;
  readonly run: (signal: AbortSignal, work: Work) => Promise<Served>;
}

export const alone: Leadership = {
  standsBy: () => false,
  run: async (signal, work) => ({ unfinished: await work(signal), isDeposed: false }),
};

export function createLeadership(
  { lease, identity }: Election,
  parts: {
    readonly store: LeaseStore;
    readonly clock: Clock;
    readonly logger: Logger;
    readonly metrics: Pick<Metrics, 'leads'>;
  },
): Leadership {
  const { store, clock, metrics } = parts;
  const logger = parts.logger.child({ lease: store.name, identity });
  let standsBy = true;
  metrics.leads(lease, false);

  const led =
    (work: Work): Work =>
    async (signal) => {
      standsBy = false;
      metrics.leads(lease, true);
      logger.info('Leading');
      try {
        return await work(signal);
      } finally {
        metrics.leads(lease, false);
      }
    };

  return {
    standsBy: () => standsBy,
    async run(signal, work) {
      const result = await lead(
        {
          store,
          identity,
          clock,
          onWaiting: (holder) => logger.info({ holder }, `Standing by: ${holder} leads`),
          onProblem: (problem) =>
            logger.warn({ err: problem }, `The Lease could not be read or written: ${messageOf(problem)}`),
        },
        signal,
        // What goes on somewhere must not meet a leader that was told it could begin.
        { run: led(work), mayRelease: (unfinished) => unfinished.length === 0 },
      );
      switch (result.kind) {
        case 'stoodBy':
          logger.info('Stopped; it stood by');
          return { unfinished: [], isDeposed: false };
        case 'ended':
          return { unfinished: result.value, isDeposed: false };
        case 'lost':
          logger.error(
            `No longer leading: the Lease is held by another, or could not be renewed for ${leaseTimes.renewSeconds} s. This process ends, so that nothing of it goes on; another leads within ${handOverSeconds(leaseTimes)} s of the last renewal. Look: kubectl -n ${namespaceOf(store)} get lease ${lease}`,
          );
          return { unfinished: [], isDeposed: true };
      }
    },
  };
}

const namespaceOf = ({ name }: LeaseStore): string => name.slice(0, name.indexOf('/'));
const messageOf = (problem: unknown): string => (problem instanceof Error ? problem.message : String(problem));
