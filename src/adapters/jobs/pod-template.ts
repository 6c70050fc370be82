/** The pod of a Job, made of a Deployment's and of what is declared beside it. Pure. */
import * as z from 'zod';
import { stalled } from '../../rollback/errors.ts';
import type { OwnImage } from '../kubernetes/own-image.ts';
import type { Program } from '../process/launcher.ts';
import { assertStartable } from './environment-size.ts';

type Fields = Readonly<Record<string, unknown>>;

const fields = z.record(z.string(), z.unknown());
const container = z.looseObject({ name: z.string().default(''), image: z.string().optional() });

/** As much of a PodTemplateSpec as is read; the rest goes through as it is. */
export const podTemplate = z.object({
  metadata: z.object({ labels: fields.optional(), annotations: fields.optional() }).default({}),
  spec: z.looseObject({ containers: z.array(container).default([]) }).default({ containers: [] }),
});

export type PodTemplate = z.output<typeof podTemplate>;

/** The one container of a Job's pod. */
export const containerName = 'run';

/** A pod that runs one program, not complete yet: without the program. */
export interface PodShape {
  readonly metadata: { readonly labels: Fields; readonly annotations: Fields };
  readonly spec: Fields;
  readonly container: Fields & { readonly image: string };
}

/** Of the pod, what decides how a program in it sees the world, and what it may do. */
const keptOfPod = [
  'affinity',
  'automountServiceAccountToken',
  'dnsConfig',
  'dnsPolicy',
  'enableServiceLinks',
  'hostAliases',
  'imagePullSecrets',
  'nodeSelector',
  'os',
  'priorityClassName',
  'runtimeClassName',
  'schedulerName',
  'securityContext',
  'serviceAccountName',
  'shareProcessNamespace',
  'tolerations',
  'volumes',
];
const keptOfContainer = [
  'env',
  'envFrom',
  'image',
  'imagePullPolicy',
  'resources',
  'securityContext',
  'volumeDevices',
  'volumeMounts',
  'workingDir',
];

const pick = (from: Fields, names: readonly string[]): Fields =>
  Object.fromEntries(names.flatMap((name) => (from[name] === undefined ? [] : [[name, from[name]]])));

/** What nothing says otherwise of: the restricted Pod Security Standard, as far as any image can run with it. */
const modest: PodShape['spec'] = { automountServiceAccountToken: false, enableServiceLinks: false };
const modestContainer = {
  securityContext: {
    allowPrivilegeEscalation: false,
    capabilities: { drop: ['ALL'] },
    seccompProfile: { type: 'RuntimeDefault' },
  },
};

/**
 * `deployment`: its template and the name of the container in it. Not taken over: its labels, which its Service looks for,
 * its other containers, ports, probes and hooks, and its init containers, which may wait for the very change.
 * Throws InvalidSpec.
 */
export function shapeOf(
  declared: { readonly image: string | undefined; readonly template: PodTemplate | null },
  deployment: {
    readonly name: string;
    readonly template: PodTemplate;
    readonly container: string | undefined;
  } | null,
): PodShape {
  const like = deployment === null ? null : containerOf(deployment);
  const over = declared.template;
  const [own, ...others] = over?.spec.containers ?? [];
  if (others.length > 0)
    throw stalled(
      'InvalidSpec',
      'spec.runtime.kubernetes.template has more than one container: a Job is over when all of them have ended. Leave all but one out.',
    );
  const image = declared.image ?? own?.image ?? like?.image;
  if (image === undefined)
    throw stalled(
      'InvalidSpec',
      'spec.runtime.kubernetes names no image. Write image: REPOSITORY/NAME:TAG, or deployment: {name: NAME}.',
    );
  const { containers: _, ...overSpec } = over?.spec ?? { containers: [] };
  return {
    metadata: { labels: over?.metadata.labels ?? {}, annotations: over?.metadata.annotations ?? {} },
    spec: { ...(deployment === null ? modest : pick(deployment.template.spec, keptOfPod)), ...overSpec },
    container: {
      ...(like === null ? modestContainer : pick(like, keptOfContainer)),
      ...own,
      env: [...listOf(like?.['env']), ...listOf(own?.['env'])],
      volumeMounts: [...listOf(like?.['volumeMounts']), ...listOf(own?.['volumeMounts'])],
      image,
    },
  };
}

