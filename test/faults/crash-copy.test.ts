/** What was tried on a copy raised there, so the newest backup at the desired revision is restored at once. */
import { describeCrashes } from '../support/crash-suite.ts';
import { majorInTurn } from '../support/majors.ts';
import { threeSteps } from '../support/scene.ts';

const policy = { rehearsal: 'Always', dataLoss: 'Allow' };

const revisions = threeSteps.revisions.map((revision) =>
  revision.id === 'a2' ? { ...revision, downgrade: `raise RuntimeError('no way back')` } : revision,
);

describeCrashes({
  name: 'a fallback that the copy led to',
  options: { history: { revisions }, spec: { policy } },
  prepare: async (scene) => {
    await scene.goTo('a1');
    await scene.goTo('a3');
    await scene.declare({ revision: 'a1' });
  },
  desired: 'a1',
  without: ['quiesce', 'resume', 'change', 'verify'],
  killedElsewhere: ['check', 'plan', 'backup', 'report'],
  on: [majorInTurn(1)],
});
