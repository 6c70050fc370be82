/** The generated CRDs in a real API server: what it accepts, refuses in which words, fills in and shows. */
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { objectSchema } from '../../scripts/generate/crd.ts';
import { kinds } from '../../scripts/generate/kinds.ts';
import type { OpenApi } from '../../scripts/generate/structural.ts';
import { conditionTypes, emptyStatus } from '../../src/api/status.ts';
import { summarize } from '../../src/api/conditions.ts';
import { parseTarget } from '../../src/api/target.ts';
import { namespace, startApiServer, type OwnApiServer } from '../support/apiserver.ts';
import { example, withSpec } from '../unit/api/example.ts';

const crds = join(import.meta.dirname, '../../crds');

/** One of its own: it is about what applying the CRDs to a new cluster leads to. */
let server: OwnApiServer;
let ns: string;

beforeAll(async () => {
  server = await startApiServer();
  await kubectl('apply', '--server-side', '-f', crds);
  await kubectl('wait', '--for=condition=Established', '--timeout=30s', '-f', crds);
  await served();
  ns = await namespace(server);
});

afterAll(async () => server.stop());

/** Its output; throws where kubectl fails. */
async function kubectl(...args: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await server.kubectl(args);
  if (code !== 0) throw new Error(`kubectl ${args.join(' ')}: ${stderr}`);
  return stdout;
}

/** Discovery and OpenAPI follow an established CRD a moment later. */
async function served(): Promise<void> {
  const start = performance.now();
  const isServed = async (): Promise<boolean> => {
    const explained = await Promise.all(
      ['mtgt', 'migrationbackup', 'migrationapproval'].map((kind) => server.kubectl(['explain', kind])),
    );
    return explained.every(({ code }) => code === 0);
  };
  while (!(await isServed())) {
    if (performance.now() - start > 30_000) throw new Error('the kinds were not served within 30 s');
  }
}

const create = (document: unknown, ...args: readonly string[]) =>
  server.kubectl(['create', '-n', ns, '-f', '-', ...args], { input: JSON.stringify(document) });

/** What the API server says against a document; empty: nothing. */
async function refusal(document: unknown): Promise<string> {
  const { code, stderr } = await create(document, '--dry-run=server');
  return code === 0 ? '' : stderr;
}

const named = (name: string, document: unknown = example): unknown => ({ ...(document as object), metadata: { name } });

async function get(name: string): Promise<Record<string, Record<string, unknown>>> {
  return JSON.parse(await kubectl('get', '-n', ns, 'migrationtarget', name, '-o', 'json')) as never;
}

test('the CRDs are accepted without a warning', async () => {
  expect(await server.kubectl(['apply', '--server-side', '-f', crds])).toMatchObject({ code: 0, stderr: '' });
});

describe('a MigrationTarget', () => {
  test('with all that can be declared is accepted', async () => {
    const everything = withSpec({
      revision: undefined,
      revisions: ['a', 'b'],
      suspend: true,
      interval: '1h30m',
      timeout: '2d',
      serviceAccountName: 'ops',
      database: {
        urlFrom: { file: '/x' },
        adminUrlFrom: { env: 'X' },
        maintenanceDatabase: 'm',
        versionTable: 'v',
        versionTableSchema: 's',
        lockTimeout: '1s',
      },
      alembic: {
        workingDir: '/app',
        config: 'pyproject.toml',
        section: 'tool',
        python: 'venv/bin/python',
        xArgs: { tenant: 'a' },
        env: [
          { name: 'A', value: '' },
          { name: 'B', valueFrom: { secretKeyRef: { name: 'a', key: 'b' } } },
        ],
        databaseUrl: { env: 'DATABASE_URL', driver: 'postgresql+asyncpg' },
        flaskApp: 'app:create_app()',
      },
      runtime: { kubernetes: { image: 'x', template: { spec: { containers: [{ name: 'y', env: [] }] } } } },
      application: {
        during: 'Keep',
        after: 'None',
        workloads: [{ kind: 'Deployment', name: 'a' }],
        healthCheck: { url: 'http://localhost:8084/x', timeout: '1m' },
      },
      backup: {
        storage: {
          s3: { bucket: 'backups', prefix: 'p', endpoint: 'http://x', region: 'r', secretRef: { name: 's' } },
        },
        retention: { minAge: '0s', minCount: 0 },
        maxAge: '24h',
      },
      policy: {
        rehearsal: 'Never',
        rehearsalServer: { urlFrom: { env: 'X' } },
        downgrade: 'Forbid',
        restore: 'Allow',
        dataLoss: 'Allow',
        drift: 'Correct',
      },
      verify: { queries: [{ name: 'orgs', sql: 'SELECT count(*) > 0 FROM o', expect: 't' }] },
      restoreFrom: { backup: 'b-1' },
    });
    expect(await refusal(named('everything', everything))).toBe('');
    expect(parseTarget(named('everything', everything))).toMatchObject({ ok: true });
  });

  test('gets the very defaults that the directory home gives', async () => {
    await create(named('defaults'));
    const parsed = parseTarget(named('defaults'));
    const stored = await get('defaults');
    expect(stored['spec']).toEqual(parsed.ok ? parsed.target.spec : parsed.problems);
    expect(stored['status']).toEqual({ observedGeneration: -1 });
  });

  test.each(['066', 'a', 'v1.2_final', 'base', 'x'.repeat(32)])('may declare the revision %j', async (revision) => {
    expect(await refusal(withSpec({ revision }))).toBe('');
  });

  test('is refused with an unquoted revision as people write it, and told to quote it', async () => {
    const yaml = `
apiVersion: migrationtarget.dev/v1alpha1
kind: MigrationTarget
metadata: {name: unquoted}
spec:
  revision: 066
  database: {urlFrom: {env: X}}
  alembic: {workingDir: /app}
  runtime: {process: {}}
  backup: {storage: {directory: {path: /x}}}
`;
    const { code, stderr } = await server.kubectl(['apply', '-n', ns, '-f', '-'], { input: yaml });
    expect(code).toBe(1);
    expect(stderr).toContain('write the revision in quotes, e.g. revision: "0123"');
  });
});

