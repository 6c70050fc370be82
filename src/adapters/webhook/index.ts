/**
 * Tells a webhook, beside the procedure and never in its way: what is to be told waits in memory, one request at a time, in
 * order; tried again until it is too old; then dropped, which is said.
 */
import type { Notification } from '../../rollback/notification.ts';
import type { Notifier } from '../../rollback/ports.ts';
import { asPart } from '../../rollback/sentences.ts';
import { wait } from '../../rollback/wait.ts';
import { bodyOf } from './body.ts';
import type { WebhookSettings } from './settings.ts';

export { webhookSettings, type WebhookSettings } from './settings.ts';

export interface Webhook extends Notifier {
  /** Goes on for `ms` at most; what is left is dropped. Nothing is sent afterwards. Never throws. */
  close(ms: number): Promise<void>;
}

export interface WebhookListener {
  readonly delivered: (notification: Notification) => void;
  /** It is tried again. `because`: part of a sentence, without the URL. */
  readonly failed: (notification: Notification, because: string) => void;
  readonly dropped: (notification: Notification, because: string) => void;
}

export interface WebhookOptions {
  readonly settings: WebhookSettings;
  readonly userAgent: string;
  /** Takes secrets out of a text. */
  readonly redact: (text: string) => string;
  readonly listener: WebhookListener;
  readonly limits?: Partial<Limits>;
}

export interface Limits {
  /** How many may wait; beyond it the oldest is dropped. */
  readonly waiting: number;
  /** Of one request, to its answer. */
  readonly requestMs: number;
  /** After which a notification is news no more. */
  readonly giveUpMs: number;
  /** Before the second try; it doubles up to `longestPauseMs`. */
  readonly pauseMs: number;
  readonly longestPauseMs: number;
}

const usual: Limits = {
  waiting: 256,
  requestMs: 10_000,
  giveUpMs: 15 * 60_000,
  pauseMs: 1_000,
  longestPauseMs: 60_000,
};

/** What Node's timers can count. */
const longestTimer = 2 ** 31 - 1;

type Answer =
  | { readonly kind: 'delivered' }
  | { readonly kind: 'rejected'; readonly because: string }
  | { readonly kind: 'failed'; readonly because: string; readonly retryAfterMs: number };

interface Waiting {
  readonly notification: Notification;
  /** Monotonic. */
  readonly since: number;
}

export function createWebhook({ settings, userAgent, redact, listener, limits: said }: WebhookOptions): Webhook {
  const limits: Limits = { ...usual, ...said };
  const waiting: Waiting[] = [];
  const end = new AbortController();
  let working: Promise<void> | null = null;

  async function work(): Promise<void> {
    for (let next = waiting[0]; next !== undefined; next = waiting[0]) {
      const because = end.signal.aborted ? 'the program ended' : await deliver(next);
      waiting.shift();
      if (because === null) listener.delivered(next.notification);
      else listener.dropped(next.notification, because);
    }
    working = null;
  }

  /** null: it is delivered; else why it is not. */
  async function deliver({ notification, since }: Waiting): Promise<string | null> {
    for (let failures = 1; ; failures += 1) {
      const answer = await post(notification);
      if (answer.kind === 'delivered') return null;
      if (answer.kind === 'rejected') return answer.because;
      if (end.signal.aborted) return `the program ended; last: ${answer.because}`;
      const pauseMs = Math.max(answer.retryAfterMs, backoffMs(failures, limits));
      if (performance.now() + pauseMs - since > limits.giveUpMs)
        return `it could not be delivered in ${Math.round(limits.giveUpMs / 1000)} s; last: ${answer.because}`;
      listener.failed(notification, answer.because);
      // A receiver may say any time.
      await wait(Math.min(pauseMs, longestTimer), end.signal);
    }
  }

  async function post(notification: Notification): Promise<Answer> {
    try {
      const address = await settings.url();
      const { url, authorization } = withoutCredentials(address);
      const secrets = [address.href, url.href, `${url.pathname}${url.search}`].filter((one) => one.length > 8);
      const clean = (text: string): string =>
        redact(secrets.reduce((cleaned, secret) => cleaned.replaceAll(secret, '***'), text));
      const response = await fetch(url, {
        method: 'POST',
        // Another address was not what was said, and a POST would become a GET.
        redirect: 'manual',
        headers: {
          'content-type': 'application/json',
          'user-agent': userAgent,
          'idempotency-key': notification.id,
          ...authorization,
        },
        body: bodyOf(notification, settings.format, clean),
        signal: AbortSignal.any([end.signal, AbortSignal.timeout(limits.requestMs)]),
      });
      await response.body?.cancel();
      return judge(response);
    } catch (error) {
      return { kind: 'failed', because: reasonOf(error, limits), retryAfterMs: 0 };
    }
  }

  return {
    notify(notification) {
      if (end.signal.aborted) return listener.dropped(notification, 'the program ended');
      waiting.push({ notification, since: performance.now() });
      // The first one is under way.
      const oldest = waiting.length > limits.waiting ? waiting.splice(1, 1)[0] : undefined;
      if (oldest !== undefined) listener.dropped(oldest.notification, `more than ${limits.waiting} wait`);
      working ??= work();
    },
    async close(ms) {
      const left = new AbortController();
      await Promise.race([working, wait(ms, left.signal)]);
      left.abort();
      end.abort();
      await working;
    },
  };
}

/** What a receiver will say again is not asked again. */
function judge({ ok, status, headers }: Response): Answer {
  if (ok) return { kind: 'delivered' };
  const because = `the receiver answered ${status}`;
  const isPassing = status >= 500 || status === 408 || status === 425 || status === 429;
  return isPassing
    ? { kind: 'failed', because, retryAfterMs: retryAfterMs(headers.get('retry-after')) }
    : { kind: 'rejected', because };
}

/** Seconds, or a date. */
function retryAfterMs(text: string | null): number {
  if (text === null) return 0;
  const ms = /^\d+$/.test(text.trim()) ? Number(text) * 1000 : Date.parse(text) - Date.now();
  return Number.isFinite(ms) ? Math.max(0, ms) : 0;
}

/** Half of it is drawn at random, so that many controllers do not come back together. */
function backoffMs(failures: number, { pauseMs, longestPauseMs }: Limits): number {
  const ceiling = Math.min(longestPauseMs, pauseMs * 2 ** Math.min(failures - 1, 30));
  return ceiling / 2 + (ceiling / 2) * Math.random();
}

/** `fetch` refuses them in a URL, and tells the URL in doing so. */
function withoutCredentials(said: URL): { readonly url: URL; readonly authorization: Record<string, string> } {
  const url = new URL(said);
  if (url.username === '' && url.password === '') return { url, authorization: {} };
  const credentials = `${decodeURIComponent(url.username)}:${decodeURIComponent(url.password)}`;
  url.username = '';
  url.password = '';
  return { url, authorization: { authorization: `Basic ${Buffer.from(credentials).toString('base64')}` } };
}

/** Of Node's errors only the code: their messages may hold the address. Our own hold none. */
function reasonOf(error: unknown, { requestMs }: Limits): string {
  if (!(error instanceof Error)) return 'the request failed';
  if (error.name === 'TimeoutError') return `the receiver did not answer within ${requestMs / 1000} s`;
  const { cause } = error;
  const code = cause instanceof Error && 'code' in cause ? String(cause.code) : null;
  if (Object.getPrototypeOf(error) === Error.prototype) return asPart(error.message);
  return `the receiver can't be reached (${code ?? error.name})`;
}
