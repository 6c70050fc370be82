/**
 * MigrationApproval: people with kubectl and the program on one side, the controller with no more rights than manifests/
 * grants it on the other; a real API server. The targets are suspended, so that no database is needed.
 */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { run, type Ran } from '../../scripts/lib/run.ts';
import { createKubernetesHome, type KubernetesHome } from '../../src/adapters/kubernetes/home.ts';
import type { MigrationApprovalStatus } from '../../src/api/approval.ts';
import type { TargetKey } from '../../src/api/target.ts';
import { lazyAdapters } from '../../src/main/adapters.ts';
import { serve } from '../../src/main/serve.ts';
import type { Clock } from '../../src/rollback/ports.ts';
import { apiServer, namespace, type ApiServer } from '../support/apiserver.ts';
import { controllerAccount, installClusterWide } from '../support/manifests.ts';
import { program } from '../support/program.ts';

const digest = '0123456789abcdef';
const other = 'fedcba9876543210';
const hours = 3_600_000;
const folder = await mkdtemp(join(tmpdir(), 'mt-approvals-'));
let server: ApiServer;
/** The controller's, as manifests/ make it. */
let controllers: string;

beforeAll(async () => {
  process.env['LOG_LEVEL'] = 'fatal';
  server = await apiServer();
  await installClusterWide(server);
  const token = await kubectl(['-n', 'migration-target-system', 'create', 'token', 'migration-target']);
  controllers = await kubeconfigOf('controller', { token: token.trim() });
  // The policy comes into force a moment after it is there.
  const inAnothersName = approvalDocument('one', { approvedBy: 'nobody' });
  await eventually(async () => {
    const { code } = await server.kubectl(['create', '--dry-run=server', '-f', '-'], { input: inAnothersName });
    return code !== 0;
  }, 'the policy');
});

const cleanups: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup();
});
afterAll(() => rm(folder, { recursive: true }));

async function kubectl(args: readonly string[], input?: string): Promise<string> {
  const { code, stdout, stderr } = await server.kubectl(args, input === undefined ? {} : { input });
  if (code !== 0) throw new Error(`kubectl ${args.join(' ')}: ${stderr}`);
  return stdout;
}

/** The administrator's, with other words for who it is; `as`: whom the administrator acts as. */
async function kubeconfigOf(name: string, user: object): Promise<string> {
  const config = JSON.parse(await readFile(server.kubeconfig, 'utf8')) as { users: { user: object }[] };
  for (const each of config.users) each.user = { ...each.user, ...user };
  const file = join(folder, `${name}.kubeconfig`);
  await writeFile(file, JSON.stringify(config));
  return file;
}

async function eventually(holds: () => Promise<boolean>, what: string): Promise<void> {
  const until = Date.now() + 60_000;
  while (!(await holds())) {
    if (Date.now() > until) throw new Error(`${what} never came true`);
    await new Promise((resolve) => void setTimeout(resolve, 50));
  }
}

interface Stored {
  readonly metadata: { readonly name: string; readonly creationTimestamp: string };
  readonly spec: { readonly approvedBy: string; readonly maxRowLoss?: number; readonly reason?: string };
  readonly status?: MigrationApprovalStatus;
}

const approvalDocument = (
  name: string,
  { target = 'unicorn-db', approvedBy = 'admin', ...spec }: Readonly<Record<string, unknown>> = {},
): string =>
  JSON.stringify({
    apiVersion: 'migrationtarget.dev/v1alpha1',
    kind: 'MigrationApproval',
    metadata: { name },
    spec: { targetRef: { name: target }, planDigest: digest, approvedBy, ...spec },
  });

