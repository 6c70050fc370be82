import { isStopped } from './application.ts';
import { asFailure, retry } from './errors.ts';
import type { Operation } from './model.ts';
import type { Started } from './ports.ts';
import type { Scope } from './scope.ts';
import { ownerOf } from './visit.ts';

/**
 * What an operation has stopped, started again; nothing, where it has not. Never given up: whatever is in the way is tried
 * again, with back-off. What is there no more nobody can start.
 */
export async function startAgain(
  { ports, target, signal }: Pick<Scope, 'ports' | 'target' | 'signal'>,
  { application }: Pick<Operation, 'application'>,
): Promise<Started> {
  if (application === null || !isStopped({ application })) return { gone: [], notes: [] };
  try {
    return await ports.workloads(ownerOf(target)).start(application.workloads, signal);
  } catch (thrown) {
    const { reason, message } = asFailure(thrown);
    throw retry(
      reason,
      `The application was stopped, and could not be started again: ${message} It is tried again by itself.`,
      thrown,
    );
  }
}
