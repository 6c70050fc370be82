import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { expect, test } from '@jest/globals';

import { createWebhook, webhookSettings, type Webhook } from '../../../src/adapters/webhook/index.ts';
import type { Limits } from '../../../src/adapters/webhook/index.ts';
import type { Notification } from '../../../src/rollback/notification.ts';
import { redact } from '../../../src/rollback/redact.ts';
import { secretPath, startReceiver, type Receiver, type Reply } from '../../support/receiver.ts';

const notification = (change: Partial<Notification> = {}): Notification => ({
  id: 'op1/succeeded/Downgraded',
  event: 'succeeded',
  at: '2026-01-02T03:04:05.000Z',
  target: { namespace: 'ops', name: 'unicorn-db' },
  operation: { id: 'op1', kind: 'downgrade', startedAt: '2026-01-02T03:04:00.000Z' },
  reason: 'Downgraded',
  message: 'Database unicorn_db was downgraded from b2 to a1 and verified.',
  revisions: { from: ['b2'], to: ['a1'] },
  report: '/etc/mt/state/reports/op1.md',
  ...change,
});

interface Told {
  readonly webhook: Webhook;
  /** e.g. `failed: the receiver answered 500`. */
  readonly log: readonly string[];
  /** Resolves once nothing waits any more. */
  readonly ended: () => Promise<void>;
}

const quick: Partial<Limits> = { pauseMs: 2, longestPauseMs: 4, requestMs: 60_000, giveUpMs: 60_000 };

function webhookTo(url: string, limits: Partial<Limits> = {}, env: Readonly<Record<string, string>> = {}): Told {
  const settings = webhookSettings({ MIGRATION_TARGET_WEBHOOK_URL: url, ...env });
  if (settings === null) throw new Error('no settings');
  const log: string[] = [];
  const webhook = createWebhook({
    settings,
    userAgent: 'migration-target/test',
    redact,
    limits: { ...quick, ...limits },
    listener: {
      delivered: () => log.push('delivered'),
      failed: (_, because) => log.push(`failed: ${because}`),
      dropped: (_, because) => log.push(`dropped: ${because}`),
    },
  });
  return { webhook, log, ended: () => webhook.close(60_000) };
}

/** One notification to such a receiver. */
async function tell(receiver: Pick<Receiver, 'url'>, limits?: Partial<Limits>): Promise<readonly string[]> {
  const { webhook, log, ended } = webhookTo(receiver.url, limits);
  webhook.notify(notification());
  await ended();
  return log;
}

test('JSON of version 1 is posted, with what the notification holds and an idempotency key', async () => {
  await using receiver = await startReceiver();
  expect(await tell(receiver)).toEqual(['delivered']);
  expect(receiver.received).toMatchObject([
    {
      method: 'POST',
      path: secretPath,
      headers: {
        'content-type': 'application/json',
        'idempotency-key': 'op1/succeeded/Downgraded',
        'user-agent': 'migration-target/test',
      },
    },
  ]);
  const { report, ...rest } = notification();
  expect(receiver.told()).toEqual([{ version: 1, ...rest, links: { report } }]);
});

test('Slack gets one text, in which nothing is markup but what we wrote', async () => {
  await using receiver = await startReceiver();
  const { webhook, ended } = webhookTo(receiver.url, {}, { MIGRATION_TARGET_WEBHOOK_FORMAT: 'slack' });
  webhook.notify(notification({ event: 'failed', reason: 'DowngradeFailed', message: '<!channel> a & b' }));
  webhook.notify(notification({ message: 'x'.repeat(9_000) }));
  await ended();
  expect(receiver.told()[0]).toEqual({
    text: '❌ failed: *ops/unicorn-db* DowngradeFailed (b2 → a1)\n&lt;!channel&gt; a &amp; b',
  });
  expect(String(receiver.told()[1]?.['text']).length).toBeLessThan(3_100);
});

test('500 and 429 are tried again until the receiver takes it, in order and once', async () => {
  await using receiver = await startReceiver([500, 429, 503]);
  const { webhook, log, ended } = webhookTo(receiver.url);
  for (const id of ['1', '2', '3']) webhook.notify(notification({ id }));
  await ended();
  expect(log).toEqual([
    'failed: the receiver answered 500',
    'failed: the receiver answered 429',
    'failed: the receiver answered 503',
    'delivered',
    'delivered',
    'delivered',
  ]);
  expect(receiver.told().map(({ id }) => id)).toEqual(['1', '1', '1', '1', '2', '3']);
});

test('a refused connection is tried again, and delivered once somebody listens', async () => {
  const gone = await startReceiver();
  const port = Number(new URL(gone.url).port);
  await gone[Symbol.asyncDispose]();
  const { webhook, log, ended } = webhookTo(gone.url, { pauseMs: 20, longestPauseMs: 20 });
  webhook.notify(notification());
  while (log.length === 0) await new Promise((resolve) => setImmediate(resolve));
  expect(log[0]).toBe("failed: the receiver can't be reached (ECONNREFUSED)");
  await using receiver = await startReceiver([], port);
  await ended();
  expect(log.at(-1)).toBe('delivered');
  expect(receiver.received).toHaveLength(1);
});

