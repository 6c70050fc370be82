/** How a program somewhere else ended, from what is known of it there. */
import { constants } from 'node:os';
import { withoutRetry, type Failure } from '../../rollback/errors.ts';
import type { Ending } from './launcher.ts';

const signals = new Map(Object.entries(constants.signals).map(([name, number]) => [number, name]));

/** `why`: what is known of the reason, as part of a sentence. */
export function endingOf(exitCode: number, why: string | null): Ending {
  const signal = exitCode > 128 ? (signals.get(exitCode - 128) ?? null) : null;
  const how = signal === null ? `ended with exit code ${exitCode}` : `was killed by ${signal}`;
  return {
    code: signal === null ? exitCode : null,
    signal,
    how: why === null ? how : `${how} (${why})`,
    lost: null,
  };
}

export const lostTo = (failure: Failure): Ending => ({
  code: null,
  signal: null,
  how: `was lost: ${withoutRetry(failure.message)}`,
  lost: failure,
});
