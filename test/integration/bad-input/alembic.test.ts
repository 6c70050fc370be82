/** Interpreters, configurations and env.py files that can't do what is declared. */
import { readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';

import { run } from '../../../scripts/lib/run.ts';
import { python } from '../../support/alembic.ts';
import { contentChecksum, createDatabase } from '../../support/postgres.ts';
import { expectRefused, major, shellMarker, watchedScene, writePrograms, type WatchedScene } from './support.ts';

let scene: WatchedScene;
let envPy: string;
beforeAll(async () => {
  scene = await watchedScene();
  await scene.goTo('a2');
  envPy = await readFile(scene.project.envPyPath, 'utf8');
});
afterAll(async () => {
  await scene[Symbol.asyncDispose]();
});

const goOn = 'migration-target reconcile unicorn';

/** Declares the next revision with another `spec.alembic`; each time a declaration of its own. */
let declared = 0;
const upgradeWith = (alembic: Readonly<Record<string, unknown>>, spec: Readonly<Record<string, unknown>> = {}) => {
  declared += 1;
  return scene.goTo('a3', {
    interval: `${declared}m`,
    timeout: '30m',
    ...spec,
    alembic: { ...scene.project.alembic, ...alembic },
  });
};

describe('the interpreter', () => {
  test('that is not there, whatever a shell would make of its name', async () => {
    await using marker = shellMarker();
    for (const name of ['/nonexistent/python', `$(touch ${marker.path})`, `python3; touch ${marker.path}`]) {
      const says = [name, 'spec.alembic.python', goOn];
      await expectRefused(scene, () => upgradeWith({ python: name }), { reason: 'PythonNotFound', says });
    }
    await marker.expectAbsent();
  });

  test('that has no alembic', async () => {
    await using bare = await writePrograms(['python'], `#!/bin/sh\nexec ${await python()} -S "$@"\n`);
    const path = join(bare.dir, 'python');
    const says = [path, 'pip install', 'alembic', goOn];
    await expectRefused(scene, () => upgradeWith({ python: path }), { reason: 'AlembicNotFound', says });
  });
});

describe('the configuration', () => {
  test('that is missing', async () => {
    const file = join(scene.project.dir, 'alembic.ini');
    await rename(file, `${file}.away`);
    const says = ['alembic.ini', 'spec.alembic.workingDir', goOn];
    try {
      await expectRefused(scene, () => upgradeWith({}), { reason: 'AlembicConfigNotFound', says });
    } finally {
      await rename(`${file}.away`, file);
    }
  });

  test('in a folder that is missing', async () => {
    const says = ['/nonexistent', 'spec.alembic.workingDir', goOn];
    const visit = () => upgradeWith({ workingDir: '/nonexistent' });
    await expectRefused(scene, visit, { reason: 'AlembicConfigNotFound', says });
  });

  test('without the section', async () => {
    const says = ['alembic.ini', 'nosuch', goOn];
    await expectRefused(scene, () => upgradeWith({ section: 'nosuch' }), { reason: 'AlembicConfigNotFound', says });
  });
});

describe('an env.py', () => {
  const begins = 'operation';
  const write = (text: string): Promise<void> => writeFile(scene.project.envPyPath, text);

  test('that raises at import', async () => {
    await write('\nimport nowhere_to_be_found\n');
    const says = ['nowhere_to_be_found', 'migrations/env.py:2', 'is at a2, as before', goOn];
    await expectRefused(scene, () => upgradeWith({}), { reason: 'AlembicFailed', says, begins });
  });

  test('that ends with 0 having done nothing', async () => {
    await write('from alembic import context\n');
    const says = ['0 of 1', 'is at a2, as before', goOn];
    await expectRefused(scene, () => upgradeWith({}), { reason: 'UpgradeFailed', says, begins });
    await write('import os\nprint("bye", flush=True)\nos._exit(0)\n');
    const ended = ['exit code 0', 'bye', 'is at a2, as before', goOn];
    await expectRefused(scene, () => upgradeWith({}), { reason: 'UpgradeFailed', says: ended, begins });
  });

  test('that reaches another database than the declared one, which stays as it is', async () => {
    await using other = await createDatabase(major, { sql: 'CREATE TABLE t AS SELECT generate_series(1, 10) i' });
    const content = await contentChecksum(other.adminUrl);
    await write(envPy.replace('os.environ["DATABASE_URL"]', JSON.stringify(other.url)));
    const says = [other.name, scene.database.name, 'is at a2, as before', goOn];
    await expectRefused(scene, () => upgradeWith({}), { reason: 'WrongDatabase', says, begins });
    expect(await contentChecksum(other.adminUrl)).toBe(content);
  });

  test('that hangs is killed when the time is over, with all that it started', async () => {
    const pids = join(scene.project.dir, 'pids');
    await write(`import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
with open(${JSON.stringify(pids)}, "w") as file:
    file.write(f"{os.getpid()} {child.pid}")
time.sleep(600)
`);
    const says = ['in time', 'migrations/env.py:5', 'is at a2, as before', goOn];
    await expectRefused(scene, () => upgradeWith({}, { timeout: '15s' }), { reason: 'TimedOut', says, begins });
    for (const pid of (await readFile(pids, 'utf8')).split(' '))
      expect([pid, await isRunning(pid)]).toEqual([pid, false]);
    const sessions = `SELECT application_name FROM pg_stat_activity WHERE datname = '${scene.database.name}' AND application_name LIKE 'migration-target/%'`;
    expect(await scene.query(sessions)).toEqual([]);
  });
});

/** A process that nobody waits for stays as a zombie where the container has no init: that is gone, too. */
async function isRunning(pid: string): Promise<boolean> {
  const { stdout } = await run('ps', ['-o', 'stat=', '-p', pid]);
  return stdout.trim() !== '' && !stdout.trim().startsWith('Z');
}
