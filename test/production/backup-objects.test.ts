/**
 * MigrationBackup: kubectl on one side, the controller on the other, with no more rights than
 * manifests/ grants it; a real API server, a real PostgreSQL, real backups in a folder.
 */
import { existsSync } from 'node:fs';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { run, type Ran } from '../../scripts/lib/run.ts';
import { createKubernetesHome } from '../../src/adapters/kubernetes/home.ts';
import { createDatabases } from '../../src/adapters/postgres/index.ts';
import type { MigrationBackupStatus } from '../../src/api/backup.ts';
import type { TargetStatus } from '../../src/api/target.ts';
import { lazyAdapters } from '../../src/main/adapters.ts';
import { serve } from '../../src/main/serve.ts';
import type { Surroundings } from '../../src/rollback/allowed.ts';
import type { BackupManifest } from '../../src/rollback/model.ts';
import type { Home } from '../../src/rollback/ports.ts';
import { targetDocument, writeHistory, type AlembicProject, type HistorySpec } from '../support/alembic.ts';
import { apiServer, namespace, type ApiServer } from '../support/apiserver.ts';
import { controllerAccount, installClusterWide } from '../support/manifests.ts';
import { createDatabase, query, testServer, type TestDatabase } from '../support/postgres.ts';
import { program } from '../support/program.ts';

const history: HistorySpec = {
  revisions: [
    { id: 'a1', up: `op.create_table('users', sa.Column('id', sa.Integer, primary_key=True))` },
    { id: 'a2', up: `op.add_column('users', sa.Column('email', sa.Text))` },
  ],
};
/** What the history makes, so that a test starts at a1 without running it. */
const atA1 = `CREATE TABLE users (id integer PRIMARY KEY); INSERT INTO users SELECT generate_series(1, 50);
CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY); INSERT INTO alembic_version VALUES ('a1')`;

const folder = await mkdtemp(join(tmpdir(), 'mt-backup-objects-'));
let server: ApiServer;
let binDir: string;
let project: AlembicProject;
/** The controller's, as manifests/ make it. */
let kubeconfig: string;

beforeAll(async () => {
  process.env['LOG_LEVEL'] = 'fatal';
  [server, { binDir }, project] = await Promise.all([
    apiServer(),
    testServer(16),
    writeHistory(join(folder, 'app'), history),
  ]);
  await installClusterWide(server);
  const token = await kubectl(['-n', 'migration-target-system', 'create', 'token', 'migration-target']);
  const config = JSON.parse(await readFile(server.kubeconfig, 'utf8')) as { users: { user: { token: string } }[] };
  for (const { user } of config.users) user.token = token.trim();
  kubeconfig = join(folder, 'kubeconfig');
  await writeFile(kubeconfig, JSON.stringify(config));
});

const cleanups: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup();
});
afterAll(() => rm(folder, { recursive: true }));

async function kubectl(args: readonly string[], document?: object): Promise<string> {
  const input = document === undefined ? {} : { input: JSON.stringify(document) };
  const { code, stdout, stderr } = await server.kubectl(args, input);
  if (code !== 0) throw new Error(`kubectl ${args.join(' ')}: ${stderr}`);
  return stdout;
}

async function eventually<T>(look: () => Promise<T | null | false>, what: string): Promise<T> {
  const until = Date.now() + 60_000;
  for (;;) {
    const found = await look();
    if (found !== null && found !== false) return found;
    if (Date.now() > until) throw new Error(`${what} never came true`);
    await new Promise((resolve) => void setTimeout(resolve, 100));
  }
}

interface Stored {
  readonly metadata: {
    readonly name: string;
    readonly uid: string;
    readonly labels?: Readonly<Record<string, string>>;
    readonly ownerReferences?: unknown;
    readonly finalizers?: unknown;
  };
  readonly spec: { readonly targetRef: { readonly name: string } };
  readonly status?: MigrationBackupStatus;
}

const backupDocument = (name: string, target = 'unicorn-db') => ({
  apiVersion: 'migrationtarget.dev/v1alpha1',
  kind: 'MigrationBackup',
  metadata: { name },
  spec: { targetRef: { name: target } },
});

