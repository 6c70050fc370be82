/** The agent of a claim, in a Job of the controller's own image. */
import { randomBytes } from 'node:crypto';
import type { Owner } from '../../rollback/ports.ts';
import type { ApiClient } from '../kubernetes/client.ts';
import type { OwnImage } from '../kubernetes/own-image.ts';
import type { VolumeAgent } from '../volume/index.ts';
import { jobsOf } from './jobs.ts';
import { jobLauncher } from './launcher.ts';
import { volumeShape } from './pod-template.ts';

const mountPath = '/volume';

export function volumeAgentInJob(
  client: ApiClient,
  owner: Owner & { readonly uid: string },
  { claimName, ownImage }: { readonly claimName: string; readonly ownImage: () => Promise<OwnImage> },
): VolumeAgent {
  // Of no operation: it is there for whichever needs the backups, and whatever is not done when it is cut off was not done.
  const jobs = jobsOf(client, owner, randomBytes(5).toString('hex'));
  return {
    launcher: jobLauncher(client, jobs, {
      purpose: 'backups',
      shapeOf: async () => volumeShape(await ownImage(), claimName, mountPath),
    }),
    program: { program: 'migration-target', args: ['serve-volume', mountPath], env: {} },
  };
}
