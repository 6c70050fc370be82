/** Which cluster, as whom, in which namespace: kubectl's rules, then the pod's own cluster. */
import { access } from 'node:fs/promises';
import { homedir } from 'node:os';
import { delimiter, join } from 'node:path';
import type { KubeConfig } from '@kubernetes/client-node';

export interface ConnectionOptions {
  /** kubectl's flags; left out: KUBECONFIG, ~/.kube/config, the pod's service account. */
  readonly kubeconfig?: string | undefined;
  readonly context?: string | undefined;
  readonly namespace?: string | undefined;
}

export interface Connection {
  readonly config: KubeConfig;
  /** The URL of the API server, without a trailing slash. */
  readonly server: string;
  /** What is meant where no namespace is named. */
  readonly namespace: string;
  /** Where the controller itself is: its pod's; elsewhere the same as `namespace`. */
  readonly ownNamespace: string;
  /** Runs in a pod, with the pod's own service account. */
  readonly inPod: boolean;
}

const serviceAccountToken = '/var/run/secrets/kubernetes.io/serviceaccount/token';

/**
 * Reads files only; nothing is connected to yet. Throws where there is no such file, context or cluster. `podRoot`:
 * what comes before the path at which a pod finds its service account.
 */
export async function connect(
  newConfig: () => KubeConfig,
  options: ConnectionOptions,
  env: Readonly<Record<string, string | undefined>>,
  podRoot = '',
): Promise<Connection> {
  const config = newConfig();
  const files = await kubeconfigs(options, env);
  const inPod = files.length === 0;
  if (inPod) {
    if (env['KUBERNETES_SERVICE_HOST'] === undefined || !(await exists(podRoot + serviceAccountToken))) {
      throw new Error(
        `There is no cluster to talk to: no ${join(homedir(), '.kube', 'config')}, KUBECONFIG is not set, and this is no pod. Name one: --kubeconfig FILE; or a directory of declarations: --dir DIR`,
      );
    }
    config.loadFromCluster(podRoot);
  }
  for (const file of files) {
    const one = newConfig();
    try {
      one.loadFromFile(file);
      // As kubectl does: the first file that names a current context decides.
      config.mergeConfig(one, Boolean(config.currentContext));
    } catch (cause) {
      throw new Error(
        `${file} can't be read as a kubeconfig: ${textOf(cause)}. Look at it: kubectl config view --kubeconfig ${file}`,
        { cause },
      );
    }
  }
  if (options.context !== undefined) config.setCurrentContext(options.context);
  const context = config.getContexts().find(({ name }) => name === config.getCurrentContext());
  const cluster = config.getCurrentCluster();
  if (context === undefined || cluster === null) {
    const known =
      config
        .getContexts()
        .map(({ name }) => name)
        .join(', ') || 'none';
    throw new Error(
      context === undefined
        ? `There is no context "${config.getCurrentContext() ?? ''}" in ${files.join(', ')}; there are: ${known}. Name one: --context NAME`
        : `The context "${context.name}" names the cluster "${context.cluster}", which ${files.join(', ')} does not describe`,
    );
  }
  const own = context.namespace ?? 'default';
  const namespace = options.namespace ?? own;
  return {
    config,
    server: cluster.server.replace(/\/+$/, ''),
    namespace,
    ownNamespace: inPod ? own : namespace,
    inPod,
  };
}

async function kubeconfigs(
  { kubeconfig }: ConnectionOptions,
  env: Readonly<Record<string, string | undefined>>,
): Promise<readonly string[]> {
  if (kubeconfig !== undefined) {
    if (await exists(kubeconfig)) return [kubeconfig];
    throw new Error(`There is no file ${kubeconfig}. Name another: --kubeconfig FILE`);
  }
  const named = (env['KUBECONFIG'] ?? '').split(delimiter).filter((file) => file !== '');
  const files = named.length > 0 ? named : [join(env['HOME'] ?? homedir(), '.kube', 'config')];
  const existing: string[] = [];
  for (const file of files) if (await exists(file)) existing.push(file);
  if (named.length > 0 && existing.length === 0) {
    throw new Error(`KUBECONFIG names ${named.join(', ')}, and there is no such file. Name another: --kubeconfig FILE`);
  }
  return existing;
}

const exists = (file: string): Promise<boolean> =>
  access(file).then(
    () => true,
    () => false,
  );

const textOf = (thrown: unknown): string => (thrown instanceof Error ? thrown.message : String(thrown));
