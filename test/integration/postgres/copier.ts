/** Dumps a database and restores it into another, in a process of its own, to be killed: node copier.ts URL TOOLS DUMP. */
import { createDatabases } from '../../../src/adapters/postgres/index.ts';

const [url = '', toolDirectory = '', dump = ''] = process.argv.slice(2);
const progress = (): void => undefined;
await using live = await createDatabases({ toolDirectories: [toolDirectory] }).open({
  url,
  adminUrl: null,
  maintenanceDatabase: 'postgres',
  versionTable: { schema: 'public', name: 'alembic_version' },
  lockTimeoutSeconds: 2,
  operationId: 'abc123',
  place: null,
});
await live.dump({ kind: 'path', path: dump }, progress);
const into = await live.newDatabase('scratch', 'killed');
await live.createDatabase(into, 'scratch');
await live.restoreInto(into, { place: { kind: 'path', path: dump }, format: 'directory' }, progress);
