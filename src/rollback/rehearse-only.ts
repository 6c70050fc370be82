/**
 * What would be done and lost, tried on a copy and no further: `plan --rehearse`. It takes a backup, which stays in the
 * catalogue, and leaves the database and the status as they are.
 */
import type { MigrationTarget } from '../api/target.ts';
import type { ChangePlan, Operation, Plan, RestorePlan } from './model.ts';
import type { Ports } from './ports.ts';
import { atGate, gateDigest, judgeGate, type Verdict } from './gate.ts';
import { observed } from './scope.ts';
import { workUnderLock } from './scratch-work.ts';
import { backup } from './steps/backup.ts';
import { rehearse } from './steps/rehearse.ts';
import { newOperation } from './operation.ts';

export type Rehearsed =
  /** There is nothing that could be tried. */
  | { readonly kind: 'notNeeded'; readonly plan: Plan }
  | {
      readonly kind: 'rehearsed';
      readonly operation: Operation;
      /** What the gate would say of it. */
      readonly verdict: Verdict;
      /** What an approval would be bound to. */
      readonly digest: string;
    };

/** Throws a Failure where it can't be tried: the database, the scripts or the catalogue can't be used, or it takes too long. */
export async function rehearseOnly(
  target: MigrationTarget,
  ports: Ports,
  plan: Plan,
  signal: AbortSignal,
): Promise<Rehearsed> {
  if (plan.kind === 'nothing' || plan.kind === 'refuse' || plan.kind === 'backup') return { kind: 'notNeeded', plan };
  const { policy } = target.spec;
  // Whatever the policy is, it is asked for here; and what would be lost is to be known.
  const rehearsing: MigrationTarget = {
    ...target,
    spec: { ...target.spec, policy: { ...policy, rehearsal: 'Always', dataLoss: 'RequireApproval' } },
  };
  return workUnderLock(rehearsing, ports, signal, async ({ scope, state }) => {
    const { generation } = target.metadata;
    const begun = await scope.begin(
      newOperation(
        state,
        { id: scope.operationId, trigger: 'rehearse', generation, requestedAt: null, plan },
        ports.clock.now(),
      ),
    );
    const backedUp = await scope.save(await observed(scope, 'backup', () => backup(scope, begun)));
    const operation = await observed(scope, 'rehearse', () => rehearse(scope, backedUp));
    return { kind: 'rehearsed', operation, ...judged(target, plan, operation) };
  });
}

function judged(
  target: MigrationTarget,
  plan: ChangePlan | RestorePlan,
  operation: Operation,
): Pick<Extract<Rehearsed, { readonly kind: 'rehearsed' }>, 'verdict' | 'digest'> {
  const rehearsed = { ...operation, plan };
  return { verdict: judgeGate(atGate(target, rehearsed, 0)), digest: gateDigest(rehearsed) };
}
