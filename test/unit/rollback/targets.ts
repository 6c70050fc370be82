import { parseTarget, type MigrationTarget } from '../../../src/api/target.ts';

/** A declaration with these fields besides what has to be there. */
export function targetWith(
  spec: Readonly<Record<string, unknown>>,
  metadata: Readonly<Record<string, unknown>> = {},
): MigrationTarget {
  const parsed = parseTarget({
    apiVersion: 'migrationtarget.dev/v1alpha1',
    kind: 'MigrationTarget',
    metadata: { name: 'unicorn', generation: 1, ...metadata },
    spec: {
      revision: 'a1',
      database: { urlFrom: { env: 'DATABASE_URL' } },
      alembic: { workingDir: '/app' },
      runtime: { process: {} },
      backup: { storage: { directory: { path: '/var/backups' } } },
      ...spec,
    },
  });
  if (!parsed.ok) throw new Error(JSON.stringify(parsed.problems));
  return parsed.target;
}
