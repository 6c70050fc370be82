import { readFile, writeFile, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import {
  createKubernetesHome,
  type KubernetesHome,
  type KubernetesHomeOptions,
} from '../../src/adapters/kubernetes/home.ts';
import { summarize } from '../../src/api/conditions.ts';
import { emptyStatus, keyText, type MigrationTarget, type TargetKey, type TargetStatus } from '../../src/api/target.ts';
import type { Declaration } from '../../src/rollback/ports.ts';
import { namespace, startApiServer, type ApiServer, type OwnApiServer } from '../support/apiserver.ts';
import { controllerAccount, installClusterWide } from '../support/manifests.ts';
import { Network } from '../support/network.ts';

/** One of its own: a CRD is changed for a moment, which other tests of a shared server would see. */
let server: OwnApiServer;
const homes: KubernetesHome[] = [];
const stops: AbortController[] = [];

beforeAll(async () => {
  server = await startApiServer();
  await install(server);
});

afterAll(async () => server.stop());

afterEach(async () => {
  for (const stop of stops.splice(0)) stop.abort();
  for (const home of homes.splice(0)) await home[Symbol.asyncDispose]();
});

async function install(on: ApiServer): Promise<void> {
  await ok(on, ['apply', '-f', 'crds/']);
  await ok(on, ['wait', '--for=condition=Established', '--timeout=60s', 'crd', '--all']);
}

async function ok(on: ApiServer, args: readonly string[], input?: string): Promise<string> {
  const { code, stdout, stderr } = await on.kubectl(args, input === undefined ? {} : { input });
  if (code !== 0) throw new Error(`kubectl ${args.join(' ')}: ${stderr}`);
  return stdout;
}

async function openHome(options: Partial<KubernetesHomeOptions> = {}, on = server): Promise<KubernetesHome> {
  const home = await createKubernetesHome({
    kubeconfig: on.kubeconfig,
    allow: [],
    onProblem: (problem) => {
      throw problem;
    },
    ...options,
  });
  homes.push(home);
  return home;
}

/** A namespace of the test's own, a home, and one target in it, applied by kubectl. */
async function scene(on = server) {
  const ns = await namespace(on);
  const home = await openHome({ namespace: ns }, on);
  const key: TargetKey = { namespace: ns, name: 'unicorn-db' };
  await ok(on, ['apply', '-f', '-'], JSON.stringify(manifest(key)));
  return { ns, home, key };
}

function manifest(key: TargetKey, spec: object = {}) {
  return {
    apiVersion: 'migrationtarget.dev/v1alpha1',
    kind: 'MigrationTarget',
    metadata: { name: key.name, namespace: key.namespace },
    spec: {
      revision: 'a1',
      database: { urlFrom: { secretKeyRef: { name: 'unicorn-db', key: 'url' } } },
      alembic: { workingDir: '/app' },
      runtime: { process: {} },
      backup: { storage: { directory: { path: '/var/backups' } } },
      ...spec,
    },
  };
}

function expectTarget(declaration: Declaration | null): MigrationTarget {
  if (declaration?.kind !== 'target') throw new Error(`no target: ${JSON.stringify(declaration)}`);
  return declaration.target;
}

interface Metadata {
  readonly resourceVersion: string;
  readonly finalizers?: readonly string[];
  readonly deletionTimestamp?: string;
}

async function metadataOf(on: ApiServer, { namespace: ns, name }: TargetKey): Promise<Metadata> {
  const text = await ok(on, ['-n', ns, 'get', 'mtgt', name, '-o', 'jsonpath={.metadata}']);
  return JSON.parse(text) as Metadata;
}

const now = new Date('2026-01-31T12:00:00Z');

function readyStatus(generation = 1, message = 'unicorn_db is at a1'): TargetStatus {
  return {
    ...emptyStatus,
    observedGeneration: generation,
    currentRevision: 'a1',
    currentRevisions: ['a1'],
    desiredRevisions: ['a1'],
    conditions: summarize(
      { kind: 'ready', reason: 'InSync', message },
      {
        generation,
        lastBackup: null,
        backupProblem: null,
        rehearsal: null,
        isRehearsing: true,
        applicationDeclared: false,
        application: null,
        previous: [],
        now,
      },
    ),
  };
}

/** As an operation's journal is: fields that the CRD does not know, and nulls. */
const journal = {
  version: 1,
  id: 'op1',
  step: 'change',
  startedAt: now.toISOString(),
  backup: null,
  plan: { kind: 'upgrade', steps: [] },
  scratch: [],
};

async function eventually(holds: () => boolean | Promise<boolean>, what = 'it'): Promise<void> {
  const until = Date.now() + 60_000;
  while (!(await holds())) {
    if (Date.now() > until) throw new Error(`${what} never came true`);
    await new Promise((resolve) => void setTimeout(resolve, 25));
  }
}

async function watching(home: KubernetesHome) {
  const stop = new AbortController();
  stops.push(stop);
  const changes: string[] = [];
  const problems: Error[] = [];
  await home.watch(
    (key) => changes.push(keyText(key)),
    (problem) => problems.push(problem),
    stop.signal,
  );
  return { changes, problems, stop };
}

describe('a declaration', () => {
  test('is read with its defaults, its generation and its status, or is null where there is none', async () => {
    const { ns, home, key } = await scene();
    const target = expectTarget(await home.get(key));
    expect(target.metadata).toMatchObject({
      name: 'unicorn-db',
      namespace: ns,
      generation: 1,
      deletionTimestamp: null,
    });
    expect(target.spec).toMatchObject({
      revision: 'a1',
      interval: '5m',
      database: { versionTable: 'alembic_version' },
    });
    expect(target.status?.observedGeneration).toBe(-1);
    expect(await home.list()).toEqual([{ kind: 'target', target }]);
    expect(await home.get({ ...key, name: 'other' })).toBeNull();
  });

  test('is known without asking once it was read, until the watch tells of a newer one', async () => {
    const { home, ns, key } = await scene();
    const { known, heads } = home;
    if (known === undefined || heads === undefined) throw new Error('it knows nothing');
    await watching(home);
    const declaration = await home.get(key);
    const target = declaration?.kind === 'target' ? declaration.target : null;
    expect(known.target(key)).toEqual(target);
    await home.saveStatus(key, readyStatus());
    await eventually(() => known.target(key)?.status?.observedGeneration === 1);
    const [head] = await heads();

    await ok(server, ['-n', ns, 'annotate', 'mtgt', key.name, 'a=b']);

    await eventually(() => known.target(key) === null);
    expect((await heads())[0]).not.toEqual(head);
    expect((await home.get(key))?.kind).toBe('target');
    expect(known.target(key)?.metadata.annotations).toMatchObject({ a: 'b' });
  });

  test('that claims a database is found by that, as it is now, and no longer once it is gone', async () => {
    const { home, ns, key } = await scene();
    const database = { systemIdentifier: '7', name: 'orders', versionTable: 'public.alembic_version' };
    await home.saveStatus(key, { ...readyStatus(), database: { ...database, since: new Date().toISOString() } });
    const another = await openHome({ namespace: ns });
    expect((await another.claiming(database)).map(nameOf)).toEqual([keyText(key)]);
    expect(await another.claiming({ ...database, name: 'users' })).toEqual([]);

    await ok(server, ['-n', ns, 'delete', 'mtgt', key.name]);

    expect(await another.claiming(database)).toEqual([]);
    expect(await home.claiming(database)).toEqual([]);
  });

  test('of another namespace is listed only where all are asked for', async () => {
    const { home, key } = await scene();
    const other = await scene();
    expect((await home.list()).map(nameOf)).toEqual([keyText(key)]);
    const all = await openHome({ allNamespaces: true });
    expect((await all.list()).map(nameOf)).toEqual(expect.arrayContaining([keyText(key), keyText(other.key)]));
  });

  test('that was stored before the API changed is told to be invalid, and does not keep the others from being read', async () => {
    const { ns, home, key } = await scene();
    await withOpenCrd(async () => {
      await ok(server, ['apply', '-f', '-'], JSON.stringify(manifest({ namespace: ns, name: 'old' }, ofOldApi)));
    });
    const declarations = await home.list();
    expect(declarations.map(nameOf).sort()).toEqual([`${ns}/old`, keyText(key)]);
    expect(declarations.find((one) => one.kind === 'invalid')).toMatchObject({
      kind: 'invalid',
      generation: 1,
      problem: expect.stringMatching(/spec\.policy\.rehearsal: .*Never.*kubectl -n \S+ edit mtgt old/),
    });
  });

  test('that can not be read and is deleted is let go, since nobody works on it', async () => {
    const { ns, home } = await scene();
    const key = { namespace: ns, name: 'old' };
    await withOpenCrd(() => ok(server, ['apply', '-f', '-'], JSON.stringify(manifest(key, ofOldApi))));
    await home.hold(key);
    await ok(server, ['-n', ns, 'delete', 'mtgt', 'old', '--wait=false']);
    expect((await metadataOf(server, key)).deletionTimestamp).toBeDefined();
    expect(await home.get(key)).toBeNull();
    expect((await server.kubectl(['-n', ns, 'get', 'mtgt', 'old'])).stderr).toContain('not found');
  });
});

const nameOf = (declaration: Declaration): string =>
  declaration.kind === 'target' ? keyText(declaration.target.metadata) : keyText(declaration.key);

/** The CRD as an older version may have been: it took any policy.rehearsal. */
async function withOpenCrd(work: () => Promise<unknown>): Promise<void> {
  const path = '/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/policy/properties/rehearsal/enum';
  const patch = (operation: object) =>
    ok(server, [
      'patch',
      'crd',
      'migrationtargets.migrationtarget.dev',
      '--type=json',
      `-p=${JSON.stringify([operation])}`,
    ]);
  await patch({ op: 'remove', path });
  try {
    // The API server takes a moment to serve the new schema.
    await eventually(async () => {
      const probe = JSON.stringify(manifest({ namespace: 'default', name: 'probe' }, ofOldApi));
      return (await server.kubectl(['apply', '--dry-run=server', '-f', '-'], { input: probe })).code === 0;
    }, 'the open schema');
    await work();
  } finally {
    await patch({ op: 'add', path, value: ['Always', 'Never'] });
  }
}

const ofOldApi = { policy: { rehearsal: 'Sometimes' } };

describe('a status', () => {
  test('is what kubectl get, wait and describe show', async () => {
    const { ns, home, key } = await scene();
    await home.saveStatus(key, readyStatus());
    expect(await ok(server, ['-n', ns, 'get', 'mtgt', 'unicorn-db', '--no-headers'])).toMatch(
      /unicorn-db\s+a1\s+a1\s+True\s+InSync/,
    );
    await ok(server, ['-n', ns, 'wait', '--for=condition=Ready', '--timeout=10s', 'mtgt/unicorn-db']);
    expect(await ok(server, ['-n', ns, 'describe', 'mtgt', 'unicorn-db'])).toContain('unicorn_db is at a1');
  });

  test('comes back as it was written, the journal with its nulls and unknown fields too', async () => {
    const { home, key } = await scene();
    const status = { ...readyStatus(), operation: journal };
    await home.saveStatus(key, status);
    expect(expectTarget(await home.get(key)).status).toEqual(status);
  });

  test('that is there already is not written again, by another process neither', async () => {
    const { home, key } = await scene();
    await home.saveStatus(key, readyStatus());
    const { resourceVersion } = await metadataOf(server, key);
    await home.saveStatus(key, readyStatus());
    const other = await openHome({ namespace: key.namespace });
    await other.get(key);
    await other.saveStatus(key, readyStatus());
    const unread = await openHome({ namespace: key.namespace });
    await unread.saveStatus(key, readyStatus());
    // Nor is it even tried: this one has no right to.
    const rules = [{ apiGroups: ['migrationtarget.dev'], resources: ['migrationtargets'], verbs: ['get'] }];
    const token = await serviceAccount(key.namespace, rules);
    const reader = await openHome({ namespace: key.namespace, kubeconfig: await kubeconfigOf({ token }) });
    await eventually(() =>
      reader.get(key).then(
        () => true,
        () => false,
      ),
    );
    await reader.saveStatus(key, readyStatus());
    await expect(reader.saveStatus(key, readyStatus(2))).rejects.toMatchObject({ reason: 'NotAllowed' });
    expect((await metadataOf(server, key)).resourceVersion).toBe(resourceVersion);
  });

  test('is written again where somebody else changed it meanwhile', async () => {
    const { ns, home, key } = await scene();
    await home.saveStatus(key, readyStatus());
    await ok(server, [
      '-n',
      ns,
      'patch',
      'mtgt',
      'unicorn-db',
      '--subresource=status',
      '--type=merge',
      '-p={"status":{"currentRevision":"zz"}}',
    ]);
    expect(expectTarget(await home.get(key)).status?.currentRevision).toBe('zz');
    await home.saveStatus(key, readyStatus());
    expect(expectTarget(await home.get(key)).status).toEqual(readyStatus());
  });

  test('is not written over a journal that another process wrote meanwhile, nor over the end of its operation', async () => {
    const { home, key } = await scene();
    await home.saveStatus(key, readyStatus());
    const read = expectTarget(await home.get(key)).status;
    const other = await openHome({ namespace: key.namespace });
    await other.get(key);
    const missed = { kind: 'retry', reason: 'DatabaseLocked' };
    const keptAside = [{ name: 'x', oid: 5, systemIdentifier: '7', keptUntil: now.toISOString() }];
    for (const theirs of [
      { ...readyStatus(), operation: journal },
      { ...readyStatus(), keptAside },
    ]) {
      await other.saveStatus(key, theirs);
      await expect(home.saveStatus(key, readyStatus(2), read)).rejects.toMatchObject(missed);
      expect(expectTarget(await other.get(key)).status).toEqual(theirs);
    }
    await home.get(key);
    await expect(home.saveStatus(key, readyStatus(2), read)).rejects.toMatchObject(missed);
    await home.saveStatus(key, { ...readyStatus(2), keptAside }, { ...readyStatus(), keptAside });
    expect(expectTarget(await home.get(key)).status).toEqual({ ...readyStatus(2), keptAside });
  });

  test('replaces the one before: what is no longer said is gone', async () => {
    const { home, key } = await scene();
    await home.saveStatus(key, {
      ...readyStatus(),
      operation: journal,
      keptAside: [{ name: 'x', oid: 5, systemIdentifier: '7', keptUntil: now.toISOString() }],
    });
    await home.saveStatus(key, readyStatus());
    expect(expectTarget(await home.get(key)).status).toEqual(readyStatus());
  });

  test('never touches what others own, and leaves the declaration as it is', async () => {
    const { ns, home, key } = await scene();
    await ok(server, ['-n', ns, 'label', 'mtgt', 'unicorn-db', 'team=ops']);
    await home.saveStatus(key, readyStatus());
    const stored: unknown = JSON.parse(await ok(server, ['-n', ns, 'get', 'mtgt', 'unicorn-db', '-o', 'json']));
    expect(stored).toMatchObject({ metadata: { generation: 1, labels: { team: 'ops' } }, spec: { revision: 'a1' } });
  });

  test('never lands on an object that was made again under the same name', async () => {
    const { ns, home, key } = await scene();
    await home.get(key);
    await ok(server, ['-n', ns, 'delete', 'mtgt', 'unicorn-db']);
    await ok(server, ['apply', '-f', '-'], JSON.stringify(manifest(key)));
    await expect(home.saveStatus(key, readyStatus())).rejects.toThrow(/was deleted and made again meanwhile/);
    expect(expectTarget(await home.get(key)).status?.conditions).toEqual([]);
  });
});

describe('events', () => {
  test('are what kubectl describe shows, and the same one again is counted', async () => {
    const { ns, home, key } = await scene();
    const event = { type: 'Warning', reason: 'DowngradeFailed', message: 'b2 raised an error' } as const;
    for (let times = 0; times < 3; times += 1) await home.record(key, event);
    await home.record(key, { type: 'Normal', reason: 'RestoredFromBackup', message: 'backup x' });
    const described = await ok(server, ['-n', ns, 'describe', 'mtgt', 'unicorn-db']);
    expect(described).toMatch(
      /Warning\s+DowngradeFailed\s+\S+ \(x3 over \S+\)\s+migration-target\s+b2 raised an error/,
    );
    expect(described).toMatch(/Normal\s+RestoredFromBackup\s+\S+\s+migration-target\s+backup x/);
    const events = JSON.parse(await ok(server, ['-n', ns, 'get', 'events', '-o', 'json'])) as { items: unknown[] };
    expect(events.items).toHaveLength(2);
  });

  test('are written anew after their time, and after somebody deleted them', async () => {
    const { ns, key } = await scene();
    let at = now.getTime();
    const home = await openHome({ namespace: ns, clock: { now: () => new Date(at) } });
    const count = async () =>
      (JSON.parse(await ok(server, ['-n', ns, 'get', 'events', '-o', 'json'])) as { items: unknown[] }).items.length;
    const event = { type: 'Normal', reason: 'Upgraded', message: 'm' } as const;
    await home.record(key, event);
    at += 11 * 60_000;
    await home.record(key, event);
    expect(await count()).toBe(2);
    await ok(server, ['-n', ns, 'delete', 'events', '--all']);
    await home.record(key, event);
    expect(await count()).toBe(1);
  });

  test('that can not be written are told, and fail nothing', async () => {
    const ns = await namespace(server);
    const problems: Error[] = [];
    const home = await createKubernetesHome({
      kubeconfig: await kubeconfigOf({ server: 'https://127.0.0.1:1' }),
      namespace: ns,
      allow: [],
      onProblem: (problem) => problems.push(problem),
    });
    homes.push(home);
    await home.record({ namespace: ns, name: 'x' }, { type: 'Normal', reason: 'Upgraded', message: 'm' });
    expect(problems.map(String)).toEqual([
      expect.stringMatching(/event Upgraded of .*\/x could not be written: .*does not answer/),
    ]);
  });
});

describe('the finalizer', () => {
  test('keeps the object while it is held, and lets it go when it is released', async () => {
    const { ns, home, key } = await scene();
    await ok(server, [
      '-n',
      ns,
      'patch',
      'mtgt',
      'unicorn-db',
      '--type=merge',
      '-p={"metadata":{"finalizers":["example.com/other"]}}',
    ]);
    await home.hold(key);
    await home.hold(key);
    expect((await metadataOf(server, key)).finalizers).toEqual(['example.com/other', 'migrationtarget.dev/operation']);
    await ok(server, [
      '-n',
      ns,
      'patch',
      'mtgt',
      'unicorn-db',
      '--type=merge',
      '-p={"metadata":{"finalizers":["migrationtarget.dev/operation"]}}',
    ]);
    await ok(server, ['-n', ns, 'delete', 'mtgt', 'unicorn-db', '--wait=false']);
    expect(expectTarget(await home.get(key)).metadata.deletionTimestamp).not.toBeNull();
    await home.saveStatus(key, { ...readyStatus(), operation: journal });
    await home.release(key);
    expect(await home.get(key)).toBeNull();
    await home.release(key);
  });

  test('survives others who write the object at the same time', async () => {
    const { home, key } = await scene();
    const noise = (async () => {
      for (let index = 0; index < 30; index += 1) await home.requestReconcile(key, `noise ${index}`);
    })();
    for (let index = 0; index < 10; index += 1) {
      await home.hold(key);
      await home.release(key);
    }
    await home.hold(key);
    await noise;
    expect((await metadataOf(server, key)).finalizers).toEqual(['migrationtarget.dev/operation']);
    await home.release(key);
  });

  test('is not put on an object that is gone, or being deleted', async () => {
    const { ns, home, key } = await scene();
    await expect(home.hold({ ...key, name: 'other' })).rejects.toThrow(/not found/);
    await ok(server, [
      '-n',
      ns,
      'patch',
      'mtgt',
      'unicorn-db',
      '--type=merge',
      '-p={"metadata":{"finalizers":["example.com/other"]}}',
    ]);
    await ok(server, ['-n', ns, 'delete', 'mtgt', 'unicorn-db', '--wait=false']);
    await expect(home.hold(key)).rejects.toThrow(/being deleted/);
  });
});

async function applySecret(ns: string, content: object): Promise<void> {
  const metadata = { name: 'unicorn-db', namespace: ns };
  await ok(server, ['apply', '-f', '-'], JSON.stringify({ apiVersion: 'v1', kind: 'Secret', metadata, ...content }));
}

describe('a value', () => {
  const source = { secretKeyRef: { name: 'unicorn-db', key: 'url' } };

  test('comes from the named Secret, without its trailing newline, and anew each time', async () => {
    const { ns, home } = await scene();
    await applySecret(ns, { stringData: { url: 'postgresql://ü:p@h/d\n' } });
    expect(await home.resolve(source, { namespace: ns, name: 'unicorn' })).toBe('postgresql://ü:p@h/d');
    await ok(server, ['-n', ns, 'patch', 'secret', 'unicorn-db', '--type=merge', '-p={"stringData":{"url":"other"}}']);
    expect(await home.resolve(source, { namespace: ns, name: 'unicorn' })).toBe('other');
  });

  test.each([
    [
      'no Secret',
      null,
      /There is no Secret \S+\/unicorn-db\. Create it: kubectl -n \S+ create secret generic unicorn-db --from-literal=url=/,
    ],
    [
      'no such key',
      { stringData: { uri: 'x', user: 'y' } },
      /has no key url; it has: uri, user\. Write it: kubectl -n \S+ edit secret unicorn-db/,
    ],
    ['no keys at all', {}, /it has: none/],
    ['only a newline', { stringData: { url: '\n' } }, /is empty/],
    ['no text', { data: { url: '/w==' } }, /is not UTF-8 text/],
    ['a NUL', { data: { url: 'YQBi' } }, /holds a NUL/],
  ])('that is missing stalls and says what to do: %s', async (_, secret, message) => {
    const { ns, home } = await scene();
    if (secret !== null) {
      await applySecret(ns, secret);
    }
    await expect(home.resolve(source, { namespace: ns, name: 'unicorn' })).rejects.toMatchObject({
      kind: 'stalled',
      reason: 'SecretNotFound',
      message: expect.stringMatching(message),
    });
  });

  test('needs no more rights than to get that one Secret; a missing one is told', async () => {
    const { ns, key } = await scene();
    const token = await serviceAccount(ns, [
      { apiGroups: [''], resources: ['secrets'], resourceNames: ['unicorn-db'], verbs: ['get'] },
    ]);
    await ok(server, ['-n', ns, 'create', 'secret', 'generic', 'unicorn-db', '--from-literal=url=x']);
    const home = await createKubernetesHome({ kubeconfig: await kubeconfigOf({ token }), namespace: ns, allow: [] });
    homes.push(home);
    expect(await home.resolve(source, { namespace: ns, name: 'unicorn' })).toBe('x');
    await expect(
      home.resolve({ secretKeyRef: { name: 'other', key: 'url' } }, { namespace: ns, name: 'unicorn' }),
    ).rejects.toMatchObject({
      reason: 'NotAllowed',
      message: expect.stringMatching(/cannot get resource "secrets".*kubectl auth can-i --list/),
    });
    await expect(home.get(key)).rejects.toMatchObject({ reason: 'NotAllowed' });
  });

  test('from a file or a variable is read on a laptop', async () => {
    const home = await openHome({ env: { URL: 'x\n' } });
    expect(await home.resolve({ env: 'URL' }, { namespace: 'default', name: 'unicorn' })).toBe('x');
    await expect(
      home.resolve({ file: '/nonexistent/url' }, { namespace: 'default', name: 'unicorn' }),
    ).rejects.toMatchObject({
      reason: 'SecretNotFound',
    });
  });
});

describe('commands', () => {
  test('suspend, resume and ask for a reconcile', async () => {
    const { home, key } = await scene();
    await home.setSuspended(key, true);
    await home.requestReconcile(key, '2026-01-31T12:00:00Z');
    const { metadata, spec } = expectTarget(await home.get(key));
    expect(spec.suspend).toBe(true);
    expect(metadata.annotations['migrationtarget.dev/requestedAt']).toBe('2026-01-31T12:00:00Z');
    await home.setSuspended(key, false);
    expect(expectTarget(await home.get(key)).spec.suspend).toBe(false);
    await expect(home.setSuspended({ ...key, name: 'other' }, true)).rejects.toThrow(
      /no MigrationTarget \S+\/other\. See: kubectl get mtgt/,
    );
  });

  test('apply makes a target, changes it, and changes nothing in a dry run', async () => {
    const ns = await namespace(server);
    const home = await openHome({ namespace: ns });
    const { metadata: _, ...rest } = manifest({ namespace: ns, name: 'new' });
    const document = { ...rest, metadata: { name: 'new' } };
    const key = { namespace: ns, name: 'new' };
    expect(expectTarget(await home.apply(document, { dryRun: true })).spec.revision).toBe('a1');
    expect(await home.get(key)).toBeNull();
    expect(expectTarget(await home.apply(document, { dryRun: false })).metadata).toMatchObject({
      namespace: ns,
      generation: 1,
    });
    await home.saveStatus(key, readyStatus());
    await home.apply({ ...document, spec: { ...document.spec, revision: 'b2' } }, { dryRun: false });
    const changed = expectTarget(await home.get(key));
    expect([changed.spec.revision, changed.metadata.generation, changed.status?.currentRevision]).toEqual([
      'b2',
      2,
      'a1',
    ]);
    // As `kubectl get -o yaml` gives it.
    const whole: unknown = JSON.parse(
      await ok(server, ['-n', ns, 'get', 'mtgt', 'new', '-o', 'json', '--show-managed-fields']),
    );
    expect(expectTarget(await home.apply(whole, { dryRun: false })).metadata.generation).toBe(2);
  });

  test('apply says what is wrong with a document, who owns a field, and which namespace is missing', async () => {
    const { ns, home, key } = await scene();
    expect(await home.apply(manifest(key, { revision: '-1' }), { dryRun: false })).toMatchObject({
      kind: 'invalid',
      key,
      problem: expect.stringContaining('spec.revision'),
    });
    expect(await home.apply(manifest(key, { revision: 'b2' }), { dryRun: true })).toMatchObject({
      kind: 'invalid',
      problem: expect.stringMatching(
        /fields that somebody else declares: spec\.revision \(by kubectl\S*\)\. Change them there, or .*--force-conflicts/,
      ),
    });
    expect(expectTarget(await home.get(key)).spec.revision).toBe('a1');
    expect(await home.apply(manifest({ ...key, namespace: 'elsewhere' }), { dryRun: false })).toMatchObject({
      kind: 'invalid',
      problem: expect.stringMatching(
        new RegExp(`metadata.namespace is elsewhere, and --namespace ${ns} asks for another`),
      ),
    });
    const anywhere = await openHome();
    expect(await anywhere.apply(manifest({ ...key, namespace: 'elsewhere' }), { dryRun: false })).toMatchObject({
      kind: 'invalid',
      problem: 'there is no namespace elsewhere. Create it: kubectl create namespace elsewhere',
    });
  });
});

describe('the watch', () => {
  test('tells what is there, then what is added, declared anew, asked for and deleted, and not our own writes', async () => {
    const { ns, home, key } = await scene();
    const { changes, problems } = await watching(home);
    expect(changes).toEqual([keyText(key)]);
    expect(home.synced).toBe(true);
    const later = { namespace: ns, name: 'later' };
    await ok(server, ['apply', '-f', '-'], JSON.stringify(manifest(later)));
    await home.saveStatus(key, readyStatus());
    await home.hold(key);
    await home.release(key);
    await home.requestReconcile(key, 'now');
    await eventually(() => changes.length === 3);
    await ok(server, ['-n', ns, 'patch', 'mtgt', 'later', '--type=merge', '-p={"spec":{"revision":"b2"}}']);
    await eventually(() => changes.length === 4);
    await ok(server, ['-n', ns, 'delete', 'mtgt', 'later']);
    await eventually(() => changes.length === 5);
    expect(changes.map((change) => change.split('/')[1])).toEqual([
      'unicorn-db',
      'later',
      'unicorn-db',
      'later',
      'later',
    ]);
    expect(problems).toEqual([]);
  });

  test('comes up where there is nothing yet', async () => {
    const ns = await namespace(server);
    const home = await openHome({ namespace: ns });
    expect(await home.list()).toEqual([]);
    const { changes, problems } = await watching(home);
    expect([changes, problems, home.synced]).toEqual([[], [], true]);
    const key = { namespace: ns, name: 'first' };
    await ok(server, ['apply', '-f', '-'], JSON.stringify(manifest(key)));
    await eventually(() => changes.length === 1);
  });

  test('ends when it is aborted', async () => {
    const { ns, home } = await scene();
    const { changes, stop } = await watching(home);
    stop.abort();
    await ok(server, ['apply', '-f', '-'], JSON.stringify(manifest({ namespace: ns, name: 'later' })));
    const again = await watching(home);
    await eventually(() => again.changes.length === 2);
    expect(changes).toHaveLength(1);
  });

  test('survives an API server that is killed and started again, and misses nothing', async () => {
    const own = await startApiServer();
    try {
      const early = await openHome({}, own);
      await expect(early.list()).rejects.toThrow(
        'does not know the kind MigrationTarget. Install it: kubectl apply -f crds/',
      );
      await expect(early.get({ namespace: 'default', name: 'x' })).rejects.toThrow('does not know the kind');
      await install(own);
      const { ns, home, key } = await scene(own);
      const { changes, problems } = await watching(home);
      await home.get(key);
      await own.kill();
      await eventually(() => problems.length > 0, 'the problem');
      expect(problems[0]?.message).toMatch(/^The Kubernetes API server https:\S+ does not answer: /);
      expect(home.synced).toBe(false);
      await expect(home.list()).rejects.toMatchObject({ kind: 'retry', reason: 'HomeUnavailable' });
      // The journal waits for the server instead of giving up.
      const saved = home.saveStatus(key, { ...readyStatus(), operation: journal });
      await own.start();
      await saved;
      expect(expectTarget(await home.get(key)).status?.operation).toEqual(journal);
      await eventually(() => home.synced, 'the watch');
      await ok(own, ['apply', '-f', '-'], JSON.stringify(manifest({ namespace: ns, name: 'later' })));
      await eventually(() => changes.includes(`${ns}/later`), 'the change');
      await ok(own, ['-n', ns, 'delete', 'mtgt', 'later']);
      await eventually(() => changes.filter((change) => change === `${ns}/later`).length === 2, 'the deletion');
    } finally {
      await own.stop();
    }
  });
});

const folders: string[] = [];
afterAll(async () => {
  for (const folder of folders) await rm(folder, { recursive: true });
});

/** The administrator's kubeconfig, with another server or another user. */
async function kubeconfigOf(change: { readonly server?: string; readonly token?: string }): Promise<string> {
  const config = JSON.parse(await readFile(server.kubeconfig, 'utf8')) as {
    clusters: { cluster: { server: string } }[];
    users: { user: { token: string } }[];
  };
  for (const { cluster } of config.clusters) cluster.server = change.server ?? cluster.server;
  for (const { user } of config.users) user.token = change.token ?? user.token;
  const folder = await mkdtemp(join(tmpdir(), 'migration-target-kubeconfig-'));
  folders.push(folder);
  await writeFile(join(folder, 'config'), JSON.stringify(config));
  return join(folder, 'config');
}

async function serviceAccount(ns: string, rules: readonly object[]): Promise<string> {
  const metadata = { name: 'controller', namespace: ns };
  for (const object of [
    { apiVersion: 'v1', kind: 'ServiceAccount', metadata },
    { apiVersion: 'rbac.authorization.k8s.io/v1', kind: 'Role', metadata, rules },
    {
      apiVersion: 'rbac.authorization.k8s.io/v1',
      kind: 'RoleBinding',
      metadata,
      roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'Role', name: 'controller' },
      subjects: [{ kind: 'ServiceAccount', ...metadata }],
    },
  ]) {
    await ok(server, ['apply', '-f', '-'], JSON.stringify(object));
  }
  return (await ok(server, ['-n', ns, 'create', 'token', 'controller'])).trim();
}

