/** What only looks: `status` and `plan` in the directory home, against the start of Node.js and of Python with alembic. */
import { join } from 'node:path';
import { runOrThrow } from '../scripts/lib/run.ts';
import { figure, median, race, type Figure } from './measure.ts';
import { newest, older, targetName, type Stage } from './stage.ts';

export async function measureReading(stage: Stage, runs: number): Promise<readonly Figure[]> {
  const home = await stage.home('reading', newest);
  await stage.migrationTarget('apply', '--dir', home, targetName, '--yes');
  const declared = join(await stage.home('planned', older), 'targets', `${targetName}.yaml`);
  const times = await race(
    [
      { name: 'node', run: async () => void (await runOrThrow(process.execPath, ['-e', '0'], { env: stage.env })) },
      {
        name: 'python',
        run: async () => void (await runOrThrow(stage.python, ['-c', 'import alembic.command'], { env: stage.env })),
      },
      { name: 'status', run: async () => void (await stage.migrationTarget('status', '--dir', home)) },
      { name: 'plan', run: async () => void (await stage.migrationTarget('plan', '--dir', home, '-f', declared)) },
    ],
    runs,
  );
  return [
    figure('status', median(times['status']), 'node -e 0', median(times['node']), {
      goal: { of: 'value', atMost: 300 },
      runs,
    }),
    figure(
      'plan, one step down',
      median(times['plan']),
      "python -c 'import alembic.command'",
      median(times['python']),
      {
        goal: { of: 'value', atMost: 1_500 },
        runs,
      },
    ),
  ];
}