/** The sentences of all rules of the API. */
const rules: readonly string[] = [...new Set(kinds.flatMap((kind) => messagesIn(objectSchema(kind))))];

function messagesIn(schema: OpenApi): readonly string[] {
  const below = [...Object.values(schema.properties ?? {}), ...(schema.items ? [schema.items] : [])];
  return [...(schema['x-kubernetes-validations'] ?? []).map(({ message }) => message), ...below.flatMap(messagesIn)];
}

describe('the API server refuses, in the words of the directory home,', () => {
  const { alembic } = example.spec;
  const list = (...revisions: readonly string[]) => ({ revision: undefined, revisions });
  test.each<[string, Readonly<Record<string, unknown>>]>([
    ['an empty revision', { revision: '' }],
    ['a long one', { revision: 'x'.repeat(33) }],
    ['-1', { revision: '-1' }],
    ['+1', { revision: '+1' }],
    ['--sql', { revision: '--sql' }],
    ['head', { revision: 'head' }],
    ['heads', { revision: 'heads' }],
    ['a:b', { revision: 'a:b' }],
    ['-1:x', { revision: '-1:x' }],
    ['x@y', { revision: 'x@y' }],
    ['a:x@y', { revision: 'a:x@y' }],
    ['$(id)', { revision: '$(id)' }],
    [';DROP', { revision: ';DROP' }],
    ['../../x', { revision: '../../x' }],
    ['a newline', { revision: 'a\nb' }],
    ['a trailing newline', { revision: 'a\n' }],
    ['NUL', { revision: 'a\0b' }],
    ['an RTL mark', { revision: 'a\u200Fb' }],
    ['a number', { revision: 66 }],
    ['neither revision nor revisions', { revision: undefined }],
    ['both', { revisions: ['b'] }],
    ['a head in a list', list('a', 'head')],
    ['a relative one in a list', list('a', '-1')],
    ['a range in a list', list('a', 'a:b')],
    ['a label in a list', list('a', 'x@head')],
    ['an empty one in a list', list('a', '')],
    ['what is none in a list', list('a', '$(id)')],
    ['base in a list', list('a', 'base')],
    ['two runtimes', { runtime: { process: {}, docker: { container: 'a' } } }],
    ['no runtime', { runtime: {} }],
    ['two storages', { backup: { storage: { directory: { path: '/x' }, s3: { bucket: 'backups' } } } }],
    ['no storage', { backup: { storage: {} } }],
    ['no source of the URL', { database: { urlFrom: {} } }],
    ['two sources of the URL', { database: { urlFrom: { env: 'A', file: '/x' } } }],
    ['a URL handed over twice', { alembic: { ...alembic, databaseUrl: { env: 'A', option: 'b' } } }],
    [
      'a variable with two values',
      { alembic: { ...alembic, env: [{ name: 'A', value: '', valueFrom: { env: 'A' } }] } },
    ],
    ['a variable with none', { alembic: { ...alembic, env: [{ name: 'A' }] } }],
    ['flaskApp and context', { alembic: { ...alembic, flaskApp: 'a:b', context: 'a:c' } }],
    [
      'containers beside workloads of the cluster',
      {
        application: {
          workloads: [
            { kind: 'Container', name: 'a' },
            { kind: 'CronJob', name: 'b' },
          ],
        },
      },
    ],
    [
      'containers where alembic runs in Jobs',
      { runtime: { kubernetes: { image: 'a' } }, application: { workloads: [{ kind: 'Container', name: 'a' }] } },
    ],
    [
      'workloads of the cluster where alembic runs in a container',
      { runtime: { docker: { container: 'a' } }, application: { workloads: [{ kind: 'Deployment', name: 'a' }] } },
    ],
    ['a restore that the policy forbids', { policy: { restore: 'Forbid' }, restoreFrom: { backup: 'b1' } }],
    ['an interval of zero', { interval: '0m0s' }],
  ])('%s', async (_name, change) => {
    const document = withSpec(change);
    const parsed = parseTarget(document);
    const told = parsed.ok ? [] : parsed.problems.map(({ message }) => message);
    expect(told).toHaveLength(1);
    const refused = await refusal(document);
    // That one sentence, and none of the others.
    expect(rules.filter((message) => refused.includes(message))).toEqual(told);
  });

  test.each<[string, Readonly<Record<string, unknown>>, string]>([
    ['a rehearsal', { policy: { rehearsal: 'Sometimes' } }, 'supported values: "Always", "Never"'],
    ['an approval', { policy: { dataLoss: 'Ask' } }, 'supported values: "RequireApproval", "Allow", "Forbid"'],
    ['words for a duration', { timeout: '5 minutes' }, 'spec.timeout'],
    ['the same head twice', list('a', 'a'), 'Duplicate value: "a"'],
    [
      'a variable twice',
      { alembic: { ...alembic, env: ['1', '2'].map((value) => ({ name: 'A', value })) } },
      'Duplicate value',
    ],
    ['a misspelt field', { databse: {} }, 'unknown field "spec.databse"'],
    ['a list for a revision', { revision: ['a'] }, 'must be of type integer,string'],
    ['a backup that is a path', { restoreFrom: { backup: '../x' } }, 'spec.restoreFrom.backup'],
  ])('or in its own: %s', async (_name, change, expected) => {
    const document = withSpec(change);
    expect(parseTarget(document).ok).toBe(false);
    expect(await refusal(document)).toContain(expected);
  });
});

