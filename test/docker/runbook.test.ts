/**
 * The runbook that this project takes over, row by row: a team's application in one container, its PostgreSQL in another
 * one, and what a person typed until now. docs/from-the-runbook.md is the table of it.
 */
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import type Docker from 'dockerode';
import pg from 'pg';
import { parse } from 'yaml';

import type { BackupManifest } from '../../src/rollback/model.ts';
import type { OperationEvent } from '../../src/rollback/ports.ts';
import { reconcile } from '../../src/rollback/reconcile.ts';
import { sql, writeHistory, type HistorySpec, type Revision } from '../support/alembic.ts';
import {
  dockerScene,
  inContainer,
  testEngine,
  type ContainedDatabase,
  type DatabaseContainer,
  type DockerScene,
} from '../support/docker.ts';
import { answerOnceLogged, containedScene, freePort, listen, type ContainedScene } from '../support/docker-scene.ts';
import { databaseUrl, query } from '../support/postgres.ts';
import { startReceiver } from '../support/receiver.ts';
import { said } from '../support/scene.ts';
import { contentOf, startProgram, type Ended } from '../integration/cli/bench.ts';

const engine = await testEngine();
const page = '/api/v1/system/status';

const [r1, r2, r3, r4] = ['3b7e0c91d2a4', '8d15f6a07c3b', 'c40a9be27f18', '61f8d3e5b90c'] as const;
const createsUsers: Revision = {
  id: r1,
  up: sql(`CREATE TABLE users (id int PRIMARY KEY, name text NOT NULL);
    INSERT INTO users SELECT g, 'user ' || g FROM generate_series(1, 100) g;
    CREATE TABLE orgs (id int); INSERT INTO orgs VALUES (1), (2)`),
  downgrade: sql('DROP TABLE users, orgs'),
};
const addsEmail: Revision = {
  id: r2,
  up: sql(`ALTER TABLE users ADD email text; UPDATE users SET email = name || '@example.org'`),
  downgrade: sql('ALTER TABLE users DROP email'),
};
const indexesEmail: Revision = {
  id: r3,
  up: sql('CREATE INDEX users_email ON users (email)'),
  downgrade: sql('DROP INDEX users_email'),
};
const addsNotes: Revision = {
  id: r4,
  up: sql(`CREATE TABLE notes (id int); INSERT INTO notes VALUES (1), (2), (3)`),
  downgrade: sql('DROP TABLE notes'),
};
const runbook: HistorySpec = { revisions: [createsUsers, addsEmail, indexesEmail, addsNotes] };
/** The same, with the third migration's way back or forth another one. */
const withThird = (change: Partial<Revision>): HistorySpec => ({
  revisions: [createsUsers, addsEmail, { ...indexesEmail, ...change }],
});

interface StageOptions {
  /** Where the database is, without anything having led it there. */
  readonly at: typeof r1 | typeof r2 | typeof r3 | typeof r4 | null;
  readonly history?: HistorySpec;
  readonly spec?: Readonly<Record<string, unknown>>;
  /** Instead of the HTTP application. */
  readonly command?: readonly string[];
}

