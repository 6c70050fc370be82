import { describe, test } from '@jest/globals';

import { isWhole, majorInTurn, majors } from './majors.ts';
import type { Major } from '../../scripts/lib/embedded-postgres.ts';

type Test = (name: string, run: () => Promise<void>, timeoutMs?: number) => void;

/** `test`, and the rows of `test.each`, of which a major gets every third. */
export type TestInTurn = Test & { readonly each: typeof test.each };

/** A block for each major, of whose tests each is in one: they are dealt out in their order. */
export function describeInTurn(name: string, block: (major: Major, testOnce: TestInTurn) => void): void {
  describe.each(majors)(`PostgreSQL %i: ${name}`, (major) => {
    let place = 0;
    const isDue = (): boolean => isWhole || majorInTurn(place++) === major;
    const one: Test = (...given) => {
      const define: Test = isDue() ? test : () => undefined;
      define(...given);
    };
    const each = (rows: readonly unknown[]): unknown => {
      const due = rows.filter(isDue);
      return due.length > 0 ? test.each(due) : () => undefined;
    };
    block(major, Object.assign(one, { each: each as typeof test.each }));
  });
}
