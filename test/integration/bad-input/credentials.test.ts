/** Values that are missing, cut, or written as no URL is. */
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';

import { databaseUrl } from '../../support/postgres.ts';
import { said } from '../../support/scene.ts';
import { expectMessage, expectRefused, setSecret, watchedScene, type Refusal, type WatchedScene } from './support.ts';

const password = 'p@ss:w/rd?#%';

let scene: WatchedScene;
beforeAll(async () => {
  scene = await watchedScene({ database: { password } });
  await scene.goTo('a2');
});
afterAll(async () => {
  await scene[Symbol.asyncDispose]();
});

/** From where the URL is taken; `null` takes away what the scene declares. */
type Source = Readonly<Record<string, unknown>>;
const fromSecret = (name: string, key: string): Source => ({ secretKeyRef: { name, key }, file: null, env: null });
const fromFile = (file: string): Source => ({ secretKeyRef: null, file, env: null });
const fromVariable = (env: string): Source => ({ secretKeyRef: null, file: null, env });
const usual = fromSecret('unicorn', 'url');

const declare = async (urlFrom: Source, spec: Readonly<Record<string, unknown>> = {}) => {
  await scene.declare({ revision: 'a1', database: { urlFrom }, ...spec });
  return scene.reconcile();
};

describe('a value that is not there', () => {
  const refuse = (urlFrom: Source, says: Refusal['says']) =>
    expectRefused(scene, () => declare(urlFrom), { reason: 'SecretNotFound', says });
  const goOn = 'migration-target reconcile unicorn';

  test('the secret', async () => {
    const file = join(scene.dir, 'secrets', 'nobody', 'url');
    await refuse(fromSecret('nobody', 'url'), [
      'The key url of the secret nobody',
      `install -D -m 600 /dev/stdin ${file}`,
      goOn,
    ]);
  });

  test('the key in it', async () => {
    const file = join(scene.dir, 'secrets', 'unicorn', 'nothing');
    await refuse(fromSecret('unicorn', 'nothing'), ['The key nothing of the secret unicorn', file, goOn]);
  });

  test('the file', async () => {
    const file = join(scene.dir, 'nothing');
    await refuse(fromFile(file), [`The file ${file} does not exist`, goOn]);
  });

  test('what the file holds', async () => {
    const file = join(scene.dir, 'empty');
    await writeFile(file, '\n');
    await refuse(fromFile(file), [`The file ${file} is empty`, goOn]);
  });

  test('a folder in its place', async () => {
    const folder = join(scene.dir, 'folder');
    await mkdir(folder);
    await refuse(fromFile(folder), [`The file ${folder} is not a file`, goOn]);
  });

  test('the variable', async () => {
    await refuse(fromVariable('MT_TEST_NOT_SET'), [
      'The variable MT_TEST_NOT_SET is not set',
      'export MT_TEST_NOT_SET=',
      goOn,
    ]);
  });

  test('one that env.py is to have: nothing is begun without it', async () => {
    const env = [{ name: 'TOKEN', valueFrom: { secretKeyRef: { name: 'nobody', key: 'token' } } }];
    const visit = () => declare(usual, { alembic: { ...scene.project.alembic, env } });
    await expectRefused(scene, visit, { reason: 'SecretNotFound', says: ['The key token of the secret nobody', goOn] });
    await scene.declare({ alembic: scene.project.alembic });
  });

  test('is looked for again when somebody asks, and then all goes on', async () => {
    const file = join(scene.dir, 'later');
    await refuse(fromFile(file), [file, goOn]);
    await writeFile(file, scene.database.url);
    expect(said((await scene.reconcile({ kind: 'apply' })).outcome)).toMatch(/^ready Downgraded: /);
    await rm(file);
    await scene.declare({ database: { urlFrom: usual } });
    expect(said((await scene.goTo('a2')).outcome)).toMatch(/^ready Upgraded: /);
  });
});

describe('a URL', () => {
  const refuse = async (text: string, refusal: Refusal) => {
    const visit = async () => {
      await scene.declare({ revision: 'a1', database: { urlFrom: usual } });
      await setSecret(scene, 'url', text);
      return scene.reconcile();
    };
    await expectRefused(scene, visit, refusal);
  };
  const unencoded = (): string => {
    const { username, host, pathname } = new URL(scene.database.url);
    return `postgresql://${username}:${password}@${host}${pathname}`;
  };

  test('whose password holds @:/ unencoded is refused without telling the password', async () => {
    const says = ['spec.database.urlFrom', 'percent-encoded (e.g. @ as %40)', /^((?!p@ss|w\/rd).)*$/s];
    await refuse(unencoded(), { reason: 'DatabaseUrlInvalid', says });
    await refuse('postgresql://u:p@:/@h/d', { reason: 'DatabaseUrlInvalid', says });
  });

  test('with a line break in the middle is refused, not read without it', async () => {
    const says = ['spec.database.urlFrom', 'line break'];
    await refuse(scene.database.url.replace('@', '\n@'), { reason: 'DatabaseUrlInvalid', says });
    await refuse(`${scene.database.url}\n\n`, { reason: 'DatabaseUrlInvalid', says });
  });

  test.each([
    ['of another scheme', 'mysql://u:hidden@h/d', 'does not start with postgresql://'],
    ['that is a sentence', 'the password is hidden', 'does not start with postgresql://'],
    ['that names another host in its parameters', 'postgresql://u:hidden@h/d?host=evil', 'sets host as a parameter'],
    ['without a database', 'postgresql://u:hidden@h/', 'names no database'],
    ['without a user', 'postgresql://h/d', 'names no user'],
    ['of several hosts', 'postgresql://u:hidden@a,b/d', 'names several hosts'],
  ])('%s is refused', async (_, text, cause) => {
    await refuse(text, { reason: 'DatabaseUrlInvalid', says: [cause, 'spec.database.urlFrom', /^((?!hidden).)*$/s] });
  });

  test('with the wrong password or database is refused in the words of the server', async () => {
    const { url, name, owner } = scene.database;
    const wrong = databaseUrl(url, { password: 'wr0ng' });
    const says = [owner, 'password authentication failed', 'migration-target reconcile unicorn', /^((?!wr0ng).)*$/s];
    await refuse(wrong, { reason: 'AuthenticationFailed', says });
    const nowhere = databaseUrl(url, { database: `${name}x` });
    await refuse(nowhere, { reason: 'DatabaseNotFound', says: [`"${name}x" does not exist`, 'createdb'] });
  });

  test('of a server that does not answer is tried again, and nothing is begun', async () => {
    const silent = new URL(scene.database.url);
    silent.port = '1';
    const says = ['127.0.0.1:1', 'ECONNREFUSED', 'tried again by itself'];
    await refuse(silent.href, { reason: 'DatabaseUnreachable', kind: 'retrying', says });
  });

  test('with a trailing newline reaches its database', async () => {
    for (const end of ['\n', '\r\n']) {
      await scene.declare({ revision: 'a2', interval: end === '\n' ? '7m' : '8m', database: { urlFrom: usual } });
      await setSecret(scene, 'url', `${scene.database.url}${end}`);
      const { outcome } = await scene.reconcile();
      expect(said(outcome)).toMatch(/^ready /);
      expectMessage(outcome.message, [scene.database.name]);
    }
  });
});
