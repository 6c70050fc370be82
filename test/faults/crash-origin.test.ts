/** The first of two migrations commits, the second raises, and there is no backup to fall back to: back to the origin. */
import { describeCrashes } from '../support/crash-suite.ts';
import { majorInTurn } from '../support/majors.ts';
import { threeSteps } from '../support/scene.ts';

const revisions = threeSteps.revisions.map((revision) =>
  revision.id === 'a2' ? { ...revision, downgrade: `raise RuntimeError('no way back')` } : revision,
);

describeCrashes({
  name: 'a way back to the origin',
  options: { history: { revisions, transactionPerMigration: true } },
  prepare: async (scene) => {
    await scene.goTo('a3');
    await scene.declare({ revision: 'a1' });
  },
  desired: 'a3',
  without: ['quiesce', 'resume', 'rehearse', 'verify'],
  killedElsewhere: ['check', 'plan', 'backup', 'report'],
  on: [majorInTurn(1)],
});