describe('the network', () => {
  const networks: Network[] = [];
  afterEach(async () => {
    for (const network of networks.splice(0)) await network.close();
  });

  async function sceneBehindNetwork() {
    const { ns, key } = await scene();
    const network = new Network(new URL(server.url));
    networks.push(network);
    const kubeconfig = await kubeconfigOf({ server: await network.listen() });
    const home = await openHome({ kubeconfig, namespace: ns, callTimeoutSeconds: 3 });
    return { ns, key, network, home };
  }

  test('sees few connections, however many calls there are', async () => {
    const { home, key, network } = await sceneBehindNetwork();
    for (let calls = 0; calls < 50; calls += 1) await home.get(key);
    expect(network.connections).toBeLessThanOrEqual(2);
  });

  test('that resets connections ends neither the watch nor the calls', async () => {
    const { ns, home, key, network } = await sceneBehindNetwork();
    const { changes, problems } = await watching(home);
    for (let times = 1; times <= 3; times += 1) {
      network.reset();
      await ok(server, ['apply', '-f', '-'], JSON.stringify(manifest({ namespace: ns, name: `later-${times}` })));
      await eventually(() => changes.includes(`${ns}/later-${times}`), 'the change');
    }
    await home.saveStatus(key, readyStatus());
    expect(problems.length).toBeGreaterThan(0);
    expect(home.synced).toBe(true);
  });

  test('that swallows everything makes a call fail in time, and a later one go through', async () => {
    const { home, key, network } = await sceneBehindNetwork();
    await home.get(key);
    network.swallow();
    await expect(home.get(key)).rejects.toMatchObject({
      kind: 'retry',
      reason: 'HomeUnavailable',
      message: expect.stringContaining('timeout'),
    });
    network.pass();
    expectTarget(await home.get(key));
  });
});

