/** Who may do what, as manifests/ and the example grant it: the whole list, held on a real API server. */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from '@jest/globals';
import { createKubernetesHome } from '../../src/adapters/kubernetes/home.ts';
import { apiServer, namespace, type ApiServer } from '../support/apiserver.ts';
import { controllerAccount, installClusterWide } from '../support/manifests.ts';

let server: ApiServer;
let ns: string;

beforeAll(async () => {
  server = await apiServer();
  await installClusterWide(server);
  ns = await namespace(server);
  await kubectl('-n', ns, 'apply', '-k', 'manifests/overlays/namespaced');
  await kubectl('-n', ns, 'apply', '-f', 'examples/kubernetes/ops-center/tenant.yaml');
  for (const role of ['viewer', 'editor', 'approver'])
    await kubectl('-n', ns, 'create', 'rolebinding', role, `--clusterrole=migration-target-${role}`, `--user=${role}`);
});

async function kubectl(...args: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await server.kubectl(args);
  if (code !== 0) throw new Error(`kubectl ${args.join(' ')}: ${stderr}`);
  return stdout;
}

const serviceAccount = (name: string): string => `system:serviceaccount:${ns}:${name}`;

/** Lines of `kubectl auth can-i --list`, their columns apart by one blank. */
async function listed(who: string, where: string): Promise<readonly string[]> {
  const list = await kubectl('-n', where, 'auth', 'can-i', '--list', '--no-headers', `--as=${who}`);
  return list
    .split('\n')
    .filter((line) => line.trim() !== '')
    .map((line) => line.replaceAll(/\s+/g, ' ').trim());
}

/** What somebody may do beyond what everybody may, `resource [URLs] [names] [verbs]`; asked until the authorizer knows of it. */
async function rights(who: string, where = ns): Promise<readonly string[]> {
  const everybody = await listed(who.includes(':') ? serviceAccount('nobody') : 'nobody', where);
  return (await listed(who, where)).filter((line) => !everybody.includes(line)).toSorted();
}

async function expectRights(who: string, expected: readonly string[]): Promise<void> {
  const until = Date.now() + 30_000;
  while ((await rights(who)).length < expected.length && Date.now() < until)
    await new Promise((resolve) => void setTimeout(resolve, 50));
  expect(await rights(who)).toEqual(expected);
}

const controllers = [
  'events [] [] [create patch]',
  'migrationapprovals.migrationtarget.dev [] [] [get list watch]',
  'migrationapprovals.migrationtarget.dev/status [] [] [patch]',
  'migrationbackups.migrationtarget.dev [] [] [get list watch create delete]',
  'migrationbackups.migrationtarget.dev/status [] [] [patch]',
  'migrationtargets.migrationtarget.dev [] [] [get list watch patch]',
  'migrationtargets.migrationtarget.dev/status [] [] [patch]',
];
const leaders = [
  'leases.coordination.k8s.io [] [] [create]',
  'leases.coordination.k8s.io [] [migration-target] [get patch]',
];
const ownPod = 'pods [] [] [get]';
const actsAs = 'serviceaccounts [] [ops] [impersonate]';

describe('the whole list of what may be done', () => {
  test('by the controller in its namespace: its own kinds, its Lease, its pod, and acting as the accounts that are named', async () => {
    await expectRights(serviceAccount('migration-target'), [...controllers, ...leaders, ownPod, actsAs].toSorted());
  });

  test('by the controller of one namespace in another: nothing', async () => {
    expect(await rights(serviceAccount('migration-target'), 'default')).toEqual([]);
  });

  test('by the controller for the whole cluster: its own kinds in every namespace, its Lease and its pod in its own', async () => {
    const who = `system:serviceaccount:${controllerAccount}`;
    expect(await rights(who)).toEqual(controllers);
    expect(await rights(who, 'migration-target-system')).toEqual([...controllers, ...leaders, ownPod].toSorted());
  });

  test('by the account that a target names: what is done to its application, and the Secrets by name', async () => {
    await expectRights(serviceAccount('ops'), [
      'cronjobs.batch [] [] [get patch]',
      'deployments.apps [] [] [get patch]',
      'events [] [] [list]',
      'jobs.batch [] [] [get list create delete]',
      'pods [] [] [list watch delete]',
      'pods/attach [] [] [get create]',
      'pods/log [] [] [get]',
      'secrets [] [backups] [get]',
      'secrets [] [unicorn-db] [get]',
      'statefulsets.apps [] [] [get patch]',
    ]);
  });

  test('by a viewer, an editor, and an approver', async () => {
    await expectRights('viewer', [
      'migrationapprovals.migrationtarget.dev [] [] [get list watch]',
      'migrationbackups.migrationtarget.dev [] [] [get list watch]',
      'migrationtargets.migrationtarget.dev [] [] [get list watch]',
    ]);
    await expectRights('editor', [
      'migrationapprovals.migrationtarget.dev [] [] [get list watch]',
      'migrationbackups.migrationtarget.dev [] [] [get list watch create delete]',
      'migrationtargets.migrationtarget.dev [] [] [get list watch create update patch delete]',
    ]);
    await expectRights('approver', [
      'migrationapprovals.migrationtarget.dev [] [] [create get list watch delete]',
      'migrationtargets.migrationtarget.dev [] [] [get list watch]',
    ]);
  });
});

