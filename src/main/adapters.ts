/** The adapters behind their ports, each loaded when it is first used: `status` needs none of them. */
import type { Ports } from '../rollback/ports.ts';

/** Calls `load` once. */
function once<T>(load: () => Promise<T>): () => Promise<T> {
  let loaded: Promise<T> | null = null;
  return () => (loaded ??= load());
}

export function lazyAdapters(): Pick<Ports, 'databases' | 'alembic' | 'backups' | 'clock'> {
  const databases = once(async () => (await import('../adapters/postgres/index.ts')).createDatabases());
  const alembic = once(async () => (await import('../adapters/alembic/index.ts')).createAlembicRunner());
  const backups = once(async () => (await import('../adapters/storage/index.ts')).createBackupStores());
  return {
    databases: { open: async (settings) => (await databases()).open(settings) },
    alembic: { start: async (settings) => (await alembic()).start(settings) },
    backups: { open: async (storage, target) => (await backups()).open(storage, target) },
    clock: { now: () => new Date() },
  };
}
