/** What a target leaves behind when its declaration goes, and how much it remembers while it is there. */
import { readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { describe, expect, test } from '@jest/globals';

import { contentChecksum } from '../../support/postgres.ts';
import { createScene, said, threeSteps } from '../../support/scene.ts';
import { contentOf } from '../cli/bench.ts';
import { runController } from '../bad-input/controller.ts';

const key = { namespace: 'default', name: 'unicorn' };

describe('the history of a target', () => {
  test('has its last 5 operations, newest first', async () => {
    await using scene = await createScene(16, { history: threeSteps });
    await scene.goTo('a1');
    const ids: string[] = [];
    for (const revision of ['a2', 'a3', 'a2', 'a3', 'a1']) {
      const { status } = await scene.goTo(revision);
      ids.unshift(status.history[0]?.operationId ?? '');
      expect(status.history.length).toBe(Math.min(ids.length + 1, 5));
    }
    const { history } = await scene.status();
    expect(history.map(({ operationId }) => operationId)).toEqual(ids);
    expect(history.map(({ kind, to }) => `${kind} ${to.join()}`)).toEqual([
      'downgrade a1',
      'upgrade a3',
      'downgrade a2',
      'upgrade a3',
      'upgrade a2',
    ]);
    for (const { report } of history) expect((await readFile(report ?? '', 'utf8')).length).toBeGreaterThan(0);
  });
});

describe('a target whose declaration is deleted', () => {
  test('leaves its database and its backups as they are, and goes on from there when it is declared again', async () => {
    await using scene = await createScene(16, { history: threeSteps });
    await scene.goTo('a3');
    await scene.goTo('a2');
    const { history } = await scene.status();
    const file = join(scene.dir, 'targets', 'unicorn.yaml');
    const declaration = await readFile(file, 'utf8');
    const [content, backups] = [await contentChecksum(scene.database.adminUrl), await contentOf(scene.backups)];
    expect(await readdir(scene.backups)).not.toEqual([]);

    await rm(file);
    // So that the controller has something to look at.
    await writeFile(join(scene.dir, 'targets', 'neighbour.yaml'), '');
    const { declared } = await runController(scene);
    expect([...declared.keys()]).toEqual(['neighbour']);
    expect(await scene.ports.home.get(key)).toBeNull();
    expect(await contentChecksum(scene.database.adminUrl)).toBe(content);
    expect(await contentOf(scene.backups)).toEqual(backups);
    expect(await scene.databases()).toEqual([scene.database.name]);

    await writeFile(file, declaration);
    const { outcome, status } = await scene.reconcile();
    expect(said(outcome)).toMatch(/^ready Downgraded: /);
    expect(status.history).toEqual(history);
    expect(await contentChecksum(scene.database.adminUrl)).toBe(content);
  });
});