const conditionOf = ({ status }: Stored, type: string) =>
  status?.conditions.find((condition) => condition.type === type);
const readyOf = (object: Stored) => conditionOf(object, 'Ready');

/** A namespace, a database at a1, its Secret, a folder for backups; nothing is declared yet. */
async function place() {
  const ns = await namespace(server);
  const database = await createDatabase(16, { sql: atA1 });
  cleanups.push(() => database.drop());
  const backups = join(folder, ns);
  const secret = (url: string) => ({
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: { name: 'unicorn-db' },
    stringData: { url },
  });
  const inNs = (args: readonly string[], document?: object) => kubectl(['-n', ns, ...args], document);
  await inNs(['apply', '-f', '-'], secret(database.url));
  await inNs(['create', 'role', 'secrets', '--verb=get', '--resource=secrets', '--resource-name=unicorn-db']);
  await inNs(['create', 'rolebinding', 'secrets', '--role=secrets', `--serviceaccount=${controllerAccount}`]);

  return {
    ns,
    kubectl: inNs,
    declare: async (revision = 'a1', spec: Readonly<Record<string, unknown>> = {}) =>
      inNs(['apply', '-f', '-'], await document(database, project, { revision, backups, spec })),
    setUrl: (url: string) => inNs(['apply', '-f', '-'], secret(url)),
    url: database.url,
    request: (name: string, target?: string) => inNs(['create', '-f', '-'], backupDocument(name, target)),
    reconcile: async () =>
      inNs(['annotate', '--overwrite', 'mtgt/unicorn-db', `migrationtarget.dev/requestedAt=${Date.now()}`]),
    objects: async () =>
      (JSON.parse(await inNs(['get', 'migrationbackups', '-o', 'json'])) as { items: Stored[] }).items,
    object: async (name: string) => JSON.parse(await inNs(['get', 'migrationbackup', name, '-o', 'json'])) as Stored,
    waitReady: (name: string) => inNs(['wait', '--for=condition=Ready', '--timeout=60s', `migrationbackup/${name}`]),
    /** The backups in the folder, whole ones, oldest first. */
    folders: async () =>
      existsSync(backups) ? (await readdir(backups)).filter((name) => !name.startsWith('.')).toSorted() : [],
    manifest: async (id: string) =>
      JSON.parse(await readFile(join(backups, id, 'manifest.json'), 'utf8')) as BackupManifest,
    backups,
  };
}
type Place = Awaited<ReturnType<typeof place>>;

const document = async (
  database: TestDatabase,
  of: AlembicProject,
  options: { readonly revision: string; readonly backups: string; readonly spec: Readonly<Record<string, unknown>> },
) => targetDocument({ name: 'unicorn-db', database, project: of, ...options });

/** The controller, as `migration-target run` starts it, in this process; resolves with how to stop it. */
async function startController(
  { ns }: Pick<Place, 'ns'>,
  change: (home: Home) => Home = (home) => home,
  surroundings: Surroundings = { inPod: false, allow: [] },
) {
  const home = await createKubernetesHome({
    kubeconfig,
    namespace: ns,
    allow: [],
    onProblem: (problem) => {
      throw problem;
    },
  });
  const stop = new AbortController();
  const over = serve({
    home: change(home),
    election: null,
    watches: 'a test',
    listen: '127.0.0.1:0',
    workers: 2,
    surroundings,
    signal: stop.signal,
    adapters: { ...lazyAdapters(), databases: createDatabases({ toolDirectories: [binDir] }) },
    version: 'test',
  });
  let stopped: Promise<unknown> | null = null;
  const end = () =>
    (stopped ??= (async () => {
      stop.abort();
      await over;
      await home[Symbol.asyncDispose]();
    })());
  cleanups.push(end);
  return end;
}

/** The moment of a death. */
type Moment = (written: {
  readonly target: TargetStatus | null;
  readonly backup: MigrationBackupStatus | null;
  /** The id of the backup that an object is made for. */
  readonly shown: string | null;
}) => boolean;
const moments: Readonly<Record<string, Moment>> = {
  'the object was to say so': ({ backup }) => backup !== null && backup.backupId !== null,
  'the journal was to go on from it': ({ target }) => target?.operation?.step === 'report',
};

