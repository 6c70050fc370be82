import { describe, expect, test } from '@jest/globals';
import { declaredRevisions, parseTarget } from '../../../src/api/target.ts';
import { unsupportedFields } from '../../../src/api/unsupported.ts';
import { example, withSpec } from './example.ts';

function problems(document: unknown): readonly string[] {
  const parsed = parseTarget(document);
  return parsed.ok ? [] : parsed.problems.map(({ path, message }) => `${path}: ${message}`);
}

function specOf(document: unknown) {
  const parsed = parseTarget(document);
  if (!parsed.ok) throw new Error(JSON.stringify(parsed.problems));
  return parsed.target.spec;
}

describe('a declaration', () => {
  test('gets the defaults of what it leaves out', () => {
    expect(specOf(example)).toEqual({
      ...example.spec,
      suspend: false,
      interval: '5m',
      timeout: '30m',
      database: {
        ...example.spec.database,
        maintenanceDatabase: 'postgres',
        versionTable: 'alembic_version',
        versionTableSchema: 'public',
        lockTimeout: '5s',
      },
      alembic: { workingDir: '/app', config: 'alembic.ini', section: 'alembic', python: 'python3', xArgs: {}, env: [] },
      backup: { ...example.spec.backup, retention: { minAge: '24h', minCount: 3 } },
      policy: {
        rehearsal: 'Always',
        downgrade: 'Allow',
        restore: 'Allow',
        dataLoss: 'RequireApproval',
        drift: 'Report',
      },
      verify: { queries: [] },
    });
  });

  test('has the namespace "default" and no status until somebody says otherwise', () => {
    expect(parseTarget(example)).toMatchObject({
      ok: true,
      target: { metadata: { namespace: 'default', uid: '', deletionTimestamp: null, annotations: {} }, status: null },
    });
  });

  test('keeps the whole journal, of which only the head is known here', () => {
    const operation = { version: 1, id: 'o1', step: 'change', startedAt: 'now', plan: { steps: [{ revision: 'a' }] } };
    expect(parseTarget({ ...example, status: { observedGeneration: 1, operation } })).toMatchObject({
      ok: true,
      target: { status: { operation } },
    });
  });

  test('may carry what the API server adds to every object', () => {
    const metadata = { name: 'a', namespace: 'b', managedFields: [], resourceVersion: '1', creationTimestamp: 'x' };
    expect(problems({ ...example, metadata })).toEqual([]);
  });
});

