/** A whole operation (plan, verified backup, downgrade, verification, report) against what a shell script does. */
import { join } from 'node:path';
import { runOrThrow } from '../scripts/lib/run.ts';
import { figure, median, race, type Figure } from './measure.ts';
import { newest, older, targetName, type Stage } from './stage.ts';

export async function measureOperation(stage: Stage, runs: number): Promise<readonly Figure[]> {
  let count = 0;
  let home = '';
  const script = `pg_dump --dbname="$DATABASE_URL" --file="${join(stage.dir, 'script.sql')}" && "${stage.python}" -m alembic downgrade -1`;
  const times = await race(
    [
      {
        name: 'script',
        prepare: async () => void (await stage.alembic('upgrade', newest)),
        run: async () => void (await runOrThrow('sh', ['-c', script], { cwd: stage.unicorn, env: stage.env })),
      },
      {
        name: 'apply',
        prepare: async () => {
          await stage.alembic('upgrade', newest);
          home = await stage.home(`home-${(count += 1)}`, older);
        },
        run: async () => {
          const file = join(home, 'targets', `${targetName}.yaml`);
          await stage.migrationTarget('apply', '--dir', home, '-f', file, '--yes');
        },
      },
    ],
    runs,
  );
  await stage.alembic('upgrade', newest);
  return [
    figure(
      'apply --yes, one step down, empty database',
      median(times['apply']),
      'pg_dump && alembic downgrade -1',
      median(times['script']),
      { goal: { of: 'ratio', atMost: 1.5 }, runs },
    ),
  ];
}
