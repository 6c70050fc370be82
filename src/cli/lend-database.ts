/** One connection for the plan that is shown and for the operation that follows at once. */
import type { Databases, LiveDatabase } from '../rollback/ports.ts';
import { sameWork } from './same-work.ts';

export interface LentDatabase extends AsyncDisposable {
  /** What it opens outlives the one who had it opened. */
  readonly lender: Databases;
  /** Hands that on, once, to who asks for the same; whoever asks for anything else gets one of their own. */
  readonly heir: Databases;
}

export function lendDatabase(databases: Databases): LentDatabase {
  let lent: { readonly wanted: string; readonly database: LiveDatabase } | null = null;

  async function end(): Promise<void> {
    const ending = lent;
    lent = null;
    await ending?.database[Symbol.asyncDispose]();
  }

  return {
    lender: {
      ...databases,
      async open(settings) {
        await end();
        const database = await databases.open(settings);
        lent = { wanted: sameWork(settings), database };
        return { ...database, [Symbol.asyncDispose]: () => Promise.resolve() };
      },
    },
    heir: {
      ...databases,
      async open(settings) {
        const inherited = lent;
        if (inherited?.wanted !== sameWork(settings)) {
          await end();
          return databases.open(settings);
        }
        lent = null;
        return inherited.database;
      },
    },
    [Symbol.asyncDispose]: end,
  };
}