describe('a revision', () => {
  test.each(['066', 'a', 'ae1027a6acf', 'v1.2_final', 'base', 'x'.repeat(32)])('%j is taken as it is', (revision) => {
    expect(specOf(withSpec({ revision })).revision).toBe(revision);
  });

  test.each([
    ['', 'spec.revision: the revision is empty: write the absolute id'],
    ['x'.repeat(33), 'spec.revision: not a revision id: write the absolute id'],
    ['-1', 'spec.revision: a revision cannot begin with "-" or "+"'],
    ['+1', 'spec.revision: a revision cannot begin with "-" or "+"'],
    ['--sql', 'spec.revision: a revision cannot begin with "-" or "+"'],
    ['head', 'spec.revision: "head" means something else after the next commit: write the absolute id'],
    ['heads', 'spec.revision: "head" means something else after the next commit: write the absolute id'],
    ['a:b', 'spec.revision: a range such as a:b is not a state of the database: write the absolute id'],
    ['x@y', 'spec.revision: a branch label such as label@head can move: write the absolute id'],
    ['$(id)', 'spec.revision: not a revision id'],
    [';DROP', 'spec.revision: not a revision id'],
    ['../../x', 'spec.revision: not a revision id'],
    ['a\n', 'spec.revision: not a revision id'],
    ['a\nb', 'spec.revision: not a revision id'],
    ['a\0', 'spec.revision: not a revision id'],
    ['a\u200Fb', 'spec.revision: not a revision id'],
    ['рev', 'spec.revision: not a revision id'],
    [123, 'spec.revision: write the revision in quotes, e.g. revision: "0123"'],
    [4e10, 'spec.revision: write the revision in quotes'],
    [true, 'spec.revision: write the revision in quotes'],
    [['a'], 'spec.revision: write the revision in quotes'],
    [null, 'spec.revision: is empty: write a value, or leave the field out'],
  ])('%j is refused with one sentence that says what to write', (revision, expected) => {
    const found = problems(withSpec({ revision }));
    expect(found).toHaveLength(1);
    expect(found[0]).toContain(expected);
  });

  test.each([
    [{ revision: undefined }, 'spec: write exactly one of revision and revisions'],
    [{ revisions: ['b'] }, 'spec: write exactly one of revision and revisions'],
    [{ revision: undefined, revisions: [] }, 'spec.revisions: write at least 1'],
    [{ revision: undefined, revisions: ['a', 'b', 'a'] }, 'spec.revisions[2]: "a" stands here twice: write it once'],
    [{ revision: undefined, revisions: ['a', 'base'] }, 'spec.revisions[1]: "base" is the state without any revision'],
    [{ revision: undefined, revisions: ['a', 'x@head'] }, 'spec.revisions[1]: a branch label'],
    [{ revision: undefined, revisions: [66, 'a'] }, 'spec.revisions[0]: write the revision in quotes'],
    [{ revision: undefined, revisions: ['x'.repeat(33)] }, 'spec.revisions[0]: not a revision id'],
  ])('and several of them: %j is refused', (change, expected) => {
    const found = problems(withSpec(change));
    expect(found).toHaveLength(1);
    expect(found[0]).toContain(expected);
  });

  test.each([
    [{ revision: 'a' }, ['a']],
    [{ revision: 'base' }, []],
    [{ revision: undefined, revisions: ['a', 'b'] }, ['a', 'b']],
  ])('%j declares the heads %j', (change, heads) => {
    expect(declaredRevisions(specOf(withSpec(change)))).toEqual(heads);
  });
});

