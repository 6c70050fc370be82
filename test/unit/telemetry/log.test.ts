import { describe, expect, test } from '@jest/globals';
import { createLogger, logOperation, targetLogger } from '../../../src/telemetry/log.ts';
import { redact } from '../../../src/rollback/redact.ts';
import { key } from './targets.ts';

function setUp(level?: string) {
  const lines: string[] = [];
  const logger = createLogger({ level, destination: { write: (line) => void lines.push(line) } });
  return { logger, lines, parsed: () => lines.map((line): unknown => JSON.parse(line)) };
}

describe('the log', () => {
  test('names target, namespace and operation on each line of an operation', () => {
    const { logger, parsed } = setUp('debug');
    logOperation(logger, key, 'op1', { kind: 'step', step: 'backup', state: 'started' });
    logOperation(logger, key, 'op1', { kind: 'step', step: 'backup', state: 'failed', ms: 12, message: 'disk full' });
    logOperation(logger, key, 'op1', { kind: 'progress', step: 'backup', done: 1, total: 2, what: 'tables' });
    logOperation(logger, key, 'op1', {
      kind: 'migration',
      event: { kind: 'finished', step: { direction: 'down', revision: 'b2' }, index: 0, total: 1, ms: 5 },
    });
    logOperation(logger, key, 'op1', { kind: 'migration', event: { kind: 'output', line: 'hello' } });
    logOperation(logger, key, 'op1', { kind: 'note', level: 'warn', message: 'careful' });
    const common = { namespace: 'ops-center', target: 'unicorn-db', operation: 'op1' };
    expect(parsed()).toEqual([
      expect.objectContaining({
        ...common,
        level: 'info',
        msg: 'backup started',
        step: 'backup',
        time: expect.stringMatching(/Z$/),
      }),
      expect.objectContaining({ ...common, level: 'error', msg: 'backup failed: disk full', ms: 12 }),
      expect.objectContaining({ ...common, level: 'debug', msg: 'tables: 1 of 2' }),
      expect.objectContaining({ ...common, level: 'info', msg: 'downgrade of b2 finished', ms: 5 }),
      expect.objectContaining({ ...common, level: 'info', msg: 'hello', source: 'alembic' }),
      expect.objectContaining({ ...common, level: 'warn', msg: 'careful' }),
    ]);
  });

  test('says nothing below its level', () => {
    const { logger, lines } = setUp('warn');
    logOperation(logger, key, 'op1', { kind: 'step', step: 'backup', state: 'started' });
    expect(lines).toEqual([]);
  });

  test('refuses a level that is none', () => {
    expect(() => setUp('loud')).toThrow(/LOG_LEVEL is "loud".*trace, debug, info/);
  });

  test('never shows a secret, be it a field, a part of an error or of a message', () => {
    const { logger, lines, parsed } = setUp();
    const log = targetLogger(logger, key);
    log.info({ url: 'postgresql://u:hunter2@h/d', settings: { password: 'hunter2' } }, 'fields');
    log.error({ err: new Error('no route to "postgresql://u:hunter2@h:5432/d"') }, 'failed: password=hunter2 host=h');
    expect(lines.join('')).not.toContain('hunter2');
    expect(parsed()).toHaveLength(2);
    expect(lines[1]).toContain('postgresql://u:***@h:5432/d');
  });
});

describe('redaction', () => {
  test.each([
    ['postgresql://u:p@h/d', 'postgresql://u:***@h/d'],
    ['postgresql://u:p@:/x@h/d', 'postgresql://u:***@h/d'],
    ['postgresql+asyncpg://u:p%40@h', 'postgresql+asyncpg://u:***@h'],
    ['postgresql://u@h/d', 'postgresql://u@h/d'],
    ["host=h password='two words' user=u", 'host=h password=*** user=u'],
    ['PGPASSWORD=p psql', 'PGPASSWORD=*** psql'],
    ['?sslpassword=p&x=1', '?sslpassword=***&x=1'],
    ['Authorization: Bearer abc.def', 'Authorization: Bearer ***'],
    ['token=abc&x=1', 'token=***&x=1'],
    ['client_secret = abc', 'client_secret = ***'],
    ['AWS_SECRET_ACCESS_KEY=abc api-key=abc', 'AWS_SECRET_ACCESS_KEY=*** api-key=***'],
    ['the password is wrong', 'the password is wrong'],
  ])('%s → %s', (text, expected) => {
    expect(redact(text)).toBe(expected);
  });

  test('leaves JSON valid, whatever the secret', () => {
    for (const secret of ['a"b', 'a\\', 'a\nb', '"', '\\"']) {
      const line = JSON.stringify({ msg: `postgresql://u:${secret}@h and password=${secret}` });
      expect(() => void JSON.parse(redact(line))).not.toThrow();
    }
  });
});
