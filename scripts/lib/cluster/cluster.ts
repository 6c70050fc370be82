import { mkdtemp, readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

import { startApiServer } from '../api-server.ts';
import type { ApiServer } from '../api-server.ts';
import type { KubeBinaries, NodeBinaries } from '../kube-binaries.ts';
import { run } from '../run.ts';
import { supervise } from '../supervise.ts';
import { createCgroup } from './cgroup.ts';
import { nodeName, proxyHealthPort, writeComponents } from './components.ts';
import { startContainerd } from './containerd.ts';
import { openNamespaces } from './namespaces.ts';
import { programPath } from '../programs.ts';

/** A whole Kubernetes cluster of one node, in namespaces of its own. Ends with this process. */
export interface Cluster extends ApiServer {
  /** By which pods reach this machine. */
  readonly machineAddress: string;
  /** The node's `/var/lib`, as this machine sees it. */
  readonly varLib: string;
  /** The logs of containerd, and of each program of the node. */
  readonly nodeLogs: readonly string[];
}

export interface ClusterOptions {
  readonly binaries: KubeBinaries & NodeBinaries;
  /** From `ensureNodePackages`. */
  readonly plugins: string;
  /** Paths of archives of images, as `docker save` makes them. */
  readonly archives: readonly string[];
  /** The one of them that holds a pod's namespaces. */
  readonly pauseImage: string;
}

const READY_WITHIN_MS = 90_000;

/** Starts all of it and waits until the node is ready. Throws with the end of the logs where it fails. */
export async function startCluster(options: ClusterOptions): Promise<Cluster> {
  const { binaries, plugins, archives, pauseImage } = options;
  const dir = await mkdtemp(join(tmpdir(), 'migration-target-node-'));
  const cleanUp: (() => Promise<void>)[] = [];
  const stop = async (): Promise<void> => {
    for (const each of cleanUp.splice(0).toReversed()) await each();
  };
  try {
    const cgroup = await createCgroup();
    cleanUp.push(() => cgroup.remove());
    const namespaces = await openNamespaces(dir);
    cleanUp.push(() => namespaces.stop());
    const containerd = await startContainerd({ dir, namespaces, plugins, pauseImage });
    cleanUp.push(() => containerd.stop());
    for (const archive of archives) await containerd.importImages(archive);
    const api = await startApiServer(binaries, {
      address: namespaces.address,
      within: (command) => namespaces.withinNetwork(command),
      // The node's name is nobody's else.
      flags: ['--kubelet-preferred-address-types=InternalIP'],
    });
    cleanUp.push(() => api.stop());

    const nodeLogs = [containerd.logFile];
    for (const { name, command } of await writeComponents({ binaries, api, namespaces, dir, cgroup: cgroup.path })) {
      const logFile = join(dir, `${name}.log`);
      const component = supervise(command, { logFile, signal: 'TERM', env: { ...process.env, PATH: programPath } });
      cleanUp.push(() => component.stop());
      nodeLogs.push(logFile);
    }
    try {
      await untilReady(api, namespaces.address);
    } catch (cause) {
      throw new Error(`the node is not ready. The ends of its logs:\n${await ends(nodeLogs)}`, { cause });
    }
    return {
      ...api,
      machineAddress: namespaces.machineAddress,
      varLib: namespaces.varLib,
      nodeLogs,
      stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** The node says that it takes pods, and Services are connected. */
async function untilReady({ kubectlPath, kubeconfig }: ApiServer, address: string): Promise<void> {
  const deadline = Date.now() + READY_WITHIN_MS;
  const jsonpath = '{.status.conditions[?(@.type=="Ready")].status}';
  const node = [`--kubeconfig=${kubeconfig}`, 'get', 'node', nodeName, `--output=jsonpath=${jsonpath}`];
  for (;;) {
    const ready = await run(kubectlPath, node);
    const connected = await fetch(`http://${address}:${proxyHealthPort}/healthz`).catch(() => null);
    if (ready.stdout === 'True' && connected?.ok) return;
    if (Date.now() > deadline)
      throw new Error(`not within ${READY_WITHIN_MS / 1000} s: ready '${ready.stdout}' ${ready.stderr.trim()}`);
    await delay(200);
  }
}

async function ends(logs: readonly string[]): Promise<string> {
  const texts = logs.map(async (log) => {
    const lines = (await readFile(log, 'utf8').catch(() => '(none)')).trimEnd().split('\n');
    return [`${log}:`, ...lines.slice(-12)].join('\n');
  });
  return (await Promise.all(texts)).join('\n\n');
}
