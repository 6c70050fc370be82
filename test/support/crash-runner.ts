/**
 * Reconciles one target of a directory home, and stands still at one call, for the test to kill it there:
 * node crash-runner.ts '{"dir", "name", "toolDirectory", "engine", "stopAt", "moment"}'. Without `stopAt` it ends with the list of
 * its calls on stdout.
 */
import { createAlembicRunner } from '../../src/adapters/alembic/index.ts';
import { createDirectoryHome } from '../../src/adapters/directory/index.ts';
import { createDockerHost } from '../../src/adapters/docker/index.ts';
import { probeHttp } from '../../src/adapters/http/probe.ts';
import { createDatabases } from '../../src/adapters/postgres/index.ts';
import { createBackupStores } from '../../src/adapters/storage/index.ts';
import { reconcile } from '../../src/rollback/reconcile.ts';
import { type Moment, withKillpoints } from './killpoints.ts';

export interface CrashRequest {
  readonly dir: string;
  readonly name: string;
  readonly toolDirectory: string;
  /** The Docker Engine's address; null: none is needed. */
  readonly engine: string | null;
  readonly stopAt: string | null;
  readonly moment: Moment;
}

const request = JSON.parse(process.argv[2] ?? '') as CrashRequest;
const home = createDirectoryHome(request.dir);
const points = withKillpoints(
  {
    databases: createDatabases({ toolDirectories: [request.toolDirectory] }),
    alembic: createAlembicRunner(),
    backups: createBackupStores(),
    home,
    workloads: () => createDockerHost(request.engine ?? undefined).workloads,
    probe: probeHttp,
    clock: { now: () => new Date() },
    observe: () => undefined,
  },
  (call, moment) => {
    if (call.id !== request.stopAt || moment !== request.moment) return;
    process.stdout.write(`${JSON.stringify({ reached: call })}\n`);
    // Nothing of this process goes on from here; its children do, until they are killed too.
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
  },
);
const declaration = await home.get({ namespace: 'default', name: request.name });
if (declaration?.kind !== 'target') throw new Error(`no target ${request.name}: ${JSON.stringify(declaration)}`);
const { outcome } = await reconcile(
  declaration.target,
  points.ports,
  { kind: 'reconcile' },
  new AbortController().signal,
);
process.stdout.write(`${JSON.stringify({ calls: points.calls, outcome })}\n`);
