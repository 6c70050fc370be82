/** The items of a collection, page by page: what is handled is never all of it, and nobody is kept from running for long. */
import * as z from 'zod';
import { breathing } from '../../rollback/breathe.ts';
import type { ApiClient } from './client.ts';

/** As many as are parsed in a few hundredths of a second, also where their statuses are long. */
const defaultPageSize = 250;

const pageSchema = z.object({
  metadata: z.object({ resourceVersion: z.string().default(''), continue: z.string().optional() }),
  // An empty list is null, of some kinds.
  items: z.array(z.unknown()).nullable(),
});

export async function* eachItem(
  client: ApiClient,
  options: {
    readonly path: string;
    readonly accept?: string;
    readonly pageSize?: number | undefined;
    /** What each page says of the whole list. */
    readonly onPage?: (list: { readonly resourceVersion: string }) => void;
  },
): AsyncGenerator<unknown, void, undefined> {
  const { path, accept, pageSize = defaultPageSize, onPage } = options;
  const breathe = breathing();
  let next: string | undefined;
  do {
    const query = { limit: String(pageSize), continue: next };
    const page = pageSchema.parse(
      await client.call({ method: 'GET', path, query, ...(accept === undefined ? {} : { accept }) }),
    );
    onPage?.(page.metadata);
    for (const item of page.items ?? []) {
      yield item;
      await breathe();
    }
    next = page.metadata.continue === '' ? undefined : page.metadata.continue;
  } while (next !== undefined);
}

export async function everyItem(client: ApiClient, path: string): Promise<readonly unknown[]> {
  const items: unknown[] = [];
  for await (const item of eachItem(client, { path })) items.push(item);
  return items;
}
