/** examples/kubernetes/ops-center as somebody has it who copied it: with images, databases, and a bucket of his own. */
import { randomBytes } from 'node:crypto';
import { cp, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';

import { parse, stringify } from 'yaml';

import type { MigrationTarget } from '../../src/api/target.ts';
import { clusterDatabase, images, type ClusterDatabase, type InNamespace } from './cluster.ts';
import { databaseUrl, query } from './postgres.ts';
import { createBucket, startS3Server, type TestBucket } from './s3.ts';

const root = join(import.meta.dirname, '../..');

export interface OpsCenter extends AsyncDisposable {
  /** The folder of a kustomization of `manifests`, with our image, for that namespace. */
  readonly manifests: string;
  readonly bucket: TestBucket;
  /** What is secret in the Secrets. */
  readonly passwords: readonly string[];
  /** The application's database, as its owner, from this machine. */
  readonly url: string;
  version(): Promise<string>;
  /** Applies the application and its target, as a commit of two lines changes them. */
  release(image: string, revision: string): Promise<void>;
  /** Applies the target `unicorn-db-18`: a database on PostgreSQL 18, and the migrations of what is released. Nothing runs on it. */
  declare18(revision: string): Promise<void>;
  version18(): Promise<string>;
}

/** In a namespace that is there, and whatever is made goes with it. Nothing is applied yet. */
export async function opsCenter(ns: InNamespace): Promise<OpsCenter> {
  const password = `owner-${randomBytes(6).toString('hex')}`;
  const [dir, server, database, database18] = await Promise.all([
    mkdtemp(join(tmpdir(), 'migration-target-ops-center-')),
    startS3Server({ address: ns.cluster.machineAddress }),
    clusterDatabase(ns).then((of) => ownDatabase(of, password)),
    clusterDatabase(ns, 'postgresql-18', images.postgres18).then((of) => ownDatabase(of, password)),
  ]);
  const bucket = await createBucket(server);
  const secret = async (name: string, values: Readonly<Record<string, string>>): Promise<unknown> => {
    const literals = Object.entries(values).map(([key, value]) => `--from-literal=${key}=${value}`);
    return ns.kubectl(['create', 'secret', 'generic', name, ...literals]);
  };
  await secret('unicorn-db', { url: database.inPods, url18: database18.inPods });
  await secret('backups', { accessKeyId: server.accessKeyId, secretAccessKey: server.secretAccessKey });
  await ns.apply({
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name: 'ops-center' },
    spec: { selector: { 'app.kubernetes.io/name': 'ops-center' }, ports: [{ port: 8084 }] },
  });
  const address = await ns.kubectl(['get', 'service', 'ops-center', '--output=jsonpath={.spec.clusterIP}']);

  const [manifests, application] = [join(dir, 'manifests'), join(dir, 'ops-center')];
  await mkdir(manifests);
  const ours = named('migration-target', images.controller);
  await writeFile(
    join(manifests, 'kustomization.yaml'),
    stringify({ namespace: ns.name, resources: [relative(manifests, join(root, 'manifests'))], images: [ours] }),
  );
  await cp(join(root, 'examples/kubernetes/ops-center'), application, { recursive: true });
  const kustomization = parse(await readFile(join(application, 'kustomization.yaml'), 'utf8')) as object;
  const target = await readFile(join(application, 'migration-target.yaml'), 'utf8');
  const { s3 } = bucket.storage();
  const own = {
    // For as long as a test holds a table.
    database: { lockTimeout: '5m' },
    application: { healthCheck: { url: `http://${address}:8084/api/v1/system/status`, timeout: '2m' } },
    backup: { storage: { s3: { bucket: s3.bucket, endpoint: s3.endpoint, region: server.region } } },
  };
  return {
    manifests,
    bucket,
    passwords: [password, server.secretAccessKey],
    url: database.here,
    version: () => versionOf(database.here),
    version18: () => versionOf(database18.here),
    async release(image, revision) {
      const changed = {
        ...kustomization,
        images: [named('ops-center', image), ours],
        patches: [{ target: { kind: 'MigrationTarget' }, patch: stringify(patchOf(own)) }],
      };
      await writeFile(join(application, 'kustomization.yaml'), stringify(changed));
      const line = /^ {2}revision: .*$/m;
      await writeFile(join(application, 'migration-target.yaml'), target.replace(line, `  revision: '${revision}'`));
      await ns.kubectl(['apply', '--kustomize', application]);
    },
    async declare18(revision) {
      const declared = parse(target) as MigrationTarget;
      const spec = {
        ...declared.spec,
        revision,
        database: { urlFrom: { secretKeyRef: { name: 'unicorn-db', key: 'url18' } } },
        runtime: { kubernetes: { deployment: { name: 'ops-center' } } },
        application: undefined,
        backup: {
          storage: { s3: { ...declared.spec.backup.storage.s3, ...own.backup.storage.s3, prefix: 'unicorn-db-18' } },
        },
      };
      await ns.apply({ ...declared, metadata: { name: 'unicorn-db-18' }, spec });
    },
    async [Symbol.asyncDispose]() {
      await server.stop();
      await rm(dir, { recursive: true });
    },
  };
}

/** The application's database on that server, as its owner: the URLs for this machine and for pods. */
async function ownDatabase(
  on: ClusterDatabase,
  password: string,
): Promise<{ readonly here: string; readonly inPods: string }> {
  const admin = await on.adminUrl();
  await query(admin, `CREATE ROLE unicorn LOGIN CREATEDB PASSWORD '${password}'`);
  await query(admin, 'CREATE DATABASE unicorn_db OWNER unicorn');
  const asOwner = { user: 'unicorn', password, database: 'unicorn_db' };
  return { here: databaseUrl(admin, asOwner), inPods: databaseUrl(on.url, asOwner) };
}

async function versionOf(url: string): Promise<string> {
  const rows = await query<{ version_num: string }>(url, 'SELECT version_num FROM alembic_version');
  return rows.map(({ version_num }) => version_num).join();
}

/** An image in the place of the one of that name, as a kustomization says it. */
function named(name: string, image: string): { readonly name: string; readonly newName: string; newTag: string } {
  const [newName = '', newTag = ''] = image.split(':');
  return { name, newName, newTag };
}

const patchOf = (spec: object): object => ({
  apiVersion: 'migrationtarget.dev/v1alpha1',
  kind: 'MigrationTarget',
  metadata: { name: 'unicorn-db' },
  spec,
});