describe('a mistake is told with what to write instead:', () => {
  const { database, alembic, backup } = example.spec;
  test.each<[string, unknown, string]>([
    [
      'containers beside workloads of a cluster',
      withSpec({
        application: {
          workloads: [
            { kind: 'Container', name: 'a' },
            { kind: 'CronJob', name: 'b' },
          ],
        },
      }),
      'spec.application: write workloads of one place: containers of a Docker host, or workloads of a cluster',
    ],
    [
      'containers where alembic runs in Jobs',
      withSpec({
        runtime: { kubernetes: { image: 'a' } },
        application: { workloads: [{ kind: 'Container', name: 'a' }] },
      }),
      'spec: runtime.kubernetes has no containers of a Docker host: write application.workloads of kind Deployment',
    ],
    [
      'workloads of a cluster where alembic runs in a container',
      withSpec({
        runtime: { docker: { container: 'a' } },
        application: { workloads: [{ kind: 'Deployment', name: 'a' }] },
      }),
      'spec: runtime.docker has no workloads of a cluster: write application.workloads of kind Container',
    ],
    [
      'two runtimes',
      withSpec({ runtime: { process: {}, docker: { container: 'a' } } }),
      'spec.runtime: write exactly one of',
    ],
    ['no runtime', withSpec({ runtime: {} }), 'spec.runtime: write exactly one of process, docker and kubernetes'],
    ['a runtime left out', withSpec({ runtime: undefined }), 'spec.runtime: is missing: write it. Where alembic'],
    [
      'two storages',
      withSpec({ backup: { storage: { directory: { path: '/x' }, s3: { bucket: 'b' } } } }),
      'spec.backup.storage: write exactly one of',
    ],
    [
      'a relative backup folder',
      withSpec({ backup: { storage: { directory: { path: 'x' } } } }),
      'write an absolute path',
    ],
    [
      'no source of the URL',
      withSpec({ database: { urlFrom: {} } }),
      'spec.database.urlFrom: write exactly one of secretKeyRef, file and env',
    ],
    [
      'the URL itself',
      withSpec({ database: { urlFrom: 'postgres://a:b@c/d' } }),
      'spec.database.urlFrom: write fields',
    ],
    [
      'a secret with a path in its name',
      withSpec({ database: { urlFrom: { secretKeyRef: { name: '../x', key: 'url' } } } }),
      'spec.database.urlFrom.secretKeyRef.name: write a name of',
    ],
    [
      'a key that is a path',
      withSpec({ database: { urlFrom: { secretKeyRef: { name: 'x', key: '..' } } } }),
      'spec.database.urlFrom.secretKeyRef.key: write a key of',
    ],
    [
      'a variable with value and valueFrom',
      withSpec({ alembic: { ...alembic, env: [{ name: 'A', value: '', valueFrom: { env: 'A' } }] } }),
      'spec.alembic.env[0]: write exactly one of value and valueFrom',
    ],
    [
      'a variable twice',
      withSpec({
        alembic: {
          ...alembic,
          env: [
            { name: 'A', value: '1' },
            { name: 'A', value: '2' },
          ],
        },
      }),
      'spec.alembic.env[1]: "A" stands here twice',
    ],
    [
      'an unquoted value',
      withSpec({ alembic: { ...alembic, env: [{ name: 'A', value: 1 }] } }),
      'spec.alembic.env[0].value: write text, in quotes',
    ],
    [
      'a URL handed over twice',
      withSpec({ alembic: { ...alembic, databaseUrl: { env: 'A', option: 'b' } } }),
      'spec.alembic.databaseUrl: write exactly one of env and option',
    ],
    [
      'flaskApp and context',
      withSpec({ alembic: { ...alembic, flaskApp: 'a:b', context: 'a:c' } }),
      'spec.alembic: write flaskApp or context, not both',
    ],
    [
      'a restore that the policy forbids',
      withSpec({ policy: { restore: 'Forbid' }, restoreFrom: { backup: 'b1' } }),
      'spec: policy.restore: Forbid forbids what restoreFrom asks for: write restore: Allow, or leave restoreFrom out',
    ],
    [
      'a backup that is a path',
      withSpec({ restoreFrom: { backup: '../b1' } }),
      'spec.restoreFrom.backup: write the id of a backup',
    ],
    ['a rehearsal', withSpec({ policy: { rehearsal: 'Sometimes' } }), 'spec.policy.rehearsal: write Always or Never'],
    [
      'an approval',
      withSpec({ policy: { dataLoss: 'Ask' } }),
      'spec.policy.dataLoss: write RequireApproval, Allow or Forbid',
    ],
    ['an interval of zero', withSpec({ interval: '0m0s' }), 'spec.interval: write a duration longer than zero'],
    [
      'words for a duration',
      withSpec({ timeout: '5 minutes' }),
      'spec.timeout: write a duration such as 30s, 5m, 1h30m or 7d',
    ],
    ['a misspelt field', withSpec({ databse: database }), 'spec.databse: unknown field: did you mean "database"?'],
    [
      'a misspelt field further down',
      withSpec({ backup: { ...backup, retention: { minage: '1h' } } }),
      'spec.backup.retention.minage: unknown field: did you mean "minAge"?',
    ],
    [
      'a field of another tool',
      withSpec({ chart: {} }),
      'spec.chart: unknown field: known are revision, revisions, suspend',
    ],
    [
      'a field where none belongs',
      withSpec({ runtime: { process: { image: 'x' } } }),
      'spec.runtime.process.image: unknown field: none is known here',
    ],
    [
      'a bucket that is a path',
      withSpec({ backup: { storage: { s3: { bucket: '../up' } } } }),
      'spec.backup.storage.s3.bucket: write the name of a bucket',
    ],
    [
      'a password in the URL of a service',
      withSpec({ backup: { storage: { s3: { bucket: 'abc', endpoint: 'http://a:b@c' } } } }),
      'spec.backup.storage.s3.endpoint: write a URL that begins with http:// or https://, without a password',
    ],
    [
      'an encryption that there is not',
      withSpec({ backup: { storage: { s3: { bucket: 'abc', serverSideEncryption: 'rot13' } } } }),
      'spec.backup.storage.s3.serverSideEncryption',
    ],
    ['another kind', { ...example, kind: 'Deployment' }, 'kind: write MigrationTarget'],
    [
      'another version',
      { ...example, apiVersion: 'migrationtarget.dev/v2' },
      'apiVersion: write migrationtarget.dev/v1alpha1',
    ],
    ['a name with capitals', { ...example, metadata: { name: 'Unicorn' } }, 'metadata.name: write lower-case letters'],
    ['a name that is a path', { ...example, metadata: { name: '../x' } }, 'metadata.name: write lower-case letters'],
    ['no name', { ...example, metadata: {} }, 'metadata.name: is missing: write it'],
    ['a list', [], ': write fields'],
    ['nothing', null, ': is empty'],
  ])('%s', (_name, document, expected) => {
    expect(problems(document).join('\n')).toContain(expected);
  });

  test('and no value is repeated, since it may be a secret', () => {
    expect(JSON.stringify(problems(withSpec({ database: { urlFrom: 'postgres://a:hunter2@c/d' } })))).not.toContain(
      'hunter2',
    );
  });
});