/** A namespace with a target that is suspended; nobody has looked at it yet. */
async function place() {
  const ns = await namespace(server);
  const key: TargetKey = { namespace: ns, name: 'unicorn-db' };
  const here = (args: readonly string[], input?: string) => kubectl(['-n', ns, ...args], input);
  const target = {
    apiVersion: 'migrationtarget.dev/v1alpha1',
    kind: 'MigrationTarget',
    metadata: { name: key.name },
    spec: {
      revision: 'a1',
      suspend: true,
      database: { urlFrom: { secretKeyRef: { name: 'unicorn-db', key: 'url' } } },
      alembic: { workingDir: '/app' },
      runtime: { process: {} },
      backup: { storage: { directory: { path: '/var/backups' } } },
    },
  };
  await here(['create', '-f', '-'], JSON.stringify(target));
  const patchStatus = (status: object) =>
    here(['patch', 'mtgt', key.name, '--subresource=status', '--type=merge', '-p', JSON.stringify({ status })]);
  const condition = (type: string, status: string) => ({
    type,
    status,
    reason: 'ApprovalRequired',
    message: status === 'True' ? 'A table would go.' : '',
    observedGeneration: 1,
    lastTransitionTime: new Date().toISOString(),
  });
  return {
    ns,
    key,
    kubectl: here,
    open: (options: { readonly kubeconfig?: string; readonly clock?: Clock } = {}) => openHome(ns, options),
    create: (name: string, spec?: Readonly<Record<string, unknown>>) =>
      here(['create', '-f', '-'], approvalDocument(name, spec)),
    plan: (of: string | null) =>
      patchStatus({
        observedGeneration: 1,
        plan: of === null ? null : { digest: of, kind: 'downgrade', steps: [], fallback: null },
      }),
    wait: async (of: string) => {
      const plan = { digest: of, kind: 'downgrade', steps: [], fallback: null };
      const conditions = [condition('Ready', 'False'), condition('ApprovalRequired', 'True')];
      await patchStatus({ observedGeneration: 1, plan, conditions });
    },
    look: () =>
      here(['annotate', '--overwrite', 'mtgt/unicorn-db', `migrationtarget.dev/requestedAt=${Math.random()}`]),
    object: async (name: string) => JSON.parse(await here(['get', 'migrationapproval', name, '-o', 'json'])) as Stored,
    objects: async () =>
      (JSON.parse(await here(['get', 'migrationapprovals', '-o', 'json'])) as { items: Stored[] }).items,
    /** Until that is its Ready condition; returns what it says then. */
    async says(name: string, status: string, reason: string): Promise<string> {
      const path = '{.status.conditions[?(@.type=="Ready")].reason}';
      await here(['wait', `--for=jsonpath=${path}=${reason}`, '--timeout=60s', `migrationapproval/${name}`]);
      const { conditions = [] } = (await this.object(name)).status ?? {};
      const is = Object.fromEntries(conditions.map((one) => [one.type, one.status]));
      expect(is).toEqual({ Ready: status, Reconciling: 'False', Stalled: status === 'True' ? 'False' : 'True' });
      return conditions.find(({ type }) => type === 'Ready')?.message ?? '';
    },
  };
}

async function openHome(
  ns: string,
  options: { readonly kubeconfig?: string; readonly clock?: Clock },
): Promise<KubernetesHome> {
  const home = await createKubernetesHome({ kubeconfig: server.kubeconfig, namespace: ns, allow: [], ...options });
  cleanups.push(async () => home[Symbol.asyncDispose]());
  return home;
}

/** The controller, as `migration-target run` starts it, in this process. */
async function startController(ns: string, clock: Clock = { now: () => new Date() }): Promise<void> {
  const home = await openHome(ns, { kubeconfig: controllers, clock });
  const stop = new AbortController();
  const over = serve({
    home,
    election: null,
    watches: 'a test',
    listen: '127.0.0.1:0',
    workers: 2,
    surroundings: { inPod: false, allow: [] },
    signal: stop.signal,
    adapters: { ...lazyAdapters(), clock },
    version: 'test',
  });
  cleanups.push(async () => {
    stop.abort();
    await over;
  });
}

