import { describe, expect, test } from '@jest/globals';
import { childEnvironment, inheritedEnvironment } from '../../../src/adapters/alembic/child-environment.ts';
import { lineSplitter } from '../../../src/adapters/alembic/lines.ts';
import { masker } from '../../../src/adapters/alembic/mask.ts';
import type { AlembicSettings } from '../../../src/rollback/ports.ts';

describe('the environment of Python', () => {
  test('finds programs and libraries, and knows none of the controller’s secrets', () => {
    const own = {
      PATH: '/bin',
      HOME: '/root',
      LC_ALL: 'C',
      PYTHONPATH: '/lib',
      PGPASSWORD: 'x',
      AWS_SECRET_ACCESS_KEY: 'x',
      KUBECONFIG: 'x',
      PATHOLOGY: 'x',
      EMPTY: undefined,
    };
    expect(inheritedEnvironment(own)).toEqual({ PATH: '/bin', HOME: '/root', LC_ALL: 'C', PYTHONPATH: '/lib' });
  });

  const spec = (env: AlembicSettings['spec']['env']): AlembicSettings['spec'] => ({
    workingDir: '/app',
    config: 'alembic.ini',
    section: 'alembic',
    python: 'python3',
    xArgs: {},
    env,
  });

  test('what is declared wins', () => {
    const declared = { PATH: '/app/bin', PYTHONDONTWRITEBYTECODE: '' };
    const env = Object.entries(declared).map(([name, value]) => ({ name, value }));
    expect(childEnvironment(declared, spec(env), { PGAPPNAME: 'op1' })).toEqual({
      env: { PATH: '/app/bin', PYTHONDONTWRITEBYTECODE: '', PGAPPNAME: 'op1' },
      secrets: {},
    });
  });

  test('what does not stand in the YAML is not what it is started with', () => {
    const declared = { KEY: 'secret', DATABASE_URL: 'postgresql://u:p@h/d', PGDATABASE: 'd', PYTHONPATH: '/lib' };
    const env = ['KEY', 'PYTHONPATH'].map((name) => ({
      name,
      valueFrom: { secretKeyRef: { name: 'app', key: name } },
    }));
    expect(childEnvironment(declared, spec(env), { PGDATABASE: 'd' })).toEqual({
      // Python reads it when it starts, and never again.
      env: { PYTHONDONTWRITEBYTECODE: '1', PGDATABASE: 'd', PYTHONPATH: '/lib' },
      secrets: { KEY: 'secret', DATABASE_URL: 'postgresql://u:p@h/d' },
    });
  });
});

describe('lines', () => {
  const linesOf = (longest: number, ...chunks: readonly Buffer[]): readonly string[] => {
    const lines: string[] = [];
    const splitter = lineSplitter(longest, (line) => lines.push(line));
    for (const chunk of chunks) splitter.push(chunk);
    splitter.end();
    return lines;
  };
  const snowman = Buffer.from('☃');

  test('are put together from chunks, a character cut in two as well', () => {
    expect(
      linesOf(99, Buffer.from('one\ntw'), Buffer.from('o\r\n'), snowman.subarray(0, 1), snowman.subarray(1)),
    ).toEqual(['one', 'two', '☃']);
  });

  test('are cut where they are too long, whatever the chunks', () => {
    expect(linesOf(4, Buffer.from('abcdef'), Buffer.from('ghi\njk'))).toEqual(['abcd', 'jk']);
  });
});

describe('the mask', () => {
  test('hides secrets, a longer one before one that it contains, and the password of any URL', () => {
    const mask = masker(['pass', 'password', '']);
    expect(mask('the password is pass at postgresql+psycopg://me:other@h/d and http://h/')).toBe(
      'the *** is *** at postgresql+psycopg://me:***@h/d and http://h/',
    );
  });
});
