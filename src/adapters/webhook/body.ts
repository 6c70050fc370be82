/** A notification as it is sent. Pure. */
import type { Notification, NotificationEvent } from '../../rollback/notification.ts';
import type { WebhookFormat } from './settings.ts';

/** docs/notifications.md describes it; a field that is there stays what it is in this version. */
interface Body {
  readonly version: 1;
  readonly id: string;
  readonly event: NotificationEvent;
  readonly at: string;
  readonly target: { readonly namespace: string; readonly name: string };
  readonly operation: { readonly id: string; readonly kind: string; readonly startedAt: string } | null;
  readonly reason: string;
  readonly message: string;
  readonly revisions: { readonly from: readonly string[] | null; readonly to: readonly string[] | null };
  readonly links: { readonly report: string | null };
}

/** `clean` takes secrets out of a text. */
export function bodyOf(notification: Notification, format: WebhookFormat, clean: (text: string) => string): string {
  const { id, event, at, target, operation, reason, revisions, report } = notification;
  const message = clean(notification.message);
  if (format === 'slack') return JSON.stringify({ text: slackText({ ...notification, message }) });
  const links = { report };
  return JSON.stringify({
    version: 1,
    id,
    event,
    at,
    target,
    operation,
    reason,
    message,
    revisions,
    links,
  } satisfies Body);
}

const words: Readonly<Record<NotificationEvent, string>> = {
  started: '▶ started',
  waiting: '⏸ waits for an approval',
  succeeded: '✅ done',
  restored: '⚠️ restored from a backup instead',
  failed: '❌ failed',
};

/** Slack folds what is longer. */
const longestSlack = 3_000;

function slackText({ event, target, reason, message, revisions }: Notification): string {
  const way = `${named(revisions.from)} → ${named(revisions.to)}`;
  const text = `${words[event]}: *${target.namespace}/${target.name}* ${reason} (${way})\n${message}`;
  const cut = text.length <= longestSlack ? text : `${text.slice(0, longestSlack - 1).toWellFormed()}…`;
  // Else a message could mention everybody, or show one address and lead to another.
  return cut.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}

const named = (revisions: readonly string[] | null): string =>
  revisions === null ? '?' : revisions.length === 0 ? 'base' : revisions.join(', ');
