/** The downgrade raises, and a backup at the desired revision is restored and swapped in. */
import { describeCrashes } from '../support/crash-suite.ts';
import { majorInTurn } from '../support/majors.ts';
import { threeSteps } from '../support/scene.ts';

const revisions = threeSteps.revisions.map((revision) =>
  revision.id === 'a2' ? { ...revision, downgrade: `raise RuntimeError('no way back')` } : revision,
);

describeCrashes({
  name: 'a fallback',
  options: { history: { revisions } },
  prepare: async (scene) => {
    await scene.goTo('a1');
    await scene.goTo('a3');
    await scene.declare({ revision: 'a1' });
  },
  desired: 'a1',
  without: ['quiesce', 'resume', 'rehearse', 'verify'],
  killedElsewhere: ['check', 'plan', 'backup'],
  on: [majorInTurn(2)],
});
