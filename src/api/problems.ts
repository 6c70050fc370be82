/** What is wrong with a document, in sentences that say what to write instead. */
import type * as z from 'zod';

export interface Problem {
  /** e.g. `spec.alembic.env[0].name`; empty for the document itself. */
  readonly path: string;
  readonly message: string;
}

export function problemsOf(_schema: z.ZodType, issues: readonly z.core.$ZodIssue[]): readonly Problem[] {
  return issues.map((issue) => ({ path: issue.path.join('.'), message: issue.message }));
}