test('whoever may view, edit or administer a namespace may do so with targets, and only administrators approve', async () => {
  const label = async (role: string): Promise<string> =>
    kubectl('get', 'clusterrole', `migration-target-${role}`, '-o', 'jsonpath={.metadata.labels}');
  const aggregated = async (role: string): Promise<readonly string[]> =>
    Object.keys(JSON.parse(await label(role)) as object).filter((key) => key.startsWith('rbac.authorization.k8s.io/'));
  expect(await aggregated('viewer')).toEqual(['rbac.authorization.k8s.io/aggregate-to-view']);
  expect(await aggregated('editor')).toEqual(['rbac.authorization.k8s.io/aggregate-to-edit']);
  expect(await aggregated('approver')).toEqual(['rbac.authorization.k8s.io/aggregate-to-admin']);
  expect(await aggregated('controller')).toEqual([]);
  expect(await aggregated('tenant')).toEqual([]);
});

describe('acting as the account of a target', () => {
  const asked = [
    'list secrets',
    'get secrets/other',
    'get secrets/unicorn-db',
    'create pods --subresource=exec',
    'create jobs',
  ];
  const allowed = async (...who: readonly string[]): Promise<readonly string[]> => {
    const answers = await Promise.all(
      asked.map(async (ask) => (await server.kubectl(['-n', ns, 'auth', 'can-i', ...ask.split(' '), ...who])).stdout),
    );
    return asked.filter((_, index) => answers[index]?.startsWith('yes') === true);
  };

  test('the controller reaches the named Secret and Jobs; as itself neither', async () => {
    expect(await allowed(`--as=${serviceAccount('migration-target')}`)).toEqual([]);
    expect(await allowed(`--as=${serviceAccount('ops')}`)).toEqual(['get secrets/unicorn-db', 'create jobs']);
  });

  test('is how the controller reads a Secret for a target that names it', async () => {
    await kubectl('-n', ns, 'create', 'secret', 'generic', 'unicorn-db', '--from-literal=url=x');
    const config = JSON.parse(await readFile(server.kubeconfig, 'utf8')) as { users: { user: object }[] };
    const token = (await kubectl('-n', ns, 'create', 'token', 'migration-target')).trim();
    for (const each of config.users) each.user = { token };
    const dir = await mkdtemp(join(tmpdir(), 'mt-rights-'));
    const kubeconfig = join(dir, 'kubeconfig');
    await writeFile(kubeconfig, JSON.stringify(config));
    await using home = await createKubernetesHome({ kubeconfig, namespace: ns, allow: [] });
    const source = { secretKeyRef: { name: 'unicorn-db', key: 'url' } };
    const owner = { namespace: ns, name: 'unicorn-db' };
    expect(await home.resolve(source, { ...owner, serviceAccountName: 'ops' })).toBe('x');
    await expect(home.resolve(source, owner)).rejects.toMatchObject({ reason: 'NotAllowed' });
    await rm(dir, { recursive: true });
  });

  test('is refused to the controller where nobody granted it, and for any other account', async () => {
    const token = (await kubectl('-n', ns, 'create', 'token', 'migration-target')).trim();
    const as = (account: string) =>
      server.kubectl([
        '-n',
        ns,
        `--token=${token}`,
        `--as=${serviceAccount(account)}`,
        'auth',
        'can-i',
        'create',
        'jobs',
      ]);
    expect(await as('ops')).toMatchObject({ code: 0, stdout: 'yes\n' });
    expect(await as('default')).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('cannot impersonate resource "serviceaccounts"'),
    });
  });
});
