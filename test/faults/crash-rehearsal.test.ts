/** Tried on a copy first, waited for, approved, and then carried out: killed anywhere, no copy stays and nothing is lost. */
import { describeCrashes } from '../support/crash-suite.ts';
import { majors } from '../support/majors.ts';
import { threeSteps } from '../support/scene.ts';

const policy = { rehearsal: 'Always', dataLoss: 'RequireApproval' };

describeCrashes({
  name: 'an approved downgrade that is tried on a copy',
  options: { history: { ...threeSteps, transactionPerMigration: true }, spec: { policy } },
  prepare: async (scene) => {
    await scene.goTo('a3');
    const { status } = await scene.goTo('a1');
    await scene.ports.home.approve(
      { namespace: 'default', name: 'unicorn' },
      { planDigest: status.plan?.digest ?? '', maxRowLoss: 1000, reason: null, approvedBy: 'ada' },
    );
  },
  desired: 'a1',
  without: ['quiesce', 'resume', 'restore'],
  // Its backup is another one: the database that it was proved in lives on.
  killedElsewhere: ['check', 'plan', 'report'],
  on: majors,
});
