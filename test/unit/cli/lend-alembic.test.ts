import { describe, expect, test } from '@jest/globals';
import { lendAlembic } from '../../../src/cli/lend-alembic.ts';
import type { AlembicRunner, AlembicSession, AlembicSettings } from '../../../src/rollback/ports.ts';

/** A runner that only notes what was started with, and what has ended. */
function recorder() {
  const started: AlembicSettings[] = [];
  const ended: number[] = [];
  const runner: AlembicRunner = {
    start: async (settings) => {
      const number = started.push(settings);
      const unused = (): never => {
        throw new Error('nobody asks anything here');
      };
      const session: AlembicSession = {
        where: '',
        image: null,
        archive: unused,
        graph: unused,
        prove: unused,
        warmUp: unused,
        migrate: unused,
        probe: unused,
        offlineSql: unused,
        [Symbol.asyncDispose]: async () => void ended.push(number),
      };
      return session;
    },
  };
  return { runner, started, ended };
}

function asking(operationId: string, signal = new AbortController().signal): AlembicSettings {
  const spec = { workingDir: '/app', config: 'alembic.ini', section: 'alembic', python: 'python3', xArgs: {}, env: [] };
  const versionTable = { schema: 'public', name: 'alembic_version' };
  return {
    spec,
    runtime: { process: {} },
    versionTable,
    databaseUrl: 'postgresql://a',
    operationId,
    copy: null,
    owner: null,
    lockTimeoutSeconds: 5,
    signal,
    env: {},
  };
}

describe('a lent Python', () => {
  test('outlives who started it, and serves the operation of the same id, who ends it', async () => {
    const { runner, started, ended } = recorder();
    await using lent = lendAlembic(runner);
    await (await lent.lender.start(asking('a')))[Symbol.asyncDispose]();
    expect(ended).toEqual([]);

    const inherited = await lent.heir.start(asking('a'));
    expect(started).toHaveLength(1);
    await inherited[Symbol.asyncDispose]();
    expect(ended).toEqual([1]);
  });

  test('is handed on once: who tries again gets a new one', async () => {
    const { runner, started } = recorder();
    await using lent = lendAlembic(runner);
    await lent.lender.start(asking('a'));
    await lent.heir.start(asking('a'));
    await lent.heir.start(asking('a'));
    expect(started).toHaveLength(2);
  });

  test('is ended, and not handed on, where anything else is asked for', async () => {
    const { runner, started, ended } = recorder();
    await using lent = lendAlembic(runner);
    await lent.lender.start(asking('a'));
    await lent.heir.start({ ...asking('a'), databaseUrl: 'postgresql://b' });
    expect(started).toHaveLength(2);
    expect(ended).toEqual([1]);
  });

  test('is ended where nobody asks for it', async () => {
    const { runner, ended } = recorder();
    {
      await using lent = lendAlembic(runner);
      await lent.lender.start(asking('a'));
    }
    expect(ended).toEqual([1]);
  });

  test('is interrupted by who has it now, not by who had it', async () => {
    const { runner, started } = recorder();
    await using lent = lendAlembic(runner);
    const [first, second] = [new AbortController(), new AbortController()];
    await lent.lender.start(asking('a', first.signal));
    await lent.heir.start(asking('a', second.signal));
    first.abort();
    expect(started[0]?.signal.aborted).toBe(false);
    second.abort();
    expect(started[0]?.signal.aborted).toBe(true);
  });
});