describe('the folder in a volume', () => {
  const storage = (path: string) =>
    withSpec({
      backup: { ...example.spec.backup, storage: { persistentVolumeClaim: { claimName: 'backups', path } } },
    });

  test.each(['/', '/production', 'a/b.c/'])('may be %s', (path) => {
    expect(specOf(storage(path)).backup.storage.persistentVolumeClaim?.path).toBe(path);
  });

  test.each(['..', '/../other', 'a/../../b', 'a//b', '/a/.hidden'])('is not %s', (path) => {
    expect(JSON.stringify(problems(storage(path)))).toContain('write a path of letters');
  });
});

describe('a field that nothing acts on', () => {
  test('is a claim of a cluster in a folder of declarations alone', () => {
    const storage = { persistentVolumeClaim: { claimName: 'backups' } };
    const spec = specOf(withSpec({ backup: { ...example.spec.backup, storage } }));
    expect(unsupportedFields(spec, 'kubernetes')).toEqual([]);
    expect(unsupportedFields(spec, 'directory')).toEqual([
      expect.stringMatching(/^spec\.backup\.storage\.persistentVolumeClaim, .*: declare the target in that cluster/),
    ]);
  });

  test.each<[string, Readonly<Record<string, unknown>>, RegExp]>([
    [
      'a workload',
      { application: { workloads: [{ kind: 'Deployment', name: 'a' }] } },
      /^spec\.application\.workloads of a cluster, .*: declare the target in that cluster/,
    ],
    [
      'Jobs',
      { runtime: { kubernetes: { image: 'a' } } },
      /^spec\.runtime\.kubernetes, .*: declare the target in the cluster/,
    ],
    ['a service account', { serviceAccountName: 'ops' }, /^spec\.serviceAccountName, .*: leave it out/],
  ])('is %s of a cluster in a folder of declarations alone', (_, change, expected) => {
    const spec = specOf(withSpec(change));
    expect(unsupportedFields(spec, 'kubernetes')).toEqual([]);
    expect(unsupportedFields(spec, 'directory')).toEqual([expect.stringMatching(expected)]);
  });

  test('is not one of the containers of a Docker host', () => {
    expect(
      unsupportedFields(
        specOf(withSpec({ runtime: { docker: { container: 'a', databaseContainer: 'b' } } })),
        'directory',
      ),
    ).toEqual([]);
  });

  test.each(['app;id', '../a', '/a', '-a'])('a container can not be called %j', (container) => {
    expect(problems(withSpec({ runtime: { docker: { container } } }))).toEqual([
      expect.stringContaining('spec.runtime.docker.container'),
    ]);
  });

  test('is not in a declaration of what this version does', () => {
    expect(unsupportedFields(specOf(example), 'directory')).toEqual([]);
  });
});