/** A home that dies, as its process would, at that write: it and all later ones fail. */
async function dieWhen(at: Place, moment: Moment): Promise<void> {
  const died = Promise.withResolvers<void>();
  let dead = false;
  const unless = (written: Parameters<Moment>[0]): void => {
    dead ||= moment(written);
    if (!dead) return;
    died.resolve();
    throw new Error('killed');
  };
  const end = await startController(at, (home) => {
    const objects = home.backupObjects;
    if (objects === undefined) throw new Error('a Kubernetes home has objects');
    return {
      ...home,
      saveStatus: async (key, target, replaces) => {
        unless({ target, backup: null, shown: null });
        await home.saveStatus(key, target, replaces);
      },
      backupObjects: {
        ...objects,
        show: async (key, shown) => {
          unless({ target: null, backup: null, shown });
          return objects.show(key, shown);
        },
        saveStatus: async (object, backup) => {
          unless({ target: null, backup, shown: null });
          await objects.saveStatus(object, backup);
        },
      },
    };
  });
  await died.promise;
  await end();
}

describe('a MigrationBackup that somebody creates', () => {
  test('has one backup taken, and tells of it what the manifest does', async () => {
    const at = await place();
    await at.declare();
    const end = await startController(at);
    // From here on only the object itself makes its target due.
    await at.kubectl(['wait', '--for=condition=Ready', '--timeout=60s', 'mtgt/unicorn-db']);
    await at.request('before-the-weekend');
    await at.waitReady('before-the-weekend');
    const object = await at.object('before-the-weekend');
    const [id = '', second] = await at.folders();
    expect(second).toBeUndefined();
    const manifest = await at.manifest(id);
    expect(object.status).toMatchObject({
      backupId: id,
      revisions: ['a1'],
      revision: 'a1',
      reason: 'Requested',
      sizeBytes: manifest.sizeBytes,
      startedAt: manifest.startedAt,
      finishedAt: manifest.finishedAt,
      verifiedAt: manifest.verifiedAt,
      keptUntil: manifest.keptUntil,
    });
    expect(object.status?.conditions.map(({ type, status, reason }) => [type, status, reason])).toEqual([
      ['Ready', 'True', 'BackupVerified'],
      ['Reconciling', 'False', 'BackupVerified'],
      ['Stalled', 'False', 'BackupVerified'],
    ]);
    expect(await at.kubectl(['get', 'migrationbackups'])).toMatch(
      new RegExp(`before-the-weekend\\s+unicorn-db\\s+${id}\\s+a1\\s+\\d+\\s+True\\s+BackupVerified`),
    );
    // Nothing takes another one: neither the next look at the target nor the next start.
    await at.reconcile();
    await at.kubectl(['wait', '--for=condition=Ready', '--timeout=60s', 'mtgt/unicorn-db']);
    await end();
    await startController(at);
    await at.request('second');
    await at.waitReady('second');
    expect(await at.folders()).toHaveLength(2);
    expect((await at.object('before-the-weekend')).status?.backupId).toBe(id);
    expect((await at.objects()).map(({ metadata }) => metadata.name).toSorted()).toEqual([
      'before-the-weekend',
      'second',
    ]);
  });

  test('of a database without a version table is shown with that, wherever kubectl shows a revision', async () => {
    const at = await place();
    await query(at.url, 'DROP TABLE alembic_version');
    await at.declare();
    await startController(at);
    await at.request('unmarked');
    await at.waitReady('unmarked');
    expect(await at.kubectl(['get', 'migrationbackups'])).toMatch(
      /unmarked\s+unicorn-db\s+\S+\s+no version table\s+\d+\s+True/,
    );
    await at.kubectl(['wait', '--for=condition=Stalled', '--timeout=60s', 'mtgt/unicorn-db']);
    expect(await at.kubectl(['get', 'mtgt', '-o', 'wide'])).toMatch(/unicorn-db\s+a1\s+False\s+VersionTableMissing/);
  });

  test('of a target that is not declared says so, and is taken once it is', async () => {
    const at = await place();
    await startController(at);
    await at.request('early');
    await at.kubectl(['wait', '--for=condition=Stalled', '--timeout=60s', 'migrationbackup/early']);
    expect(readyOf(await at.object('early'))).toMatchObject({
      status: 'False',
      reason: 'TargetNotFound',
      message: expect.stringMatching(
        /^There is no MigrationTarget \S+\/unicorn-db\. .*migration-target apply -f FILE.*kubectl -n \S+ delete migrationbackup early/,
      ),
    });
    expect(await at.kubectl(['get', 'migrationbackups', '-o', 'wide'])).not.toContain('<no value>');
    await at.declare();
    await at.waitReady('early');
    expect(await at.folders()).toHaveLength(1);
  });

  test('of a target that the controller may not act on says so, and is taken once it may', async () => {
    const at = await place();
    await at.declare();
    const end = await startController(at, (home) => home, { inPod: true, allow: ['process'] });
    await at.request('patient');
    await at.kubectl(['wait', '--for=condition=Stalled', '--timeout=60s', 'migrationbackup/patient']);
    expect(readyOf(await at.object('patient'))).toMatchObject({
      reason: 'NotAllowed',
      message: expect.stringContaining('--allow=directory'),
    });
    expect(await at.folders()).toEqual([]);
    await end();
    await startController(at);
    await at.waitReady('patient');
    expect(await at.folders()).toHaveLength(1);
  });

  test('that can not be taken says why, is not tried for ever, and another one is', async () => {
    const at = await place();
    await at.setUrl(at.url.replace(/:[^:@/]+@/, ':wrong@'));
    await at.declare();
    await startController(at);
    await at.request('in-vain');
    await at.kubectl(['wait', '--for=condition=Stalled', '--timeout=60s', 'migrationbackup/in-vain']);
    expect(readyOf(await at.object('in-vain'))).toMatchObject({ status: 'False', reason: 'AuthenticationFailed' });
    await at.setUrl(at.url);
    await at.request('again');
    await at.waitReady('again');
    expect(readyOf(await at.object('in-vain'))).toMatchObject({ status: 'False', reason: 'AuthenticationFailed' });
    expect(await at.folders()).toHaveLength(1);
  });

  test.each(Object.entries(moments))(
    'has no second backup taken where the controller died when %s',
    async (_, moment) => {
      const at = await place();
      await at.declare();
      await at.request('unlucky');
      await dieWhen(at, moment);
      const [id = '', second] = await at.folders();
      expect([id === '', second]).toEqual([false, undefined]);
      const interrupted = await at.object('unlucky');
      expect(interrupted.status?.backupId ?? null).toBeNull();
      expect(conditionOf(interrupted, 'Reconciling')).toMatchObject({ status: 'True', reason: 'Progressing' });

      await startController(at);
      await at.waitReady('unlucky');
      expect((await at.object('unlucky')).status?.backupId).toBe(id);
      expect(await at.folders()).toEqual([id]);
    },
  );
});