describe('an object', () => {
  test('is an approval of its target, the newest first', async () => {
    const at = await place();
    const home = await at.open();
    await at.create('one', { maxRowLoss: 10, reason: 'seen by the team' });
    await at.create('elsewhere', { target: 'other-db' });
    const { creationTimestamp } = (await at.object('one')).metadata;
    const made = Date.parse(creationTimestamp);
    expect(await home.approvals(at.key)).toEqual([
      {
        name: 'one',
        target: 'unicorn-db',
        planDigest: digest,
        maxRowLoss: 10,
        reason: 'seen by the team',
        approvedBy: 'admin',
        createdAt: creationTimestamp,
        expiresAt: new Date(made + 24 * hours).toISOString(),
        usedBy: null,
      },
    ]);
    // The server's clock tells seconds.
    await eventually(async () => Date.now() > made + 1000, 'another second');
    await at.create('two');
    expect((await home.approvals(at.key)).map(({ name }) => name)).toEqual(['two', 'one']);
    expect(await home.approvals({ namespace: 'default', name: 'unicorn-db' })).toEqual([]);
  });

  test('that is being deleted is taken back', async () => {
    const at = await place();
    const home = await at.open();
    await at.create('one');
    await at.kubectl([
      'patch',
      'migrationapproval',
      'one',
      '--type=merge',
      '-p',
      '{"metadata":{"finalizers":["a.b/c"]}}',
    ]);
    await at.kubectl(['delete', 'migrationapproval', 'one', '--wait=false']);
    expect(await home.approvals(at.key)).toEqual([]);
    await expect(home.useApproval(at.key, 'one', 'op1')).rejects.toMatchObject({ reason: 'ApprovalNotFound' });
    expect((await at.object('one')).status).toBeUndefined();
  });

  test('is used once, by one of several at once, which its status tells', async () => {
    const at = await place();
    const homes = await Promise.all([1, 2, 3].map(() => at.open({ kubeconfig: controllers })));
    for (const round of [1, 2, 3, 4, 5]) {
      const name = `round-${round}`;
      await at.create(name);
      const said = await Promise.allSettled(homes.map((home, index) => home.useApproval(at.key, name, `op${index}`)));
      const usedBy = `op${said.findIndex(({ status }) => status === 'fulfilled')}`;
      const refused = said.filter((one) => one.status === 'rejected').map(({ reason }) => reason as unknown);
      expect(refused).toEqual([1, 2].map(() => expect.objectContaining({ kind: 'stalled', reason: 'ApprovalUsed' })));
      expect(await at.says(name, 'True', 'ApprovalUsed')).toContain(`used for operation ${usedBy}`);
      const { status, metadata } = await at.object(name);
      const expiresAt = new Date(Date.parse(metadata.creationTimestamp) + 24 * hours).toISOString();
      expect(status).toMatchObject({ usedBy, expiresAt });
    }
  });

  test('for the same operation it may be used again; one that is gone is told', async () => {
    const at = await place();
    const home = await at.open();
    await at.create('one');
    await home.useApproval(at.key, 'one', 'op1');
    await (await at.open()).useApproval(at.key, 'one', 'op1');
    expect(await home.approvals(at.key)).toMatchObject([{ usedBy: 'op1' }]);
    await at.kubectl(['delete', 'migrationapproval', 'one']);
    await expect(home.useApproval(at.key, 'one', 'op1')).rejects.toMatchObject({
      kind: 'retry',
      reason: 'ApprovalNotFound',
    });
  });

  test('stays used, whatever somebody says of it who heard of it before', async () => {
    const at = await place();
    const late = await at.open();
    await at.create('one');
    const stop = new AbortController();
    await late.approvalObjects.watch(
      () => {},
      (problem) => {
        throw problem;
      },
      stop.signal,
    );
    stop.abort();
    await (await at.open()).useApproval(at.key, 'one', 'op1');
    await late.approvalObjects.tell(at.key, { digest });
    expect((await at.object('one')).status?.usedBy).toBe('op1');
    await at.says('one', 'True', 'ApprovalUsed');
  });
});

