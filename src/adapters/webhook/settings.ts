/** Where to, and how, as the environment says. The URL is a secret: it is in no argument, and in no message. */
import { readFile } from 'node:fs/promises';

export const webhookFormats = ['json', 'slack'] as const;
export type WebhookFormat = (typeof webhookFormats)[number];

export interface WebhookSettings {
  readonly format: WebhookFormat;
  /** Read anew each time, since a secret in a file may be exchanged. Throws with what is wrong, without its content. */
  readonly url: () => Promise<URL>;
}

const variable = 'MIGRATION_TARGET_WEBHOOK_URL';

/** null: nobody is to be told. Throws with what is wrong. */
export function webhookSettings(env: Readonly<Record<string, string | undefined>>): WebhookSettings | null {
  const { [variable]: text, [`${variable}_FILE`]: file, MIGRATION_TARGET_WEBHOOK_FORMAT: said } = env;
  if (!text && !file) return null;
  if (text && file) throw new Error(`${variable} and ${variable}_FILE are both set: unset one of them.`);
  const format = webhookFormats.find((known) => known === (said || 'json'));
  if (format === undefined)
    throw new Error(`MIGRATION_TARGET_WEBHOOK_FORMAT has to be one of: ${webhookFormats.join(', ')}.`);
  if (text) {
    const url = parse(text, variable);
    return { format, url: async () => url };
  }
  return { format, url: () => readUrl(file ?? '') };
}

async function readUrl(path: string): Promise<URL> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : 'unknown';
    throw new Error(`${variable}_FILE names ${path}, which can't be read (${code}).`, { cause: error });
  }
  return parse(text.trim(), `The file ${path} of ${variable}_FILE`);
}

function parse(text: string, what: string): URL {
  const url = URL.parse(text);
  if (url === null || (url.protocol !== 'https:' && url.protocol !== 'http:'))
    throw new Error(`${what} does not hold an http or https URL.`);
  return url;
}
