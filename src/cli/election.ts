/** Whether, and how, this controller is chosen among several. */
import { randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import { dnsName } from '../api/metadata.ts';
import type { Context } from './context.ts';
import { Problem } from './problem.ts';
import type { Election } from './wiring.ts';

export interface ElectionFlags {
  /** Left out: whether it runs in a pod decides. */
  readonly leaderElect?: boolean;
  readonly leaseName: string;
  readonly identity?: string;
}

/** null: it is the only one. A pod's host name is the pod's; the random part tells its containers' lives apart. */
export async function electionOf(context: Context, flags: ElectionFlags): Promise<Election | null> {
  const { leaderElect, leaseName: lease, identity = `${hostname()}_${randomUUID()}` } = flags;
  const home = await context.home();
  if (!(leaderElect ?? (await context.surroundings()).inPod)) return null;
  if (home.lease === undefined)
    throw new Problem(
      'NotSupported run',
      'A folder has no Lease, and needs none: locks in it and in the databases keep controllers apart. Leave --leader-elect out.',
    );
  if (!dnsName.safeParse(lease).success)
    throw new Problem('Usage run', `--lease-name ${lease}: write lower-case letters, digits, "-" and "."`);
  return { lease, identity };
}