describe('manifests/', () => {
  test('give the controller the rights that it uses, and Secrets only where somebody binds them', async () => {
    const { ns, key } = await scene();
    await installClusterWide(server);
    const token = (await ok(server, ['-n', 'migration-target-system', 'create', 'token', 'migration-target'])).trim();
    const home = await openHome({ kubeconfig: await kubeconfigOf({ token }), allNamespaces: true });
    const { changes, problems } = await watching(home);
    expect(changes).toContain(keyText(key));
    expect((await home.list()).map(nameOf)).toContain(keyText(key));
    await home.get(key);
    await home.hold(key);
    await home.saveStatus(key, readyStatus());
    await home.record(key, { type: 'Normal', reason: 'Upgraded', message: 'm' });
    await home.record(key, { type: 'Normal', reason: 'Upgraded', message: 'm' });
    await home.release(key);
    expect(expectTarget(await home.get(key)).status).toEqual(readyStatus());
    expect(problems).toEqual([]);

    // The controller's own namespace.
    const own = await openHome({ kubeconfig: await kubeconfigOf({ token }), namespace: 'migration-target-system' });
    const lease = own.lease('migration-target');
    const record = { holder: 'me', durationSeconds: 15, acquiredAt: now, renewedAt: now, transitions: 0 };
    const made = await lease.write(record, (await lease.read())?.version ?? null);
    expect(await lease.read()).toEqual(made);
    await lease.record({ type: 'Normal', reason: 'LeaderElection', message: 'm' });
    await expect(own.lease('another').read()).rejects.toMatchObject({ reason: 'NotAllowed' });

    await applySecret(ns, { stringData: { url: 'x' } });
    const source = { secretKeyRef: { name: 'unicorn-db', key: 'url' } };
    await expect(home.resolve(source, { namespace: ns, name: 'unicorn' })).rejects.toMatchObject({
      reason: 'NotAllowed',
    });
    const grant = ['create role s --verb=get --resource=secrets --resource-name=unicorn-db'];
    grant.push(`create rolebinding s --role=s --serviceaccount=${controllerAccount}`);
    for (const command of grant) await ok(server, ['-n', ns, ...command.split(' ')]);
    // The authorizer takes a moment to see it.
    const ask = `auth can-i get secrets/unicorn-db --as=system:serviceaccount:${controllerAccount}`;
    await eventually(async () => (await server.kubectl(['-n', ns, ...ask.split(' ')])).stdout.startsWith('yes'));
    expect(await home.resolve(source, { namespace: ns, name: 'unicorn' })).toBe('x');
  });
});