describe('a backup that the controller took', () => {
  test('appears as an object that owns nothing; deleting that keeps the data, and it does not come back', async () => {
    const at = await place();
    await at.declare();
    const end = await startController(at);
    await at.kubectl(['wait', '--for=condition=Ready', '--timeout=60s', 'mtgt/unicorn-db']);
    await at.declare('a2');
    const [shown] = await eventually(async () => {
      const all = await at.objects();
      return all.length > 0 && readyOf(all[0] as Stored)?.status === 'True' && all;
    }, 'the object');
    const [id = ''] = await at.folders();
    expect(shown?.metadata.name).toBe(id.slice(at.ns.length + 1).toLowerCase());
    expect(shown?.metadata.labels).toEqual({ 'migrationtarget.dev/target': 'unicorn-db' });
    expect([shown?.metadata.ownerReferences, shown?.metadata.finalizers]).toEqual([undefined, undefined]);
    expect(shown?.status).toMatchObject({ backupId: id, revisions: ['a1'], reason: 'BeforeChange' });

    await at.kubectl(['delete', 'migrationbackup', shown?.metadata.name ?? '']);
    await end();
    await startController(at);
    await at.request('later');
    await at.waitReady('later');
    expect((await at.objects()).map(({ metadata }) => metadata.name)).toEqual(['later']);
    expect(await at.folders()).toHaveLength(2);
    expect((await at.manifest(id)).id).toBe(id);
  });

  test('is shown though the controller died in between, and its object goes when retention removes it', async () => {
    const at = await place();
    const retention = { minAge: '1s', minCount: 0 };
    await at.declare('a2', { backup: { retention } });
    await dieWhen(at, ({ shown }) => shown !== null);
    await startController(at);
    const first = await eventually(async () => {
      const [only] = await at.objects();
      return only !== undefined && readyOf(only)?.status === 'True' && only;
    }, 'the object');
    expect(first.status?.reason).toBe('BeforeChange');
    // The one at a1 could be needed by a fallback; of two at a2 the older one goes, once its second is over.
    await at.request('older');
    await at.waitReady('older');
    await at.request('newer');
    await at.waitReady('newer');
    const older = await at.object('older');
    await eventually(async () => {
      await at.reconcile();
      return !(await at.folders()).includes(older.status?.backupId ?? '');
    }, 'retention');
    // What somebody made is theirs: it is told, and stays.
    await eventually(async () => readyOf(await at.object('older'))?.reason === 'BackupNotFound', 'the word');
    expect(conditionOf(await at.object('older'), 'Stalled')?.message).toMatch(
      /the catalogue has it no longer\. Delete this object: kubectl -n \S+ delete migrationbackup older/,
    );
    // What the controller made goes with the backup.
    await rm(join(at.backups, first.status?.backupId ?? ''), { recursive: true });
    await eventually(async () => {
      await at.reconcile();
      return !(await at.objects()).some(({ metadata }) => metadata.name === first.metadata.name);
    }, 'the removal of the object');
  });
});

