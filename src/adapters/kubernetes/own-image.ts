/** The image that the controller itself runs from. */
import * as z from 'zod';
import { stalled, type Failure } from '../../rollback/errors.ts';
import { pathTo, type ApiClient } from './client.ts';
import { asHomeFailure } from './errors.ts';

export interface OwnImage {
  readonly image: string;
  readonly imagePullPolicy?: string | undefined;
  /** Of the controller's own namespace. */
  readonly imagePullSecrets: readonly { readonly name: string }[];
}

/** As manifests/ name it. */
const containerName = 'controller';

const podObject = z.object({
  spec: z.object({
    imagePullSecrets: z.array(z.object({ name: z.string() })).default([]),
    containers: z.array(
      z.object({ name: z.string(), image: z.string().optional(), imagePullPolicy: z.string().optional() }),
    ),
  }),
});

/**
 * What MIGRATION_TARGET_IMAGE says; else, in a pod, what the container `controller` of this pod has. Throws NotSupported
 * where neither tells, NotAllowed, HomeUnavailable (retry).
 */
export async function readOwnImage(
  client: Pick<ApiClient, 'call'>,
  { inPod, ownNamespace }: { readonly inPod: boolean; readonly ownNamespace: string },
  env: Readonly<Record<string, string | undefined>>,
): Promise<OwnImage> {
  const declared = env['MIGRATION_TARGET_IMAGE'];
  if (declared) return { image: declared, imagePullSecrets: [] };
  const name = env['HOSTNAME'];
  if (!inPod || !name) throw unknownImage('this is no pod of a cluster');
  const pod = await client
    .call({ method: 'GET', path: pathTo`/api/v1/namespaces/${ownNamespace}/pods/${name}` })
    .catch((thrown: unknown) => {
      throw asHomeFailure(thrown);
    });
  const { containers, imagePullSecrets } = podObject.parse(pod).spec;
  const own = containers.find((one) => one.name === containerName);
  if (own?.image === undefined) throw unknownImage(`the pod ${ownNamespace}/${name} has no container ${containerName}`);
  return { image: own.image, imagePullPolicy: own.imagePullPolicy, imagePullSecrets };
}

const unknownImage = (why: string): Failure =>
  stalled(
    'NotSupported',
    `spec.backup.storage.persistentVolumeClaim needs a pod of this program's own image, and which one that is can't be told: ${why}. Set the variable MIGRATION_TARGET_IMAGE=REPOSITORY/NAME:TAG where the program is started.`,
  );