interface Stage extends ContainedScene {
  /** Of the status page, from outside. */
  readonly statusPage: string;
  /** The program, as a person types it. */
  cli(...args: readonly string[]): Promise<Ended>;
  cliWith(env: Readonly<Record<string, string>>, ...args: readonly string[]): Promise<Ended>;
  /** The catalogue, newest first. */
  catalogue(): Promise<readonly BackupManifest[]>;
  /** Of the last operation. */
  report(): Promise<string>;
  /** What was recorded as events, in order. */
  events(): Promise<readonly { readonly type: string; readonly reason: string; readonly message: string }[]>;
  /** The application, for spec.application. */
  running(change?: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>>;
}

(engine === null ? describe.skip : describe)('the runbook', () => {
  let docker: DockerScene;
  let server: DatabaseContainer;
  /** One database at each revision, of which the tests have copies. */
  let origins: ReadonlyMap<string, ContainedDatabase>;

  beforeAll(async () => {
    if (engine === null) return;
    docker = await dockerScene(engine);
    server = await docker.database();
    origins = await originsOf();
  });
  afterAll(async () => docker[Symbol.asyncDispose]());

  async function originsOf(): Promise<ReadonlyMap<string, ContainedDatabase>> {
    const dir = await mkdtemp(join(tmpdir(), 'mt-runbook-'));
    await writeHistory(dir, runbook);
    const database = await server.createDatabase();
    const command = [
      'python3',
      '-c',
      'import signal; signal.signal(signal.SIGTERM, lambda *_: exit(0)); signal.pause()',
    ];
    const env = { DATABASE_URL: database.url };
    const container = await docker.application({ name: docker.name('by-hand'), dir, env, command });
    const made = new Map<string, ContainedDatabase>();
    for (const revision of [r1, r2, r3, r4]) {
      const { code, output } = await inContainer(container, ['alembic', 'upgrade', revision]);
      if (code !== 0) throw new Error(output);
      made.set(revision, await copyOf(database));
    }
    await container.remove({ force: true, v: true });
    await rm(dir, { recursive: true });
    return made;
  }

  let copies = 0;
  async function copyOf(of: ContainedDatabase): Promise<ContainedDatabase> {
    const name = `unicorn_db_${(copies += 1)}`;
    await query(await server.adminUrl(), `CREATE DATABASE ${name} TEMPLATE ${of.name} OWNER ${of.owner}`);
    return {
      ...of,
      name,
      url: databaseUrl(of.url, { database: name }),
      networkAdminUrl: databaseUrl(of.networkAdminUrl, { database: name }),
      adminUrl: async () => databaseUrl(await server.adminUrl(), { database: name }),
    };
  }

  async function stage({ at, history = runbook, spec = {}, command }: StageOptions): Promise<Stage> {
    const port = await freePort();
    const origin = at === null ? undefined : origins.get(at);
    const scene = await containedScene(docker, {
      history,
      server: {
        name: server.name,
        createDatabase: () => (origin === undefined ? server.createDatabase() : copyOf(origin)),
      },
      application: {
        name: docker.name('ops-center-direct'),
        ...(command === undefined ? {} : { command }),
        host: {
          RestartPolicy: { Name: 'always' },
          PortBindings: { '8084/tcp': [{ HostIp: '127.0.0.1', HostPort: String(port) }] },
        },
      },
      spec: { revision: at ?? 'base', ...spec },
    });
    const statusPage = `http://127.0.0.1:${port}${page}`;
    const cliWith = (env: Readonly<Record<string, string>>, ...args: readonly string[]): Promise<Ended> =>
      startProgram(['--dir', scene.dir, ...args], {
        ...process.env,
        DOCKER_HOST: `unix://${docker.engine.socketPath}`,
        ...env,
      }).ended;
    return Object.assign(scene, {
      statusPage,
      cliWith,
      cli: (...args: readonly string[]) => cliWith({}, ...args),
      catalogue: async () => {
        const store = await scene.ports.backups.open({ directory: { path: scene.backups } }, key, scene.ports.home);
        return (await store.list()).backups;
      },
      report: async () => readFile((await scene.target()).status?.history[0]?.report ?? '', 'utf8'),
      events: async () => {
        const text = await readFile(join(scene.dir, 'state/default/unicorn/events.jsonl'), 'utf8');
        return text
          .trimEnd()
          .split('\n')
          .map((line) => JSON.parse(line) as never);
      },
      running: (change = {}) => ({
        workloads: [{ kind: 'Container', name: scene.name }],
        healthCheck: { url: statusPage, timeout: '60s' },
        ...change,
      }),
    });
  }

  // ------------------------------------------------------------------------------------- the scripts' own rows

  describe('what is looked at', () => {
    let scene: Stage;
    beforeAll(async () => {
      if (engine === null) return;
      scene = await stage({ at: r2 });
      await scene.goTo(r3);
    });
    afterAll(async () => scene[Symbol.asyncDispose]());

    /** All that there is of it: the folder, the backups in it, and the database. */
    const all = async (): Promise<unknown> => {
      const files = Object.entries(await contentOf(scene.dir)).filter(([path]) => !path.includes('__pycache__'));
      return [await scene.version(), await scene.checksum(), files];
    };

    test('P6: status and history tell current, desired, the graph, the steps, the last backup and operation', async () => {
      const status = await scene.cli('status', 'unicorn');
      expect(status).toMatchObject({ code: 0, stderr: '' });
      const [backup] = await scene.catalogue();
      expect(status.stdout).toMatch(new RegExp(`current +${r3}\n +desired +${r3}\n`));
      expect(status.stdout).toMatch(new RegExp(`backup +${backup?.id}, at ${r2}, .*verified`));
      const history = await scene.cli('history', 'unicorn');
      expect(history.stdout.split('\n').slice(0, 4)).toEqual([
        expect.stringMatching(new RegExp(`^○ +${r4}`)),
        expect.stringMatching(new RegExp(`^● +${r3}.*← current, desired`)),
        expect.stringMatching(new RegExp(`^● +${r2}`)),
        expect.stringMatching(new RegExp(`^● +${r1}`)),
      ]);
      expect(history.stdout).toContain('Upgraded');
    });

    test('P7: a plan shows the migrations and their SQL, and touches nothing', async () => {
      const before = await all();
      const plan = await scene.cli('plan', 'unicorn', '--revision', '+1', '--sql');
      expect(plan).toMatchObject({ code: 0 });
      expect(plan.stdout).toContain(`upgrade   ${r3} → ${r4}`);
      expect(plan.stdout).toMatch(/CREATE TABLE notes \(id int\)[^]*UPDATE alembic_version/);
      expect(await all()).toEqual(before);
    });

    test('P10: the catalogue tells when, of which revision, how big, the checksum, verified or not, and kept until when', async () => {
      const [backup] = await scene.catalogue();
      const text = await scene.cli('backups', 'unicorn');
      expect(text).toMatchObject({ code: 0 });
      const [heading = '', line = ''] = text.stdout.split('\n');
      expect(heading.split(/ {2,}/).slice(0, 6)).toEqual(['ID', 'TAKEN', 'REVISION', 'SIZE', 'VERIFIED', 'KEPT UNTIL']);
      expect(line).toMatch(new RegExp(`^${backup?.id} .* ${r2} .* kB .* ago +\\d{4}-\\d\\d-\\d\\d .* BeforeChange`));
      const { stdout } = await scene.cli('backups', 'unicorn', '-o', 'json');
      expect(stdout).toContain(backup?.files[0]?.sha256);
      expect(stdout).toContain(backup?.finishedAt);
      expect(stdout).toContain(backup?.keptUntil);
    });

    test('P18: there already, nothing is done, and that is a success', async () => {
      const { status } = await scene.target();
      const backups = await scene.catalogue();
      expect(said((await scene.goTo(r3)).outcome)).toMatch(/^ready /);
      expect(await scene.cli('apply', 'unicorn', '--yes')).toMatchObject({ code: 0 });
      expect(await scene.catalogue()).toEqual(backups);
      expect((await scene.target()).status?.history).toEqual(status?.history);
    });

    test('P24: the plan tells what would be lost; the policy forbids it, or asks', async () => {
      const before = await all();
      const plan = await scene.cli('plan', 'unicorn', '--revision', r1, '--rehearse');
      expect(plan.stdout).toMatch(/public\.users +column email goes, with 100 values/);
      expect(plan.stdout).toContain('loses data: 100 rows in 1 table');
      const forbidden = await scene.goTo(r1, { policy: { rehearsal: 'Never', downgrade: 'Forbid' } });
      expect(said(forbidden.outcome)).toMatch(
        /^stalled DowngradeForbidden: .*spec\.policy\.downgrade is Forbid\. Declare c40a9be27f18/,
      );
      const asked = await scene.goTo(r1, { policy: { rehearsal: 'Always', dataLoss: 'RequireApproval' } });
      expect(said(asked.outcome)).toMatch(/^awaitingApproval.*100 rows in 1 table.*--max-row-loss 100\b/s);
      const refused = await scene.goTo(r1, { policy: { rehearsal: 'Always', dataLoss: 'Forbid' } });
      expect(said(refused.outcome)).toMatch(/^stalled DataLossForbidden/);
      await scene.goTo(r3, { policy: { rehearsal: 'Never', dataLoss: 'Allow' } });
      const [version, content] = (await all()) as readonly unknown[];
      expect([version, content]).toEqual((before as readonly unknown[]).slice(0, 2));
    });

    test('P25: doctor looks at each thing that a rollback would need, before it is needed', async () => {
      const healthy = await scene.cli('doctor', 'unicorn', '-o', 'json');
      expect(healthy).toMatchObject({ code: 0 });
      const text = (await scene.cli('doctor', 'unicorn')).stdout;
      for (const check of [
        'connection',
        'rights',
        'version table',
        'tools',
        'alembic',
        'env.py',
        'free space',
        'backups',
        'restorable',
      ])
        expect(text).toMatch(new RegExp(`✓ ${check}`));
      expect(text).toContain(`in the container ${server.name}`);
      expect(text).toContain(`in the container ${scene.name}; 4 revisions`);
      const declared = await readFile(join(scene.dir, 'targets/unicorn.yaml'), 'utf8');
      await writeFile(
        join(scene.dir, 'targets/gone.yaml'),
        declared.replace('name: unicorn\n', 'name: gone\n').replaceAll(scene.name, 'nobody'),
      );
      const gone = await scene.cli('doctor', 'gone');
      await rm(join(scene.dir, 'targets/gone.yaml'));
      expect(gone).toMatchObject({ code: 1 });
      expect(gone.stdout).toMatch(/✗ alembic .*The container "nobody" \(spec\.runtime\.docker\.container\)/);
    });
  });

  test('P1: backed up, the steps shown, asked, downgraded, checked: in that order', async () => {
    await using scene = await stage({ at: r3, spec: { policy: { rehearsal: 'Never' } } });
    const before = await scene.checksum();
    const asked = await scene.goTo(r1);
    expect(said(asked.outcome)).toMatch(/^awaitingApproval/);
    expect(asked.status.plan?.steps).toEqual([
      { direction: 'down', revision: r3 },
      { direction: 'down', revision: r2 },
    ]);
    expect([await scene.version(), await scene.checksum()]).toEqual([r3, before]);
    await scene.ports.home.approve(key, { ...consent, planDigest: asked.status.plan?.digest ?? '' });
    const first = scene.observed.length;
    expect(said((await scene.reconcile()).outcome)).toMatch(/^ready Downgraded/);
    const done = scene.observed
      .slice(first)
      .flatMap((event) => (event.kind === 'step' && event.state === 'finished' ? [event.step] : []));
    expect(done.filter((step) => ['plan', 'backup', 'gate', 'change', 'verify'].includes(step))).toEqual([
      'plan',
      'backup',
      'gate',
      'change',
      'verify',
    ]);
    expect(await scene.version()).toBe(r1);
    const [backup] = await scene.catalogue();
    expect(backup).toMatchObject({ reason: 'BeforeChange', revisions: [r3], verifiedAt: expect.any(String) });
  });

  test('P2: a label, a short id or -3 is one absolute revision before anything is written; many steps go in one go', async () => {
    const branch: Revision = { id: 'f03b68d1ca97', down: r1, labels: ['reports'] };
    await using scene = await stage({ at: r4, history: { revisions: [...runbook.revisions, branch] } });
    for (const [typed, meant] of [
      ['reports', { kind: 'switch', desired: [branch.id] }],
      [r3.slice(0, 5), { kind: 'downgrade', desired: [r3] }],
      ['-3', { kind: 'downgrade', desired: [r1] }],
    ] as const) {
      const plan = await scene.cli('plan', 'unicorn', '--revision', typed, '-o', 'json');
      expect(JSON.parse(plan.stdout)).toMatchObject(meant);
    }
    expect(await scene.cli('apply', 'unicorn', '--revision', '-3', '--yes')).toMatchObject({ code: 0 });
    const { spec } = parse(await readFile(join(scene.dir, 'targets/unicorn.yaml'), 'utf8')) as {
      readonly spec: unknown;
    };
    expect(spec).toMatchObject({ revision: r1 });
    expect(await scene.version()).toBe(r1);
    expect((await scene.target()).status?.history).toMatchObject([{ kind: 'downgrade', from: [r4], to: [r1] }]);
  });

  // --------------------------------------------------------------------------------------------- the application

  test('P3: the application is restarted after the change', async () => {
    await using scene = await stage({ at: r3, spec: { policy: { rehearsal: 'Always', dataLoss: 'Allow' } } });
    const before = await stateOf(scene.application);
    let changedAt = 0;
    listen(scene, (event) => {
      if (event.kind === 'migration' && event.event.kind === 'finished') changedAt = Date.now();
    });
    expect(said((await scene.goTo(r4, { application: scene.running({ during: 'Keep' }) })).outcome)).toMatch(
      /^ready Upgraded/,
    );
    const after = await stateOf(scene.application);
    expect(after.Running).toBe(true);
    expect(after.StartedAt).not.toBe(before.StartedAt);
    expect(Date.parse(after.StartedAt)).toBeGreaterThan(changedAt);
  });

  test('P4: in an emergency writers are stopped first, stay stopped while the database changes, and start once it is verified', async () => {
    // It runs for as long as the test holds this lock.
    const held = 4_711;
    const downgrade = sql(`SELECT pg_advisory_xact_lock(${held}); DROP INDEX users_email`);
    await using scene = await stage({ at: r3, history: withThird({ downgrade }), spec: { database: patient } });
    await using holder = await session(await scene.database.adminUrl());
    await holder.client.query(`SELECT pg_advisory_lock(${held})`);
    await using prober = probe(scene.statusPage);
    await prober.until(({ up }) => up);

    const told: { readonly at: number; readonly event: OperationEvent }[] = [];
    const released: Promise<unknown>[] = [];
    listen(scene, (event) => {
      told.push({ at: Date.now(), event });
      if (event.kind === 'migration' && event.event.kind === 'started')
        released.push(prober.more(5).then(() => holder.client.query(`SELECT pg_advisory_unlock(${held})`)));
    });
    const { outcome } = await scene.goTo(r2, { application: scene.running() });
    expect(said(outcome)).toMatch(/^ready Downgraded/);
    await Promise.all(released);
    await prober.more(2);

    // Up, down once, up.
    const all = await prober.stop();
    const seen = all.slice(all.findIndex(({ up }) => up));
    const changes = seen.filter(({ up }, at) => at === 0 || seen[at - 1]?.up !== up).map(({ up }) => up);
    expect(changes).toEqual([true, false, true]);

    const at = (holds: (event: OperationEvent) => boolean): number => told.find(({ event }) => holds(event))?.at ?? NaN;
    const startedAt = at((event) => event.kind === 'migration' && event.event.kind === 'started');
    const verifiedAt = at((event) => event.kind === 'step' && event.step === 'verify' && event.state === 'finished');
    const meanwhile = seen.filter(({ from, to }) => from >= startedAt && to <= verifiedAt);
    expect(meanwhile.length).toBeGreaterThanOrEqual(3);
    expect(meanwhile.filter(({ up }) => up)).toEqual([]);

    // What is reported is what was seen: from the stop to the first look that found it up.
    const down = seen.filter(({ up }) => !up);
    const [firstDown, lastDown] = [down[0], down.at(-1)];
    const upAgain = seen.findLast(({ up }, index) => up && seen[index - 1]?.up === false);
    const lastUp = seen[seen.findIndex(({ up }) => !up) - 1];
    const { downtime } = one(told.flatMap(({ event }) => (event.kind === 'downtime' ? [{ downtime: event.ms }] : [])));
    const stoppedAt = Date.parse(/Stopped at (\S+): /.exec(await scene.report())?.[1] ?? '');
    expect(stoppedAt).toBeLessThanOrEqual(firstDown?.to ?? NaN);
    expect(stoppedAt + downtime).toBeGreaterThanOrEqual(lastDown?.from ?? NaN);
    // Not longer either, but for the time between two looks: the one that it was found up at came right after it was.
    const looks = told
      .filter(({ event }) => event.kind === 'progress' && event.step === 'resume')
      .map(({ at: when }) => when);
    expect(looks.at(-2) ?? 0).toBeLessThanOrEqual(upAgain?.to ?? NaN);
    const finishedAt = at((event) => event.kind === 'downtime');
    expect(downtime).toBeLessThanOrEqual(finishedAt - stoppedAt);
    expect(lastUp?.from).toBeLessThanOrEqual(startedAt);
    expect(await scene.report()).toContain(`| Downtime | ${(downtime / 1000).toFixed(1)} s |`);
  });

  test('P5: the health check has its own time, is asked again, and its result is a condition', async () => {
    await using receiver = await startReceiver([503, 503]);
    await using scene = await stage({ at: r3 });
    const health = async (): Promise<unknown> =>
      (await scene.target()).status?.conditions.find(({ type }) => type === 'ApplicationHealthy');
    expect(
      said((await scene.goTo(r4, { application: { healthCheck: { url: receiver.url, timeout: '60s' } } })).outcome),
    ).toMatch(/^ready Upgraded/);
    expect(receiver.received.map(({ method }) => method)).toEqual(['GET', 'GET', 'GET']);
    expect(await health()).toMatchObject({ status: 'True', reason: 'ApplicationHealthy' });

    await using sick = await startReceiver(Array<number>(1_000).fill(503));
    const down = await scene.goTo(r3, { application: { healthCheck: { url: sick.url, timeout: '1s' } } });
    expect(said(down.outcome)).toMatch(
      /^stalled ApplicationUnhealthy: .*was downgraded.*is not healthy after 1 s: .*503/,
    );
    expect(sick.received.length).toBeGreaterThan(1);
    expect(await health()).toMatchObject({ status: 'False', reason: 'ApplicationUnhealthy' });
    expect(await scene.version()).toBe(r3);
  });

  test('P6: what is being done now is in the status', async () => {
    const held = 4_712;
    const up = sql(`SELECT pg_advisory_xact_lock(${held}); CREATE INDEX users_email ON users (email)`);
    await using scene = await stage({ at: r2, history: withThird({ up }), spec: { database: patient } });
    await using holder = await session(await scene.database.adminUrl());
    await holder.client.query(`SELECT pg_advisory_lock(${held})`);
    await scene.reconcile();
    const begun = new Promise<void>((resolve) => {
      listen(scene, (event) => {
        if (event.kind === 'migration' && event.event.kind === 'started') resolve();
      });
    });
    const going = scene.goTo(r3);
    await begun;
    const status = await scene.cli('status', 'unicorn', '-o', 'json');
    const shown = await scene.cli('status', 'unicorn');
    await holder.client.query(`SELECT pg_advisory_unlock(${held})`);
    expect(said((await going).outcome)).toMatch(/^ready Upgraded/);
    expect(JSON.parse(status.stdout)).toMatchObject({
      status: { plan: { kind: 'upgrade', steps: [{ direction: 'up', revision: r3 }] }, operation: { step: 'change' } },
    });
    expect(shown.stdout).toMatch(/now +upgrade, at its step change/);
    expect(shown.stdout).toMatch(new RegExp(`current +${r2}\n +desired +${r3}`));
  });

  // ------------------------------------------------------------------------------------------ changes and backups

  test('P7: an upgrade has the same safety: a verified backup, tried on a copy; one that fails leaves all as it was', async () => {
    const up = sql(`INSERT INTO orgs VALUES (3); SELECT 1/0`);
    await using scene = await stage({
      at: r1,
      history: { revisions: [createsUsers, addsEmail, { ...indexesEmail, up }] },
      spec: { policy: { rehearsal: 'Always', dataLoss: 'RequireApproval' } },
    });
    const upgraded = await scene.cli('apply', 'unicorn', '--revision', '+1', '--yes');
    expect(upgraded).toMatchObject({ code: 0 });
    expect(await scene.version()).toBe(r2);
    expect(await scene.catalogue()).toMatchObject([
      { reason: 'BeforeChange', revisions: [r1], verifiedAt: expect.any(String) },
    ]);
    expect(await scene.report()).toMatch(
      /\| Rehearsal \| It went through on a copy; .* Back and again ended where it should/,
    );
    const before = await scene.checksum();
    const failed = await scene.goTo(r3, { policy: { rehearsal: 'Never', dataLoss: 'Allow' } });
    expect(said(failed.outcome)).toMatch(/^stalled UpgradeFailed: .*SQLSTATE 22012/);
    expect([await scene.version(), await scene.checksum()]).toEqual([r2, before]);
  });

  test('P8: a backup at any time, of the database as it is, even a corrupt one', async () => {
    await using scene = await stage({ at: r3 });
    expect(await scene.cli('backup', 'unicorn')).toMatchObject({ code: 0 });
    expect(await scene.catalogue()).toMatchObject([
      { reason: 'Requested', revisions: [r3], verifiedAt: expect.any(String) },
    ]);

    // An index that is damaged on the disk, and no version table.
    await scene.query('UPDATE users SET email = NULL WHERE id < 50; DROP TABLE alembic_version');
    await damage(scene, 'users_email');
    const before = await scene.checksum();
    expect(await scene.cli('backup', 'unicorn')).toMatchObject({ code: 0 });
    expect(await scene.checksum()).toBe(before);
    const [damaged] = await scene.catalogue();
    expect(damaged).toMatchObject({ reason: 'Requested', revisions: null, rowCounts: { 'public.users': 100 } });

    // And rows that a key does not let in again: it can be dumped, but not restored as it is.
    await scene.query(`CREATE TABLE members (user_id int REFERENCES users); ALTER TABLE members OWNER TO ${scene.database.owner};
      SET session_replication_role = replica; INSERT INTO members VALUES (999)`);
    const kept = await scene.cli('backup', 'unicorn');
    expect(kept).toMatchObject({ code: 4 });
    const [unverified, ...others] = await scene.catalogue();
    expect(others).toHaveLength(2);
    expect(unverified).toMatchObject({ reason: 'Requested', verifiedAt: null, rowCounts: { 'public.members': 1 } });
    expect(kept.stderr + kept.stdout).toMatch(new RegExp(`${unverified?.id}.*is kept.*not verified`, 's'));
    expect((await scene.cli('backups', 'unicorn')).stdout).toMatch(new RegExp(`^${unverified?.id} .* no `, 'm'));
  });

  test('P9: a backup of the catalogue is restored, and so is a plain .sql file of an old script', async () => {
    await using scene = await stage({ at: r2 });
    const before = await scene.checksum();
    expect(await scene.cli('backup', 'unicorn')).toMatchObject({ code: 0 });
    const [backup] = await scene.catalogue();
    const file = join(scene.dir, 'unicorn_db_20240131_235900.sql');
    await writeFile(file, await plainDump(scene));
    for (const from of [backup?.id ?? '', file]) {
      await scene.query('DELETE FROM users');
      const restored = await scene.cli('restore', 'unicorn', from, '--yes');
      expect(restored).toMatchObject({ code: 0 });
      expect([await scene.version(), await scene.checksum()]).toEqual([r2, before]);
      expect(await rowsAside(scene)).toBe(0);
    }
  });

  test('P11: option 1, the declared revision plus a named backup: restored once, then taken there', async () => {
    await using scene = await stage({ at: r3 });
    expect(await scene.cli('backup', 'unicorn')).toMatchObject({ code: 0 });
    const [backup] = await scene.catalogue();
    await scene.query(`UPDATE users SET name = 'broken'`);
    expect(said((await scene.goTo(r2, { restoreFrom: { backup: backup?.id } })).outcome)).toMatch(/^ready /);
    expect(await scene.version()).toBe(r2);
    expect(await scene.query(`SELECT count(*)::int AS n FROM users WHERE name LIKE 'user %'`)).toEqual([{ n: 100 }]);
    const kinds = async (): Promise<unknown> => (await scene.target()).status?.history.map(({ kind }) => kind);
    expect(await kinds()).toEqual(['downgrade', 'restore', 'backup']);
    await scene.query(`INSERT INTO users VALUES (1000, 'new', 'n')`);
    expect(said((await scene.reconcile()).outcome)).toMatch(/^ready /);
    expect(await kinds()).toEqual(['downgrade', 'restore', 'backup']);
    expect(await scene.query('SELECT count(*)::int AS n FROM users')).toEqual([{ n: 101 }]);
  });

  test('P12: option 2, by itself where the downgrade cannot be trusted: restored, the version table asserted', async () => {
    await using scene = await stage({ at: r2, history: withThird({ downgrade: `raise ValueError('no way back')` }) });
    const before = await scene.checksum();
    await scene.goTo(r3);
    const { outcome } = await scene.goTo(r2);
    expect(said(outcome)).toMatch(/^ready RestoredFromBackup: .*no way back/);
    expect([await scene.version(), await scene.checksum()]).toEqual([r2, before]);
  });

  test('P12: and the version table is written only where the dump does not carry it', async () => {
    await using scene = await stage({ at: r3 });
    const old = join(scene.dir, 'old');
    await mkdir(old);
    const at = await scene.checksum();
    // What its revision is, nobody could tell: a table that no migration makes.
    await scene.query(`CREATE TABLE by_hand (); ALTER TABLE by_hand OWNER TO ${scene.database.owner}`);
    const name = (day: string): string => join(old, `${scene.database.name}_202401${day}_235900.sql`);
    await writeFile(name('01'), await plainDump(scene, '--exclude-table=alembic_version', '--exclude-table=by_hand'));
    await writeFile(name('02'), await plainDump(scene, '--exclude-table=alembic_version'));
    await scene.query('DROP TABLE by_hand; DELETE FROM users');
    expect(await scene.cli('backups', 'import', 'unicorn', old)).toMatchObject({ code: 0 });
    const imported = await scene.catalogue();
    expect(imported.map(({ reason, revisions, identified }) => [reason, revisions, identified])).toEqual([
      ['Imported', null, undefined],
      ['Imported', null, [r3]],
    ]);
    const first = imported.find(({ external }) => external?.path === name('01'));
    expect(said((await scene.goTo(r3, { restoreFrom: { backup: first?.id } })).outcome)).toMatch(/^ready /);
    expect([await scene.version(), await scene.checksum()]).toEqual([r3, at]);
    const second = imported.find(({ external }) => external?.path === name('02'));
    const { outcome } = await scene.goTo(r3, { restoreFrom: { backup: second?.id } });
    expect(said(outcome)).toMatch(
      new RegExp(`^ready RestoredFromBackup: .*says that it is at ${r3}: the dump has no version table`),
    );
    expect(await scene.version()).toBe(r3);
    expect(await scene.query('SELECT count(*)::int AS n FROM users')).toEqual([{ n: 100 }]);
  });

  test('P13: row counts of every table before and after, and queries with the result that they should have', async () => {
    const queries = [
      { name: 'orgs', sql: 'SELECT count(*) FROM orgs', expect: '2' },
      { name: 'some users', sql: 'SELECT count(*) > 0 FROM users', expect: 't' },
    ];
    await using scene = await stage({ at: r4, spec: { verify: { queries } } });
    expect(said((await scene.goTo(r3)).outcome)).toMatch(/^ready Downgraded/);
    const [backup] = await scene.catalogue();
    expect(backup?.rowCounts).toMatchObject({ 'public.notes': 3, 'public.orgs': 2, 'public.users': 100 });
    const report = await scene.report();
    expect(report).toContain('| Query orgs | 2 |\n| Query some users | t |');
    expect(report).toContain('| rows of | before | after |\n|---|---|---|\n| public.notes | 3 | none |\n\n');

    const wrong = [{ name: 'orgs', sql: 'SELECT count(*) FROM orgs', expect: '9' }];
    const { outcome } = await scene.goTo(r2, { verify: { queries: wrong } });
    expect(said(outcome)).toMatch(/^stalled VerificationFailed: .*the query 'orgs' gave '2' and not '9'/);
    expect(await scene.version()).toBe(r3);
  });

  // ------------------------------------------------------------------------------------------------ four scenarios

  test('P14: scenario 1, the migration broke the application: back, restarted, healthy, its last lines in the report', async () => {
    const up = sql('ALTER TABLE users RENAME email TO address');
    const downgrade = sql('ALTER TABLE users RENAME address TO email');
    await using scene = await stage({
      at: r2,
      history: withThird({ up, downgrade }),
      command: ['python3', '-c', needsEmail],
    });
    const application = scene.running({ healthCheck: { url: scene.statusPage, timeout: '1s' } });
    const broken = await scene.goTo(r3, { application });
    expect(said(broken.outcome)).toMatch(
      new RegExp(
        `^stalled ApplicationUnhealthy: .*Its last errors: ✗ ${scene.name}: .*column "email" does not exist`,
        's',
      ),
    );
    expect(await scene.report()).toMatch(/✗ \S+: .*column "email" does not exist/);

    answerOnceLogged(scene, `GET ${page}`);
    const back = await scene.goTo(r2, { application: scene.running() });
    expect(said(back.outcome)).toMatch(/^ready Downgraded/);
    expect((await fetch(scene.statusPage)).status).toBe(200);
    const report = await scene.report();
    expect(report).toMatch(/\| Application \| .*200/);
    expect(report).toMatch(new RegExp(`The application's last lines:\n\n\`\`\`\n[^]*${scene.name}: .*GET ${page}`));
  });

  test('P15: scenario 2, corrupt data: writers stop, emergency backup, restore, verify; the damaged one is kept aside', async () => {
    const up = sql(`CREATE INDEX users_email ON users (email); UPDATE users SET name = '?'`);
    await using scene = await stage({ at: r2, history: withThird({ up }) });
    const before = await scene.checksum();
    await scene.goTo(r3);
    const [good] = await scene.catalogue();
    const swaps: Promise<boolean>[] = [];
    listen(scene, (event) => {
      if (event.kind === 'step' && event.step === 'restore' && event.state === 'started')
        swaps.push(stateOf(scene.application).then(({ Running }) => Running));
    });
    const { outcome } = await scene.goTo(r2, { application: scene.running(), restoreFrom: { backup: good?.id } });
    expect(said(outcome)).toMatch(/^ready /);
    expect(await Promise.all(swaps)).toEqual([false]);
    expect([await scene.version(), await scene.checksum()]).toEqual([r2, before]);
    const [emergency] = await scene.catalogue();
    expect(emergency).toMatchObject({ reason: 'BeforeRestore', revisions: [r3], verifiedAt: expect.any(String) });
    const aside = await asideOf(scene);
    expect(await query(aside, `SELECT count(*)::int AS n FROM users WHERE name = '?'`)).toEqual([{ n: 100 }]);
    expect(await scene.report()).toMatch(/\| Kept aside \| \S+ \(oid \d+\) until /);
    expect((await fetch(scene.statusPage)).status).toBe(200);
  });

  test('P16: scenario 3, the wrong migration: back, verified, then the right one; also straight across branches', async () => {
    const wrong: Revision = {
      id: 'f03b68d1ca97',
      down: r2,
      up: sql('CREATE TABLE wrong ()'),
      downgrade: sql('DROP TABLE wrong'),
    };
    const right: Revision = { ...indexesEmail, down: r2 };
    await using scene = await stage({ at: r2, history: { revisions: [createsUsers, addsEmail, wrong, right] } });
    expect(said((await scene.goTo(wrong.id)).outcome)).toMatch(/^ready Upgraded/);
    expect(said((await scene.goTo(r2)).outcome)).toMatch(/^ready Downgraded.*and verified/);
    expect(said((await scene.goTo(r3)).outcome)).toMatch(/^ready Upgraded.*and verified/);
    expect(said((await scene.goTo(wrong.id)).outcome)).toMatch(/^ready BranchSwitched/);
    expect(await scene.version()).toBe(wrong.id);
    expect(
      await scene.query(`SELECT to_regclass('wrong') IS NOT NULL AS wrong, to_regclass('users_email') AS right`),
    ).toEqual([{ wrong: true, right: null }]);
  });

  test('P17: scenario 4, a downgrade that raises, does nothing, meets a constraint or destroys data is found out on a copy', async () => {
    const policy = { rehearsal: 'Always', dataLoss: 'RequireApproval' };
    // What waits is looked at again where something is declared anew.
    let minutes = 5;
    const up = sql(`ALTER TABLE users ADD phone text; UPDATE users SET phone = '+49'`);
    await using scene = await stage({ at: r2, history: withThird({ up }) });
    await scene.goTo(r3);
    const before = await scene.checksum();
    for (const [downgrade, found] of [
      [
        `raise NotImplementedError('data will be lost')`,
        /failed on a copy, and restoring backup default\.unicorn.* would lose data/s,
      ],
      ['pass', /schema/],
      [sql('ALTER TABLE users ADD CHECK (id > 50)'), /SQLSTATE 23514/],
      [sql('ALTER TABLE users DROP phone; DELETE FROM orgs'), /102 rows in 2 tables: .*public\.orgs/],
    ] as const) {
      await writeHistory(join(scene.dir, 'app'), withThird({ up, downgrade }));
      const live = scene.observed.length;
      const { outcome } = await scene.goTo(r2, { policy, interval: `${(minutes += 1)}m` });
      expect(said(outcome)).toMatch(/^awaitingApproval/);
      expect(said(outcome)).toMatch(found);
      expect(scene.observed.slice(live)).not.toContainEqual(expect.objectContaining({ kind: 'step', step: 'change' }));
      expect([await scene.version(), await scene.checksum()]).toEqual([r3, before]);
    }
    await writeHistory(join(scene.dir, 'app'), withThird({ up, downgrade: 'pass' }));
    expect(said((await scene.goTo(r2, { policy: { ...policy, dataLoss: 'Allow' } })).outcome)).toMatch(
      /^ready RestoredFromBackup/,
    );
    expect(await scene.version()).toBe(r2);
    expect(await scene.query('SELECT * FROM users ORDER BY id LIMIT 1')).toEqual([
      { id: 1, name: 'user 1', email: 'user 1@example.org' },
    ]);
  });

  // ---------------------------------------------------------------------------------------- troubles, and afterwards

  test('P19: a version table that is missing is not an empty one, never stamped blindly, and identified by the schema', async () => {
    await using scene = await stage({ at: r2 });
    await scene.query('DROP TABLE alembic_version');
    const before = await scene.checksum();
    const refused = await scene.goTo(r1);
    expect(said(refused.outcome)).toMatch(new RegExp(`^stalled VersionTableMissing: .*${r2}`, 's'));
    const identified = await scene.cli('identify', 'unicorn');
    expect(identified).toMatchObject({ code: 0 });
    expect(identified.stdout).toContain(r2);
    expect(await scene.checksum()).toBe(before);
    expect(await scene.query(`SELECT to_regclass('alembic_version') AS t`)).toEqual([{ t: null }]);

    // Empty is base: alembic runs the first migration, which finds its tables there.
    await scene.query(`CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY);
      ALTER TABLE alembic_version OWNER TO ${scene.database.owner}`);
    expect(said((await scene.goTo(r3)).outcome)).toMatch(/^stalled UpgradeFailed: .*3b7e0c91d2a4.*already exists/s);
    expect(await scene.version()).toBe('');
  });

  test('P20: a rehearsal runs down, up and down again on a copy of the real data, and the database is only read', async () => {
    await using scene = await stage({ at: r4 });
    const before = await scene.checksum();
    const tried = await scene.cli('plan', 'unicorn', '--revision', '-1', '--rehearse');
    const ran = tried.stderr.split('\n').flatMap((line) => /on the copy (\S) (\w+) (\w+)/.exec(line)?.slice(2) ?? []);
    expect(ran).toEqual(['downgrade', r4, 'upgrade', r4, 'downgrade', r4]);
    expect(tried.stdout).toMatch(/public\.notes/);
    expect([await scene.version(), await scene.checksum()]).toEqual([r4, before]);
  });

  test('P21: the failing statement, its SQLSTATE, file and line, and who held the lock: in condition, event and report', async () => {
    const up = `\n${sql("INSERT INTO users VALUES (1, 'twice')")}`;
    await using scene = await stage({
      at: r2,
      history: withThird({ up }),
      spec: { database: { ...patient, lockTimeout: '1s' } },
    });
    const everywhere = async (text: RegExp): Promise<void> => {
      const { status } = await scene.target();
      expect(status?.conditions.find(({ type }) => type === 'Ready')?.message).toMatch(text);
      expect((await scene.events()).at(-1)?.message).toMatch(text);
      expect(await scene.report()).toMatch(text);
    };
    await scene.goTo(r3);
    const source = await readFile(join(scene.dir, 'app/migrations/versions', `0003_${r3}.py`), 'utf8');
    const line = source.split('\n').findIndex((text) => text.includes('twice')) + 1;
    await everywhere(
      new RegExp(
        `duplicate key .* \\(SQLSTATE 23505\\)\\. At migrations/versions/0003_${r3}\\.py:${line}\\. Statement: INSERT INTO users VALUES \\(1, 'twice'\\)`,
        's',
      ),
    );

    await writeHistory(join(scene.dir, 'app'), runbook);
    await using holder = await session(await scene.database.adminUrl());
    await holder.client.query('BEGIN; LOCK TABLE users IN ROW EXCLUSIVE MODE');
    await scene.goTo(r3, { interval: '6m' });
    await everywhere(
      new RegExp(
        `SQLSTATE 55P03.*Statement: CREATE INDEX users_email.*Blocked by pid ${holder.pid} \\(user postgres.*holds RowExclusiveLock on users`,
        's',
      ),
    );
    expect(await scene.version()).toBe(r2);
  });

  test('P22: backups are kept for 24 hours unless declared otherwise; one that a fallback may need never goes', async () => {
    await using scene = await stage({ at: r1 });
    await scene.goTo(r2);
    for (let count = 0; count < 4; count += 1) await backUp(scene);
    const [newest, ...older] = await scene.catalogue();
    const needed = older.at(-1);
    expect(needed?.revisions).toEqual([r1]);
    expect(Date.parse(newest?.keptUntil ?? '') - Date.parse(newest?.finishedAt ?? '')).toBe(24 * 3_600_000);
    const ids = async (): Promise<readonly string[]> => (await scene.catalogue()).map(({ id }) => id);
    const later = (hours: number): void =>
      void Object.assign(scene.ports, { clock: { now: () => new Date(Date.now() + hours * 3_600_000) } });
    later(23);
    await backUp(scene);
    expect(await ids()).toEqual([expect.any(String), newest?.id, ...older.map(({ id }) => id)]);
    later(25);
    await backUp(scene);
    // The newest three, and the only one that a downgrade to that revision could fall back to.
    expect(await ids()).toEqual([expect.any(String), expect.any(String), newest?.id, needed?.id]);
  });

  test('P23: a webhook at start, success, failure and waiting; a report of each operation in Markdown and JSON', async () => {
    await using receiver = await startReceiver();
    await using scene = await stage({
      at: r2,
      history: { revisions: [createsUsers, addsEmail, indexesEmail, { ...addsNotes, up: sql('SELECT 1/0') }] },
    });
    const env = { MIGRATION_TARGET_WEBHOOK_URL: receiver.url };
    const apply = async (revision: string, dataLoss: string): Promise<number | null> => {
      await scene.declare({ revision, policy: { rehearsal: 'Never', dataLoss } });
      return (await scene.cliWith(env, 'apply', 'unicorn', '--yes')).code;
    };
    expect([await apply(r3, 'Allow'), await apply(r4, 'Allow'), await apply(r1, 'RequireApproval')]).toEqual([0, 4, 3]);
    await receiver.until(6);
    expect(receiver.told().map(({ event }) => event)).toEqual([
      'started',
      'succeeded',
      'started',
      'failed',
      'started',
      'waiting',
    ]);
    const reasons = (await scene.events()).map(({ reason }) => reason);
    expect(reasons).toEqual(expect.arrayContaining(['Started', 'Upgraded', 'UpgradeFailed', 'ApprovalRequired']));

    const history = (await scene.target()).status?.history ?? [];
    expect(history).toHaveLength(3);
    for (const { report, operationId, reason } of history) {
      const markdown = await readFile(report ?? '', 'utf8');
      expect(markdown.match(/^## .*$/gm)).toEqual(['## Before', '## During', '## After']);
      expect(JSON.parse(await readFile((report ?? '').replace(/\.md$/, '.json'), 'utf8'))).toMatchObject({
        operationId,
        reason,
      });
    }
    const text = receiver.received.map((got) => got.text).join();
    expect(text).not.toContain(scene.database.password);
  });

  // ------------------------------------------------------------------------------------------------------- helpers

  /** Writes over an index's file, as a disk that fails would. */
  async function damage(scene: Stage, index: string): Promise<void> {
    await scene.query('CHECKPOINT');
    const [row] = await scene.query(`SELECT pg_relation_filepath('${index}') AS path`);
    const file = `/var/lib/postgresql/data/${String(row?.['path'])}`;
    const { code, output } = await inContainer(server.container, [
      'dd',
      'if=/dev/urandom',
      `of=${file}`,
      'bs=8192',
      'count=1',
      'conv=notrunc',
    ]);
    if (code !== 0) throw new Error(output);
  }

  /** As backup_database.sh made it. */
  async function plainDump(scene: Stage, ...options: readonly string[]): Promise<string> {
    const { code, output } = await inContainer(server.container, [
      'pg_dump',
      ...options,
      await scene.database.adminUrl(),
    ]);
    if (code !== 0) throw new Error(output);
    return output;
  }

  /** The URL of the database that the last restore has put aside. */
  async function asideOf(scene: Stage): Promise<string> {
    const name = /kept as (\S+) until/.exec(
      (await scene.target()).status?.history.find(({ kind }) => kind === 'restore')?.message ?? '',
    )?.[1];
    return databaseUrl(await scene.database.adminUrl(), { database: name ?? '' });
  }

  async function rowsAside(scene: Stage): Promise<number> {
    const [row] = await query<{ n: number }>(await asideOf(scene), 'SELECT count(*)::int AS n FROM users');
    return row?.n ?? NaN;
  }
});

const key = { namespace: 'default', name: 'unicorn' };
const consent = { maxRowLoss: null, reason: null, approvedBy: 'a person' };
const patient = { urlFrom: { secretKeyRef: { name: 'unicorn', key: 'url' } }, lockTimeout: '1m' };

/** On demand, as `migration-target backup` does. */
async function backUp(scene: Stage): Promise<void> {
  const asked = { kind: 'backup', reason: 'Requested' } as const;
  const { outcome } = await reconcile(await scene.target(), scene.ports, asked, new AbortController().signal);
  expect(outcome.kind).toBe('ready');
}

const stateOf = async (container: Docker.Container): Promise<Docker.ContainerInspectInfo['State']> =>
  (await container.inspect()).State;

function one<T>(all: readonly T[]): T {
  const [first] = all;
  if (first === undefined || all.length > 1) throw new Error(`${all.length} in place of one`);
  return first;
}

async function session(url: string): Promise<AsyncDisposable & { readonly client: pg.Client; readonly pid: number }> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  const { rows } = await client.query<{ pid: number }>('SELECT pg_backend_pid() AS pid');
  return { client, pid: rows[0]?.pid ?? NaN, [Symbol.asyncDispose]: () => client.end() };
}

interface Answer {
  /** Milliseconds since 1970: when it was asked, and when it had its answer, or none. */
  readonly from: number;
  readonly to: number;
  readonly up: boolean;
}

interface Prober extends AsyncDisposable {
  until(holds: (answer: Answer) => boolean): Promise<void>;
  /** Until so many more were asked. */
  more(count: number): Promise<void>;
  stop(): Promise<readonly Answer[]>;
}

/** Asks a page over and over, as somebody outside would. */
function probe(url: string): Prober {
  const answers: Answer[] = [];
  let heard = (): void => {};
  let stopped = false;
  const ask = async (): Promise<void> => {
    while (!stopped) {
      const from = Date.now();
      const up = await fetch(url, { signal: AbortSignal.timeout(1_000) }).then(
        ({ ok }) => ok,
        () => false,
      );
      answers.push({ from, to: Date.now(), up });
      heard();
      await delay(10);
    }
  };
  const asking = ask();
  const wait = async (holds: () => boolean): Promise<void> => {
    while (!holds()) await new Promise<void>((resolve) => (heard = resolve));
  };
  const stop = async (): Promise<readonly Answer[]> => {
    stopped = true;
    await asking;
    return answers;
  };
  return {
    until: async (holds) => wait(() => answers.some(holds)),
    more: async (count) => {
      const enough = answers.length + count;
      await wait(() => answers.length >= enough);
    },
    stop,
    [Symbol.asyncDispose]: async () => void (await stop()),
  };
}

/** Its status page reads a column. */
const needsEmail = `
import http.server, os, signal, sys, traceback
import psycopg

class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        code = 200
        try:
            with psycopg.connect(os.environ["DATABASE_URL"]) as connection:
                connection.execute("SELECT email FROM users LIMIT 1")
        except psycopg.Error:
            traceback.print_exc()
            code = 503
        self.send_response(code)
        self.end_headers()

signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
http.server.ThreadingHTTPServer(("", 8084), Page).serve_forever()
`;