test('Retry-After is waited for, and where that is too long it is dropped at once', async () => {
  const retryAfter =
    (value: string): Reply =>
    (response) =>
      void response.writeHead(503, { 'retry-after': value }).end();
  await using receiver = await startReceiver([retryAfter('1')]);
  const startedAt = performance.now();
  expect(await tell(receiver)).toEqual(['failed: the receiver answered 503', 'delivered']);
  expect(performance.now() - startedAt).toBeGreaterThanOrEqual(990);
  await using later = await startReceiver([retryAfter('3600')]);
  expect(await tell(later)).toEqual(['dropped: it could not be delivered in 60 s; last: the receiver answered 503']);
});

test.each([400, 404, 410])('what the receiver will say again is not asked again: %i', async (status) => {
  await using receiver = await startReceiver([status]);
  expect(await tell(receiver)).toEqual([`dropped: the receiver answered ${status}`]);
  expect(receiver.received).toHaveLength(1);
});

test('a redirect is not followed', async () => {
  await using elsewhere = await startReceiver();
  await using receiver = await startReceiver([
    (response) => void response.writeHead(307, { location: elsewhere.url }).end(),
  ]);
  expect(await tell(receiver)).toEqual(['dropped: the receiver answered 307']);
  expect(elsewhere.received).toHaveLength(0);
});

test('a receiver that hangs is given up for this time, then for good, and never waited for by who notifies', async () => {
  await using receiver = await startReceiver(Array.from({ length: 100 }, () => 'hang' as const));
  const log = await tell(receiver, { requestMs: 30, giveUpMs: 1_500 });
  expect(log[0]).toBe('failed: the receiver did not answer within 0.03 s');
  expect(log.at(-1)).toMatch(/^dropped: it could not be delivered in [12] s; last: the receiver did not answer/);
});

test('closing waits no longer than it is told to, and drops what is left', async () => {
  await using receiver = await startReceiver(['hang']);
  const { webhook, log } = webhookTo(receiver.url);
  webhook.notify(notification({ id: '1' }));
  webhook.notify(notification({ id: '2' }));
  await receiver.until(1);
  await webhook.close(1);
  webhook.notify(notification({ id: '3' }));
  expect(log).toEqual([
    expect.stringMatching(/^dropped: the program ended; last: /),
    'dropped: the program ended',
    'dropped: the program ended',
  ]);
});

test('what waits is bounded: the oldest is dropped', async () => {
  await using receiver = await startReceiver(['hang']);
  const { webhook, log } = webhookTo(receiver.url, { waiting: 3, requestMs: 50 });
  for (const id of ['1', '2', '3', '4']) webhook.notify(notification({ id }));
  expect(log).toEqual(['dropped: more than 3 wait']);
  await webhook.close(60_000);
  // On a busy machine another one may be told twice as well.
  expect([...new Set(receiver.told().map(({ id }) => id))]).toEqual(['1', '3', '4']);
});

test('no secret is sent, and no message of ours tells where to', async () => {
  await using receiver = await startReceiver([500, 404]);
  const withUser = receiver.url.replace('http://', 'http://hook:pa55word@');
  const { webhook, log, ended } = webhookTo(withUser);
  const printed = `env.py said ${withUser} and ${receiver.url}, postgresql://unicorn:hunter2@db/unicorn_db?password=hunter3`;
  webhook.notify(notification({ message: printed }));
  await ended();
  expect(receiver.received[0]?.headers.authorization).toBe(`Basic ${Buffer.from('hook:pa55word').toString('base64')}`);
  const sent = receiver.received.map(({ text }) => text).join('');
  expect(sent).toContain('postgresql://unicorn:***@db');
  for (const secret of ['hunter2', 'hunter3', 'pa55word', 's3cr3t']) {
    expect(sent).not.toContain(secret);
    expect(log.join()).not.toContain(secret);
  }
});

test.each([
  [{ MIGRATION_TARGET_WEBHOOK_URL: 'ftp://s3cr3t' }, /URL does not hold an http or https URL/],
  [{ MIGRATION_TARGET_WEBHOOK_URL: 's3cr3t' }, /URL does not hold an http or https URL/],
  [{ MIGRATION_TARGET_WEBHOOK_URL: 'http://s3cr3t', MIGRATION_TARGET_WEBHOOK_URL_FILE: '/x' }, /both set/],
  [{ MIGRATION_TARGET_WEBHOOK_URL: 'http://s3cr3t', MIGRATION_TARGET_WEBHOOK_FORMAT: 'xml' }, /one of: json, slack/],
])('settings that mean nothing are refused, without their value: %j', (env, because) => {
  let message = '';
  try {
    webhookSettings(env);
  } catch (error) {
    message = String(error);
  }
  expect(message).toMatch(because);
  expect(message).not.toContain('s3cr3t');
});

test('a URL in a file is read anew for each request; where it is missing, that is tried again', async () => {
  const dir = await mkdtemp(join(tmpdir(), 'mt-hook-'));
  try {
    await using receiver = await startReceiver();
    const file = join(dir, 'url');
    const settings = webhookSettings({ MIGRATION_TARGET_WEBHOOK_URL_FILE: file });
    await expect(settings?.url()).rejects.toThrow(/which can't be read \(ENOENT\)/);
    await writeFile(file, `${receiver.url}\n`);
    expect((await settings?.url())?.href).toBe(receiver.url);
  } finally {
    await rm(dir, { recursive: true });
  }
  expect(webhookSettings({})).toBeNull();
});