describe('the command line in a cluster', () => {
  const command = ({ ns }: Place, ...args: readonly string[]): Promise<Ran> =>
    run(process.execPath, [program, '--kubeconfig', server.kubeconfig, '-n', ns, ...args], {
      env: { PATH: process.env['PATH'] ?? '', HOME: folder, NO_COLOR: '1' },
    });

  test('takes a backup through the controller, lists what there is, and says what went wrong', async () => {
    const at = await place();
    await at.declare();
    await startController(at);
    expect((await command(at, 'backups')).stdout).toMatch(/^No backup of unicorn-db yet\..*backup unicorn-db/);

    const taken = await command(at, 'backup', 'unicorn-db');
    const [id = ''] = await at.folders();
    expect(taken).toMatchObject({ code: 0, stdout: expect.stringMatching(/✓ unicorn-db {3}Ready BackupVerified/) });
    expect(taken.stdout).toContain(`Backup ${id} of database`);
    const [object] = await at.objects();
    expect(object?.metadata.name).toMatch(/^unicorn-db-\w{5}$/);

    const listed = await command(at, 'backups', 'unicorn-db', '-o', 'wide');
    expect(listed.stdout).toMatch(/^ID\s+TAKEN\s+REVISION\s+SIZE\s+VERIFIED\s+KEPT UNTIL\s+REASON\s+OBJECT\n/);
    expect(listed.stdout).toMatch(new RegExp(`\\n${id}\\s.* a1 .* Requested\\s+${object?.metadata.name}\\n`));
    expect((await command(at, 'backups', '-o', 'name')).stdout).toBe(`${id}\n`);

    await at.setUrl(at.url.replace(/:[^:@/]+@/, ':wrong@'));
    const failed = await command(at, 'backup', 'unicorn-db');
    expect(failed).toMatchObject({ code: 4, stdout: '' });
    expect(failed.stderr).toMatch(/✗ AuthenticationFailed unicorn-db/);
    expect((await command(at, 'backups')).stdout).toMatch(/✗ unicorn-db-\w{5} {3}AuthenticationFailed/);
  });
});