describe('the controller', () => {
  test('looks at the target of an approval that appears, and says whether it counts', async () => {
    const at = await place();
    await startController(at.ns);
    await at.kubectl(['wait', '--for=condition=Ready=False', '--timeout=60s', 'mtgt/unicorn-db']);
    await at.plan(digest);

    await at.create('right', { maxRowLoss: 3 });
    const { metadata } = await at.object('right');
    const expiresAt = new Date(Date.parse(metadata.creationTimestamp) + 24 * hours).toISOString();
    expect(await at.says('right', 'True', 'Approved')).toBe(
      `Plan ${digest} of MigrationTarget ${at.ns}/unicorn-db may be carried out once, until ${expiresAt}, if it loses 3 rows at most.`,
    );
    expect((await at.object('right')).status?.expiresAt).toBe(expiresAt);
    expect(await at.kubectl(['get', 'migrationapproval', 'right'])).toMatch(
      /right\s+unicorn-db\s+0123456789abcdef\s+admin\s+True\s+Approved\s/,
    );
    await at.create('wrong', { planDigest: other });
    expect(await at.says('wrong', 'False', 'ApprovalOfOtherPlan')).toMatch(/has plan 0123456789abcdef now/);
    await at.create('lost', { target: 'other-db' });
    expect(await at.says('lost', 'False', 'TargetNotFound')).toMatch(/delete migrationapproval lost$/);

    // Another plan: what counted does no more, and the other way round.
    await at.plan(other);
    await at.look();
    await at.says('right', 'False', 'ApprovalOfOtherPlan');
    await at.says('wrong', 'True', 'Approved');
    await (await at.open()).useApproval(at.key, 'wrong', 'op1');
    await at.plan(null);
    await at.look();
    expect(await at.says('right', 'False', 'ApprovalOfOtherPlan')).toMatch(/has none now/);
    await at.says('wrong', 'True', 'ApprovalUsed');
  });

  test('says that one expired when it does, though nothing else happens', async () => {
    const at = await place();
    // Some seconds before a day is over.
    const clock = { now: () => new Date(Date.now() + 24 * hours - 4_000) };
    await startController(at.ns, clock);
    await at.kubectl(['wait', '--for=condition=Ready=False', '--timeout=60s', 'mtgt/unicorn-db']);
    await at.plan(digest);
    await at.create('one');
    await at.says('one', 'True', 'Approved');
    expect(await at.says('one', 'False', 'ApprovalExpired')).toMatch(
      /migration-target approve unicorn-db --plan 0123456789abcdef$/,
    );
  });
});

describe('manifests/', () => {
  test('let nobody approve in another’s name, not even an administrator', async () => {
    const at = await place();
    const bind = ['create', 'rolebinding', 'approvers', '--clusterrole=migration-target-approver'];
    await at.kubectl([...bind, '--user=jane', '--user=joe']);
    const create = (as: string, name: string, approvedBy: string) =>
      server.kubectl(['-n', at.ns, `--as=${as}`, 'create', '-f', '-'], {
        input: approvalDocument(name, { approvedBy }),
      });
    await eventually(async () => (await create('jane', 'hers', 'jane')).code === 0, 'the right of an approver');
    expect(await create('jane', 'his', 'joe')).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(
        /\(Forbidden\).*spec\.approvedBy must be the name of the user that creates the approval, "jane"/,
      ),
    });
    expect(await create('joe', 'his', 'joe')).toMatchObject({ code: 0 });
    const { code, stderr } = await server.kubectl(['-n', at.ns, 'create', '-f', '-'], {
      input: approvalDocument('theirs', { approvedBy: 'jane' }),
    });
    expect({ code, stderr }).toEqual({ code: 1, stderr: expect.stringContaining('creates the approval, "admin"') });
    expect((await at.objects()).map(({ metadata, spec }) => [metadata.name, spec.approvedBy])).toEqual([
      ['hers', 'jane'],
      ['his', 'joe'],
    ]);
  });

  test('have a role for those who approve, one for those who declare, and neither can do the other’s', async () => {
    const at = await place();
    for (const role of ['approver', 'editor'])
      await at.kubectl(['create', 'rolebinding', role, `--clusterrole=migration-target-${role}`, `--user=${role}`]);
    const can = async (as: string, ask: string) => {
      const { stdout } = await server.kubectl(['-n', at.ns, 'auth', 'can-i', ...ask.split(' '), `--as=${as}`]);
      return stdout.trim() === 'yes';
    };
    await eventually(() => can('approver', 'get mtgt'), 'the rights of the approver');
    await eventually(() => can('editor', 'get mtgt'), 'the rights of the editor');
    const controller = `system:serviceaccount:${controllerAccount}`;
    const rights = async (as: string) => {
      const asked = [
        'create migrationapprovals',
        'delete migrationapprovals',
        'update migrationapprovals',
        'patch migrationapprovals --subresource=status',
        'list migrationapprovals',
        'patch mtgt',
        'delete mtgt',
        'watch mtgt',
        'patch mtgt --subresource=status',
        'get secrets',
      ];
      const answers = await Promise.all(asked.map((ask) => can(as, ask)));
      return asked.filter((_, index) => answers[index]);
    };
    expect(await rights('approver')).toEqual([
      'create migrationapprovals',
      'delete migrationapprovals',
      'list migrationapprovals',
      'watch mtgt',
    ]);
    expect(await rights('editor')).toEqual(['list migrationapprovals', 'patch mtgt', 'delete mtgt', 'watch mtgt']);
    expect(await rights(controller)).toEqual([
      'patch migrationapprovals --subresource=status',
      'list migrationapprovals',
      'patch mtgt',
      'watch mtgt',
      'patch mtgt --subresource=status',
    ]);
  });
});

