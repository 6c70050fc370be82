import type { Operation } from './model.ts';
import { findBackup, type Scope } from './scope.ts';

/** Whether the migrations are those that were planned with, and that were tried. */
export async function hasSameScripts(scope: Scope, { backup }: Operation): Promise<boolean> {
  if (backup === null) return true;
  const before = await findBackup(scope.store, backup.id);
  const session = await scope.alembic();
  await session.prove();
  return before === undefined || (await session.graph()).digest === before.scripts;
}
