/**
 * A controller in a pod acts for everybody who may write a MigrationTarget: what would be done or read as the
 * controller itself is refused, unless it was started with leave to.
 */
import { access, chmod, mkdir, readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from '@jest/globals';
import { createKubernetesHome, type KubernetesHome } from '../../src/adapters/kubernetes/home.ts';
import { permissions, type Permission } from '../../src/rollback/allowed.ts';
import { python } from '../support/alembic.ts';
import { condition, operatorFor, place, podOf, useCluster, type Place } from '../support/place.ts';
import { contentChecksum } from '../support/postgres.ts';

useCluster();

const exists = (path: string): Promise<boolean> =>
  access(path).then(
    () => true,
    () => false,
  );

/** A Python that leaves a file behind when it is started. */
async function tellingPython(
  dir: string,
): Promise<{ readonly path: string; readonly wasStarted: () => Promise<boolean> }> {
  const [path, mark] = [join(dir, 'python'), join(dir, 'started')];
  await writeFile(path, `#!/bin/sh\n: > '${mark}'\nexec '${await python()}' "$@"\n`);
  await chmod(path, 0o755);
  return { path, wasStarted: () => exists(mark) };
}

interface Row {
  readonly permission: Permission;
  readonly field: string;
  /** What is declared beside a Python and a folder, which every target here has. */
  readonly database: (here: Place) => object;
}

const fromSecret = () => ({ urlFrom: { secretKeyRef: { name: 'unicorn' } } });
const rows: readonly Row[] = [
  { permission: 'process', field: 'spec.runtime.process', database: fromSecret },
  { permission: 'directory', field: 'spec.backup.storage.directory', database: fromSecret },
  {
    permission: 'file',
    field: 'spec.database.urlFrom.file',
    database: ({ dir }) => ({ urlFrom: { secretKeyRef: null, file: join(dir, 'url') } }),
  },
  {
    permission: 'env',
    field: 'spec.database.urlFrom.env',
    database: () => ({ urlFrom: { secretKeyRef: null, env: 'UNICORN_URL' } }),
  },
];

describe('in a pod', () => {
  test.each(rows)(
    'a target that declares $field is Stalled with NotAllowed and nothing is begun, until --allow has $permission',
    async ({ permission, field, database }) => {
      const here = await place();
      const pod = await podOf(here, { UNICORN_URL: here.database.url });
      await writeFile(join(here.dir, 'url'), here.database.url, { mode: 0o600 });
      const { path, wasStarted } = await tellingPython(here.dir);
      const before = await contentChecksum(here.database.adminUrl);
      const others = permissions.filter((one) => one !== permission);
      const refusing = await operatorFor(here, { pod, args: [`--allow=${others.join(',')}`] });

      await here.apply('unicorn', 'a1', { database: database(here), alembic: { python: path } });
      await here.wait('unicorn', 'condition=Stalled');

      const target = await here.target('unicorn');
      const message = expect.stringMatching(`^In a pod ${field} would .*--allow=${permission} `);
      expect(condition(target, 'Stalled')).toMatchObject({ reason: 'NotAllowed', message });
      expect(condition(target, 'Ready')).toMatchObject({ status: 'False', reason: 'NotAllowed', message });
      expect(await here.kubectl(['describe', 'mtgt', 'unicorn'])).toMatch(/Warning +NotAllowed .*In a pod spec\./);
      expect(await contentChecksum(here.database.adminUrl)).toBe(before);
      expect([await wasStarted(), await exists(here.backups)]).toEqual([false, false]);
      // Told to stop, it leaves its Lease to the next one at once.
      refusing.kill('SIGTERM');
      expect(await refusing.ended).toBe(0);

      // Said in two parts: both count.
      await operatorFor(here, { pod, args: [`--allow=${permission}`, '--allow', others.join(',')] });
      await here.wait('unicorn', 'condition=Ready');
      expect(await here.version()).toBe('a1');
      expect(await wasStarted()).toBe(true);
      expect(await readdir(here.backups)).not.toEqual([]);
    },
  );

  test('a controller that was given no --allow tells every field that is refused, in one condition', async () => {
    const here = await place();
    await operatorFor(here, { pod: await podOf(here) });
    await here.apply('unicorn', 'a1', { database: { urlFrom: { secretKeyRef: null, file: join(here.dir, 'url') } } });
    await here.wait('unicorn', 'condition=Stalled');
    expect(condition(await here.target('unicorn'), 'Ready')?.message).toMatch(
      /^In a pod spec\.database\.urlFrom\.file, spec\.runtime\.process, spec\.backup\.storage\.directory .*--allow=file,process,directory /,
    );
  });
});

describe('a value', () => {
  const homes: KubernetesHome[] = [];
  afterEach(async () => {
    for (const home of homes.splice(0)) await home[Symbol.asyncDispose]();
  });

  /** Talks to no cluster: neither source needs one. */
  async function openInPod(podRoot: string, allow: readonly Permission[]): Promise<KubernetesHome> {
    const env = { HOME: podRoot, KUBERNETES_SERVICE_HOST: '127.0.0.1', UNICORN_URL: 'from the variable' };
    const home = await createKubernetesHome({ podRoot, env, allow });
    homes.push(home);
    return home;
  }

  test.each([
    ['file', 'env', 'from the file'],
    ['env', 'file', 'from the variable'],
  ] as const)(
    'from %s is refused in a pod, with --allow=%s too, and read with its own permission',
    async (permission, other, value) => {
      const { dir } = await place();
      const account = join(dir, 'var/run/secrets/kubernetes.io/serviceaccount');
      await mkdir(account, { recursive: true });
      await writeFile(join(account, 'token'), 'token');
      await writeFile(join(dir, 'url'), 'from the file\n', { mode: 0o600 });
      const source = permission === 'file' ? { file: join(dir, 'url') } : { env: 'UNICORN_URL' };

      for (const allow of [[], permissions.filter((one) => one !== permission)]) {
        await expect(
          (await openInPod(dir, allow)).resolve(source, { namespace: 'default', name: 'unicorn' }),
        ).rejects.toMatchObject({
          kind: 'stalled',
          reason: 'NotAllowed',
          message: expect.stringContaining(`--allow=${permission}`),
        });
      }
      expect(
        await (await openInPod(dir, [permission])).resolve(source, { namespace: 'default', name: 'unicorn' }),
      ).toBe(value);
      const neither = await openInPod(dir, [other]);
      await expect(neither.resolve(source, { namespace: 'default', name: 'unicorn' })).rejects.toMatchObject({
        reason: 'NotAllowed',
      });

      await rm(join(account, 'token'));
      await expect(openInPod(dir, [permission])).rejects.toThrow('this is no pod');
    },
  );
});