const listOf = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : []);

function containerOf({
  name,
  template,
  container: wanted,
}: {
  readonly name: string;
  readonly template: PodTemplate;
  readonly container: string | undefined;
}): PodTemplate['spec']['containers'][number] {
  const { containers } = template.spec;
  const found = wanted === undefined ? containers[0] : containers.find((one) => one.name === wanted);
  if (found !== undefined) return found;
  const names = containers.map((one) => one.name).join(', ');
  throw stalled(
    'InvalidSpec',
    `The Deployment ${name} has no container ${wanted ?? ''}; it has: ${names}. Correct spec.runtime.kubernetes.deployment.container.`,
  );
}

/** As which everything in a volume is written and read, whoever comes next; the user of the controller's image. */
const agentUser = 10_001;

/** The shape of a pod for the agent of a claim, of the controller's image. */
export const volumeShape = (
  { image, imagePullPolicy, imagePullSecrets }: OwnImage,
  claimName: string,
  mountPath: string,
): PodShape => ({
  metadata: { labels: {}, annotations: {} },
  spec: {
    ...modest,
    imagePullSecrets,
    securityContext: {
      runAsNonRoot: true,
      runAsUser: agentUser,
      runAsGroup: agentUser,
      fsGroup: agentUser,
      // A volume of many files would be gone through at each start.
      fsGroupChangePolicy: 'OnRootMismatch',
    },
    volumes: [
      { name: 'volume', persistentVolumeClaim: { claimName } },
      { name: 'tmp', emptyDir: {} },
    ],
  },
  container: {
    securityContext: { ...modestContainer.securityContext, readOnlyRootFilesystem: true },
    resources: { requests: { cpu: '10m', memory: '96Mi' }, limits: { memory: '256Mi' } },
    volumeMounts: [
      { name: 'volume', mountPath },
      { name: 'tmp', mountPath: '/tmp' },
    ],
    image,
    ...(imagePullPolicy === undefined ? {} : { imagePullPolicy }),
  },
});

/** What Kubernetes would take for a reference to a variable is told apart by a second dollar. */
const literal = (text: string): string => text.replaceAll('$(', () => '$$(');

/** Those who make room on nodes are asked to leave it alone: what it does is short, and starts anew where it is disturbed. */
const undisturbed = {
  'cluster-autoscaler.kubernetes.io/safe-to-evict': 'false',
  'karpenter.sh/do-not-disrupt': 'true',
};

/**
 * With its program, which waits for its input: nothing that it writes is lost before somebody hears it. Throws JobNotStarted
 * where it has too many variables to be started.
 */
export function podOf(
  shape: PodShape,
  { command, env, cwd }: Pick<Program, 'env' | 'cwd'> & { readonly command: readonly string[] },
  labels: Readonly<Record<string, string>>,
): Fields {
  const variables = [
    ...listOf(shape.container['env']),
    ...Object.entries(env).map(([name, value]) => ({ name, value: literal(value) })),
  ];
  assertStartable(variables);
  return {
    metadata: {
      labels: { ...shape.metadata.labels, ...labels },
      annotations: { ...undisturbed, ...shape.metadata.annotations },
    },
    spec: {
      ...shape.spec,
      restartPolicy: 'Never',
      containers: [
        {
          ...shape.container,
          name: containerName,
          command: command.map(literal),
          args: [],
          env: variables,
          ...(cwd === undefined ? {} : { workingDir: cwd }),
          stdin: true,
          // Its input ends with our connection, whatever ends us; and then so does the program.
          stdinOnce: true,
          tty: false,
        },
      ],
    },
  };
}
