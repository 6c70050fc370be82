/** Between its two migrations the downgrade commits, so there is a state between the origin and the desired one. */
import { describeCrashes } from '../support/crash-suite.ts';
import { majorInTurn } from '../support/majors.ts';
import { threeSteps } from '../support/scene.ts';

describeCrashes({
  name: 'a downgrade',
  options: { history: { ...threeSteps, transactionPerMigration: true } },
  prepare: async (scene) => {
    await scene.goTo('a3');
    await scene.declare({ revision: 'a1' });
  },
  desired: 'a1',
  without: ['quiesce', 'resume', 'rehearse', 'restore'],
  on: [majorInTurn(0)],
});
