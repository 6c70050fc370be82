/**
 * What a person types once the cause is mended. A target that stalled is not tried again by itself, so its message says
 * how to go on, with the target's own name. Pure.
 */
import type { Outcome } from '../api/conditions.ts';

export function withNextCommand(outcome: Outcome, name: string): Outcome {
  if (outcome.kind !== 'stalled' && outcome.kind !== 'retrying') return outcome;
  const message = outcome.message.replaceAll(/(migration-target [a-z]+(?: [a-z]+)?) NAME\b/g, `$1 ${name}`);
  if (outcome.kind === 'retrying' || /migration-target [a-z]/.test(message)) return { ...outcome, message };
  return {
    ...outcome,
    message: `${message.trimEnd().replace(/[.;]$/, '')}. When that is mended: migration-target reconcile ${name}`,
  };
}
