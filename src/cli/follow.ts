/** Waits for what somebody else writes: the status of one target, by the home's word and by looking now and then. */
import type { Outcome } from '../api/conditions.ts';
import type { Condition, MigrationTarget, TargetKey, TargetStatus } from '../api/target.ts';
import { statusOf } from '../rollback/status.ts';
import type { Home } from '../rollback/ports.ts';
import { wait } from '../rollback/wait.ts';
import { targetOf } from './context.ts';
import { Problem } from './problem.ts';

/** How often it is looked at though nothing was heard, in milliseconds. */
const pollMs = 500;

export type Followed<T> =
  { readonly kind: 'ended'; readonly value: T } | { readonly kind: 'timedOut' } | { readonly kind: 'interrupted' };

/**
 * Calls `look` with the target each time that it may have changed, until it returns something. Throws where the target
 * goes, or can't be read any more.
 */
export async function follow<T>(
  home: Home,
  key: TargetKey,
  look: (target: MigrationTarget) => T | null | Promise<T | null>,
  options: { readonly timeoutMs: number | null; readonly signal: AbortSignal },
): Promise<Followed<T>> {
  const deadline = options.timeoutMs === null ? Infinity : performance.now() + options.timeoutMs;
  for (;;) {
    const declaration = await home.get(key);
    if (declaration === null)
      throw new Problem(`No target ${key.name}`, 'It was deleted meanwhile. Its database and its backups stay.');
    const value = await look(targetOf(declaration));
    if (value !== null) return { kind: 'ended', value };
    if (options.signal.aborted) return { kind: 'interrupted' };
    const left = deadline - performance.now();
    if (left <= 0) return { kind: 'timedOut' };
    await wait(Math.min(pollMs, left), options.signal);
  }
}

/** A condition of that type, if it was said of the generation that is declared now. */
export function conditionNow(target: MigrationTarget, type: string): Condition | null {
  const found = statusOf(target).conditions.find((condition) => condition.type === type);
  return found !== undefined && found.observedGeneration === target.metadata.generation ? found : null;
}

export const hasCondition = (target: MigrationTarget, type: string, status: Condition['status'] = 'True'): boolean =>
  conditionNow(target, type)?.status === status;

/** What the conditions of the present generation amount to; null: it is not over. */
export function outcomeOf(target: MigrationTarget): Outcome | null {
  const ready = conditionNow(target, 'Ready');
  if (ready === null) return null;
  const { message } = ready;
  // Whoever wrote the status took it from the list of reasons.
  const reason = ready.reason as Extract<Outcome, { readonly kind: 'ready' }>['reason'];
  if (ready.status === 'True') return { kind: 'ready', reason, message };
  if (ready.reason === 'Suspended') return { kind: 'suspended', message };
  if (hasCondition(target, 'Stalled')) return { kind: 'stalled', reason, message };
  if (hasCondition(target, 'ApprovalRequired')) return { kind: 'awaitingApproval', message };
  return null;
}

/** A step of somebody else's operation, told once each. */
export function stepTeller(say: (text: string) => void): (status: TargetStatus) => void {
  let told = '';
  return ({ operation, plan }) => {
    if (operation === null) return;
    const text = `${operation.id} ${operation.step}`;
    if (text === told) return;
    told = text;
    say(`operation ${operation.id}${plan === null ? '' : ` (${plan.kind})`}: ${operation.step}`);
  };
}

/** Why it is not ready yet, told whenever that is another reason than before. */
export function readyTeller(say: (text: string) => void): (target: MigrationTarget) => void {
  let told = '';
  return (target) => {
    const ready = conditionNow(target, 'Ready');
    const text = ready === null ? '' : `${ready.reason}: ${ready.message}`;
    if (text === told) return;
    told = text;
    say(text);
  };
}