describe('migration-target approve', () => {
  const command = (kubeconfig: string, ns: string, ...args: readonly string[]): Promise<Ran> =>
    run(process.execPath, [program, '--kubeconfig', kubeconfig, '-n', ns, ...args], {
      env: { PATH: process.env['PATH'] ?? '', HOME: folder, NO_COLOR: '1', SUDO_USER: 'root' },
    });

  test('creates an object in the name that the API server knows', async () => {
    const at = await place();
    await at.kubectl(['create', 'rolebinding', 'jane', '--clusterrole=migration-target-approver', '--user=jane']);
    await eventually(async () => {
      const { stdout } = await server.kubectl(['-n', at.ns, 'auth', 'can-i', 'list', 'mtgt', '--as=jane']);
      return stdout.trim() === 'yes';
    }, 'the right of an approver');
    await at.wait(digest);
    const jane = await kubeconfigOf('jane', { as: 'jane' });

    const stale = await command(jane, at.ns, 'approve', 'unicorn-db', '--plan', other);
    expect(stale).toMatchObject({ code: 1, stdout: '' });
    expect(stale.stderr).toMatch(
      /✗ Not the plan of unicorn-db\s+There is no plan fedcba9876543210; plan 0123456789abcdef waits now\./,
    );
    expect(await at.objects()).toEqual([]);

    const done = await command(
      jane,
      at.ns,
      'approve',
      'unicorn-db',
      '--plan',
      digest,
      '--max-row-loss',
      '7',
      '--reason',
      'ok',
    );
    expect(done).toMatchObject({ code: 0, stderr: '' });
    const [object] = await at.objects();
    expect(object).toMatchObject({
      metadata: {
        name: expect.stringMatching(/^unicorn-db-\w{5}$/),
        labels: { 'migrationtarget.dev/target': 'unicorn-db' },
      },
      spec: { targetRef: { name: 'unicorn-db' }, planDigest: digest, maxRowLoss: 7, reason: 'ok', approvedBy: 'jane' },
    });
    expect(done.stdout).toMatch(/By jane, once, until .* \(in 24 h\), for 7 rows at most\./);
    expect(done.stdout).toContain(`approval ${object?.metadata.name}`);
    expect(done.stdout).toMatch(/at most\.\n.*\n +next +migration-target --kubeconfig \S+ -n \S+ watch unicorn-db\n$/);
    const named = await command(jane, at.ns, 'approve', 'unicorn-db', '--plan', digest, '-o', 'name');
    expect(named.stdout).toMatch(/^migrationapproval\/unicorn-db-\w{5}\n$/);
  });

  test('tells whoever has no right to it', async () => {
    const at = await place();
    await at.kubectl(['create', 'rolebinding', 'joe', '--clusterrole=migration-target-editor', '--user=joe']);
    await eventually(async () => {
      const { stdout } = await server.kubectl(['-n', at.ns, 'auth', 'can-i', 'list', 'mtgt', '--as=joe']);
      return stdout.trim() === 'yes';
    }, 'the right of an editor');
    await at.wait(digest);
    const refused = await command(
      await kubeconfigOf('joe', { as: 'joe' }),
      at.ns,
      'approve',
      'unicorn-db',
      '--plan',
      digest,
    );
    expect(refused).toMatchObject({ code: 1, stdout: '' });
    expect(refused.stderr).toMatch(/✗ NotAllowed unicorn-db\s.*User "joe" cannot create resource "migrationapprovals"/);
    expect(await at.objects()).toEqual([]);
  });
});
