/** The webhook of the environment, or none. */
import type { Webhook, WebhookListener } from '../adapters/webhook/index.ts';
import { redact } from '../rollback/redact.ts';

/** null: no webhook is declared. Throws where it is declared wrongly; the message does not tell the URL. */
export async function openWebhook(version: string, listener: WebhookListener): Promise<Webhook | null> {
  if (!process.env['MIGRATION_TARGET_WEBHOOK_URL'] && !process.env['MIGRATION_TARGET_WEBHOOK_URL_FILE']) return null;
  const { createWebhook, webhookSettings } = await import('../adapters/webhook/index.ts');
  const settings = webhookSettings(process.env);
  if (settings === null) return null;
  // A file that is missing is told when the program starts, not when there is something to tell.
  await settings.url();
  return createWebhook({ settings, listener, redact, userAgent: `migration-target/${version}` });
}