describe('people see', () => {
  const now = new Date('2026-01-02T03:04:05Z');

  async function report(name: string, status: unknown): Promise<void> {
    await kubectl(
      'patch',
      '-n',
      ns,
      'migrationtarget',
      name,
      '--subresource=status',
      '--type=merge',
      '-p',
      JSON.stringify({ status }),
    );
  }

  test('current, desired, ready, reason and age; and message and last backup where asked', async () => {
    await create(named('columns'));
    await create(named('heads', withSpec({ revision: undefined, revisions: ['a', 'b'] })));
    const lastBackup = { id: 'b1', revisions: ['0123'], finishedAt: now.toISOString(), verified: true, sizeBytes: 1 };
    const conditions = summarize(
      { kind: 'stalled', reason: 'DowngradeFailed', message: 'It raised.' },
      {
        generation: 1,
        lastBackup,
        backupProblem: null,
        rehearsal: null,
        isRehearsing: true,
        applicationDeclared: false,
        application: null,
        previous: [],
        now,
      },
    );
    await report('columns', { observedGeneration: 1, currentRevision: '0123', lastBackup, conditions });

    const row = (table: string, name: string) =>
      table
        .split('\n')
        .find((line) => line.startsWith(name))
        ?.split(/\s{2,}/);
    const narrow = await kubectl('get', '-n', ns, 'mtgt');
    expect(row(narrow, 'NAME')).toEqual(['NAME', 'CURRENT', 'DESIRED', 'READY', 'REASON', 'AGE']);
    expect(row(narrow, 'columns')?.slice(1, 5)).toEqual(['0123', '4f1c2d9ab0e7', 'False', 'DowngradeFailed']);
    expect(row(narrow, 'heads')?.join(' ')).toContain('["a","b"]');
    const wide = await kubectl('get', '-n', ns, 'mtgt', 'columns', '-o', 'wide');
    expect(row(wide, 'NAME')?.slice(6)).toEqual(['MESSAGE', 'LAST BACKUP']);
    expect(row(wide, 'columns')?.slice(6)).toEqual(['It raised.', expect.stringMatching(/^\d+d$/)]);
    expect(await kubectl('get', '-n', ns, 'migration-target')).toContain('columns');
    expect(
      (await server.kubectl(['wait', '-n', ns, '--for=condition=Stalled', '--timeout=5s', 'mtgt/columns'])).code,
    ).toBe(0);
    expect(await kubectl('describe', '-n', ns, 'mtgt', 'columns')).toContain('Downgrade');
  });

  test('a status that only the status subresource changes, the journal whole, and null for what is unknown', async () => {
    await create(named('journal'));
    const operation = {
      version: 1,
      id: 'o1',
      step: 'change',
      startedAt: 'x',
      plan: { steps: [{ a: [1, null, 'b'] }] },
    };
    const plan = { kind: 'downgrade', steps: [], loss: null, digest: null, fallback: { kind: 'origin', because: 'b' } };
    const status = { ...emptyStatus, observedGeneration: 1, operation, plan, currentRevisions: [] };
    await kubectl('patch', '-n', ns, 'mtgt', 'journal', '--type=merge', '-p', '{"status": {"observedGeneration": 9}}');
    expect((await get('journal'))['status']).toEqual({ observedGeneration: -1 });
    await report('journal', status);
    const stored = await get('journal');
    expect(stored['status']).toMatchObject({ operation, plan: { kind: 'downgrade' }, currentRevisions: [] });
    const parsed = parseTarget(stored);
    expect(parsed).toMatchObject({ ok: true, target: { status, metadata: { generation: 1, namespace: ns } } });
  });

  test('a generation that counts changes of the spec only', async () => {
    await create(named('generation'));
    await report('generation', { observedGeneration: 1 });
    expect((await get('generation'))['metadata']?.['generation']).toBe(1);
    await kubectl('patch', '-n', ns, 'mtgt', 'generation', '--type=merge', '-p', '{"spec": {"suspend": true}}');
    expect((await get('generation'))['metadata']?.['generation']).toBe(2);
  });

  test('all conditions in the description of the status', async () => {
    const explained = await kubectl('explain', 'migrationtarget.status.conditions');
    for (const type of conditionTypes) expect(explained).toContain(type);
  });

  test.each([
    ['migrationtarget', /Declares the alembic revision that a PostgreSQL database should be at\./],
    ['mtgt.spec', / revision\t[\s\S]* A string, always in quotes:[\s\S]* revisions\t<\[\]string>/],
    ['mtgt.spec.revision', /A string, always in quotes: .* or\s+"base"/s],
    ['mtgt.spec.database.urlFrom', /secretKeyRef\t<Object>/],
    ['mtgt.spec.backup.retention.minAge', /is kept\s+at least this long/],
    ['migrationbackup.spec', /Which database to back up\./],
    ['migrationapproval.spec', /planDigest\t<string> -required-/],
  ])('kubectl explain %s', async (field, expected) => {
    const explained = await kubectl('explain', field);
    expect(explained).toMatch(expected);
    expect(explained).not.toContain('<no description>');
  });
});

describe('the other kinds', () => {
  const object = (kind: string, spec: unknown) => ({
    apiVersion: 'migrationtarget.dev/v1alpha1',
    kind,
    metadata: { name: 'one' },
    spec,
  });

  test.each<[string, unknown, unknown, string]>([
    ['MigrationBackup', { targetRef: { name: 'a' } }, { targetRef: { name: 'b' } }, 'a backup cannot be changed'],
    [
      'MigrationApproval',
      { targetRef: { name: 'a' }, planDigest: '0123456789abcdef', approvedBy: 'me' },
      { maxRowLoss: 5 },
      'an approval cannot be changed',
    ],
  ])('%s is accepted, shown in columns, and cannot be changed', async (kind, spec, change, message) => {
    expect(await create(object(kind, spec))).toMatchObject({ code: 0, stderr: '' });
    expect(await kubectl('get', '-n', ns, kind.toLowerCase())).toMatch(/^NAME\s+TARGET/);
    const changed = await server.kubectl([
      'patch',
      '-n',
      ns,
      kind.toLowerCase(),
      'one',
      '--type=merge',
      '-p',
      JSON.stringify({ spec: change }),
    ]);
    expect(changed.stderr).toContain(message);
  });
});
