import { join } from 'node:path';
import type { BackupManifest } from '../../../src/rollback/model.ts';
import type { Scene } from '../../support/scene.ts';

/** The backups of a scene's target, newest first, as the procedure sees them. */
export async function backupsOf(scene: Scene): Promise<readonly BackupManifest[]> {
  const { spec, metadata } = await scene.target();
  const { backups, broken } = await (
    await scene.ports.backups.open(spec.backup.storage, metadata, scene.ports.home)
  ).list();
  if (broken.length > 0) throw new Error(`broken backups: ${JSON.stringify(broken)}`);
  return backups;
}

/** Takes one, and returns its manifest and its folder. */
export async function takeBackup(
  scene: Scene,
): Promise<{ readonly manifest: BackupManifest; readonly folder: string }> {
  const { outcome } = await scene.reconcile({ kind: 'backup', reason: 'Requested' });
  const [manifest] = await backupsOf(scene);
  if (manifest === undefined || outcome.kind !== 'ready') throw new Error(`no backup was taken: ${outcome.message}`);
  return { manifest, folder: join(scene.backups, manifest.id) };
}