describe('a Lease', () => {
  const record = { holder: 'me', durationSeconds: 15, acquiredAt: now, renewedAt: now, transitions: 3 };

  test('of two who write what they read only one does, and times are stored to the microsecond', async () => {
    const { ns, home } = await scene();
    const [mine, others] = [home.lease('l'), (await openHome({ namespace: ns })).lease('l')];
    expect(mine.name).toBe(`${ns}/l`);
    expect(await mine.read()).toBeNull();
    const made = await mine.write(record, null);
    expect(made).toMatchObject(record);
    expect(await others.write({ ...record, holder: 'other' }, null)).toBeNull();
    expect(await others.read()).toEqual(made);

    const renewed = await mine.write({ ...record, renewedAt: new Date(now.getTime() + 1) }, made?.version ?? null);
    expect(await others.write({ ...record, holder: 'other' }, made?.version ?? null)).toBeNull();
    expect(await others.read()).toEqual(renewed);
    const times = ['-n', ns, 'get', 'lease', 'l', '-o', 'jsonpath={.spec.acquireTime} {.spec.renewTime}'];
    expect(await ok(server, times)).toBe('2026-01-31T12:00:00.000000Z 2026-01-31T12:00:00.001000Z');

    await ok(server, ['-n', ns, 'delete', 'lease', 'l']);
    expect(await mine.write(record, renewed?.version ?? null)).toBeNull();
    expect(await mine.read()).toBeNull();
  });

  test('keeps what others wrote into it, and one without a holder is nobody’s', async () => {
    const { ns, home } = await scene();
    const metadata = { name: 'l', namespace: ns, labels: { team: 'a' } };
    const bare = { apiVersion: 'coordination.k8s.io/v1', kind: 'Lease', metadata };
    await ok(server, ['apply', '-f', '-'], JSON.stringify(bare));
    const lease = home.lease('l');
    const found = await lease.read();
    expect(found).toMatchObject({ holder: '', durationSeconds: 0, transitions: 0 });
    expect(await lease.write(record, found?.version ?? null)).toMatchObject({ holder: 'me' });
    expect(await ok(server, ['-n', ns, 'get', 'lease', 'l', '-o', 'jsonpath={.metadata.labels.team}'])).toBe('a');
  });

  test('that is held behind a network that swallows everything is not waited for longer than it takes to try again', async () => {
    const { ns } = await scene();
    const network = new Network(new URL(server.url));
    const kubeconfig = await kubeconfigOf({ server: await network.listen() });
    const lease = (await openHome({ kubeconfig, namespace: ns })).lease('l');
    await lease.write(record, null);
    network.swallow();
    await expect(lease.read()).rejects.toMatchObject({ kind: 'retry', reason: 'HomeUnavailable' });
    await network.close();
  });
});

