/** A declaration with only what must be written, and ways to change one thing of it. */
export const example = {
  apiVersion: 'migrationtarget.dev/v1alpha1',
  kind: 'MigrationTarget',
  metadata: { name: 'unicorn-db' },
  spec: {
    revision: '4f1c2d9ab0e7',
    database: { urlFrom: { secretKeyRef: { name: 'unicorn-db', key: 'url' } } },
    alembic: { workingDir: '/app' },
    runtime: { process: {} },
    backup: { storage: { directory: { path: '/var/backups/database' } } },
  },
};

export const withSpec = (change: Readonly<Record<string, unknown>>): unknown => ({
  ...example,
  spec: { ...example.spec, ...change },
});
