/** How an operation begins. Pure. */
import { revisionsOf } from './compare.ts';
import type { DatabaseState, Operation } from './model.ts';

/** The first journal entry: a plan, the database as it was found, and nothing done. */
export function newOperation(
  state: Pick<DatabaseState, 'identity' | 'server' | 'versionTable'>,
  begun: Pick<Operation, 'id' | 'trigger' | 'generation' | 'requestedAt' | 'plan'> &
    Partial<Pick<Operation, 'rehearsals'>>,
  now: Date,
): Operation {
  return {
    version: 1,
    rehearsals: 0,
    ...begun,
    startedAt: now.toISOString(),
    step: 'backup',
    origin: {
      identity: state.identity,
      server: state.server,
      revisions: revisionsOf(state.versionTable),
      schema: '',
    },
    backup: null,
    rehearsal: null,
    gate: null,
    application: null,
    attempts: 0,
    begun: false,
    hindered: null,
    scratch: [],
    restore: null,
    swapped: false,
    failure: null,
    rowChanges: [],
    notes: [],
    durations: {},
  };
}