describe('which cluster', () => {
  test('a file, a context or a cluster that is not there is told with what to write', async () => {
    const open = (options: Partial<KubernetesHomeOptions>) => createKubernetesHome({ allow: [], env: {}, ...options });
    await expect(open({ kubeconfig: '/nowhere/config' })).rejects.toThrow(
      'There is no file /nowhere/config. Name another: --kubeconfig FILE',
    );
    await expect(open({ kubeconfig: server.kubeconfig, context: 'prod' })).rejects.toThrow(
      /no context "prod" in .*; there are: test\. Name one: --context NAME/,
    );
    await expect(open({ env: { KUBECONFIG: '/nowhere/config' } })).rejects.toThrow(
      /KUBECONFIG names \/nowhere\/config/,
    );
    await expect(open({ env: { HOME: '/nowhere/config' } })).rejects.toThrow(
      /There is no cluster to talk to.*--kubeconfig FILE.*--dir DIR/,
    );
    await expect(open({ kubeconfig: 'package.json' })).rejects.toThrow(/no context|can't be read/);
  });

  test('KUBECONFIG may name several files, and the namespace of the context counts', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'migration-target-kubeconfig-'));
    folders.push(folder);
    const extra = join(folder, 'extra');
    await writeFile(
      extra,
      JSON.stringify({ contexts: [{ name: 'prod', context: { cluster: 'test', user: 'admin', namespace: 'ops' } }] }),
    );
    const env = { KUBECONFIG: `${server.kubeconfig}:/nowhere/config:${extra}` };
    const home = await openHome({ kubeconfig: undefined, env });
    expect([home.namespace, home.inPod, home.server]).toEqual(['default', false, server.url]);
    expect((await openHome({ kubeconfig: undefined, env, context: 'prod' })).namespace).toBe('ops');
    expect((await openHome({ kubeconfig: undefined, env, context: 'prod', namespace: 'x' })).namespace).toBe('x');
  });
});
