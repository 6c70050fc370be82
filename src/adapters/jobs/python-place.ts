/** The application's Python, in Jobs made like its Deployment. */
import * as z from 'zod';
import { Failure, stalled } from '../../rollback/errors.ts';
import type { AlembicSettings, Owner } from '../../rollback/ports.ts';
import { shortImageId } from '../../rollback/image-id.ts';
import type { PythonPlace } from '../alembic/place.ts';
import { actingAs } from '../kubernetes/acting-as.ts';
import { pathTo, type ApiClient } from '../kubernetes/client.ts';
import { asHomeFailure, isNotFound } from '../kubernetes/errors.ts';
import type { Launcher } from '../process/launcher.ts';
import { jobsOf } from './jobs.ts';
import { jobLauncher } from './launcher.ts';
import { podTemplate, shapeOf, type PodShape } from './pod-template.ts';

type Runtime = NonNullable<AlembicSettings['runtime']['kubernetes']>;

const deploymentObject = z.object({ spec: z.object({ template: podTemplate }) });

/** `image`: that one in place of the declared one. Connects when something is started. */
export function pythonInJobs(
  client: ApiClient,
  owner: Owner & { readonly uid: string },
  {
    runtime,
    operationId,
    image,
  }: { readonly runtime: Runtime; readonly operationId: string; readonly image: string | null },
): PythonPlace {
  const launcher = jobLauncher(client, jobsOf(client, owner, operationId), {
    purpose: 'alembic',
    shapeOf: async () => {
      const shape = await declaredShape(client, owner, runtime);
      return image === null ? shape : { ...shape, container: { ...shape.container, image } };
    },
  });
  const { namespace } = owner;
  const what =
    image !== null
      ? `image ${shortImageId(image)}`
      : (runtime.image ?? `the Deployment ${namespace}/${runtime.deployment?.name ?? ''}`);
  return {
    launcher: image === null ? launcher : ofImage(launcher, image),
    isThisMachine: false,
    get image() {
      return launcher.imageId;
    },
    environment: {},
    where: ` in a Job of ${what}`,
    command: (folder, command) =>
      runtime.deployment === undefined
        ? `kubectl -n ${namespace} run --rm --stdin --tty try --image ${image ?? runtime.image ?? 'IMAGE'} --command -- sh -c 'cd ${folder} && ${command}'`
        : `kubectl -n ${namespace} exec --stdin --tty deployment/${runtime.deployment.name} -- sh -c 'cd ${folder} && ${command}'`,
    url: (libpqUrl) => Promise.resolve(libpqUrl),
  };
}

/** Read for each Job: somebody may have rolled it back meanwhile. Throws WorkloadNotFound, InvalidSpec, NotAllowed. */
async function declaredShape(client: ApiClient, owner: Owner, runtime: Runtime): Promise<PodShape> {
  const declared = {
    image: runtime.image,
    template: runtime.template === undefined ? null : parseTemplate(runtime.template),
  };
  if (runtime.deployment === undefined) return shapeOf(declared, null);
  const { name, container } = runtime.deployment;
  const path = pathTo`/apis/apps/v1/namespaces/${owner.namespace}/deployments/${name}`;
  const found = await client.call({ method: 'GET', path, as: actingAs(owner) }).catch((thrown: unknown) => {
    if (!isNotFound(thrown)) throw asHomeFailure(thrown);
    throw stalled(
      'WorkloadNotFound',
      `There is no Deployment ${owner.namespace}/${name} (spec.runtime.kubernetes.deployment). Correct the name, or create it; see: kubectl -n ${owner.namespace} get deployments`,
      thrown,
    );
  });
  return shapeOf(declared, { name, container, template: deploymentObject.parse(found).spec.template });
}

function parseTemplate(template: unknown): z.output<typeof podTemplate> {
  const parsed = podTemplate.safeParse(template);
  if (parsed.success) return parsed.data;
  throw stalled(
    'InvalidSpec',
    `spec.runtime.kubernetes.template is no PodTemplateSpec: ${z.prettifyError(parsed.error)}. See: kubectl explain job.spec.template`,
    parsed.error,
  );
}

/** An image that was recorded, and is gone from the registry, does not come back by itself: another way is looked for. */
function ofImage(launcher: Launcher, image: string): Launcher {
  return {
    launch: (program) =>
      launcher.launch(program).catch((thrown: unknown) => {
        if (!(thrown instanceof Failure) || thrown.reason !== 'ImageNotFound') throw thrown;
        throw stalled(
          'ImageNotFound',
          `The cluster can pull no image ${shortImageId(image)} any more: it was removed from its registry. Push it again, by its digest`,
          thrown,
        );
      }),
  };
}
