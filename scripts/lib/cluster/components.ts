/** How the programs of a node are started: as a cluster administrator each, since what is tested is not their rights. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import type { ApiServer } from '../api-server.ts';
import type { NodeBinaries } from '../kube-binaries.ts';
import type { Namespaces } from './namespaces.ts';

export const nodeName = 'node1';
/** Of kube-proxy, where it says whether Services are connected. */
export const proxyHealthPort = 10256;

export interface ComponentOptions {
  readonly binaries: NodeBinaries;
  readonly api: ApiServer;
  readonly namespaces: Namespaces;
  readonly dir: string;
  /** Of all pods. */
  readonly cgroup: string;
}

export interface Component {
  readonly name: string;
  readonly command: readonly string[];
}

/** All of them, with their configuration written to `dir`. */
export async function writeComponents(options: ComponentOptions): Promise<readonly Component[]> {
  const { binaries, api, namespaces, dir } = options;
  const inDir = async (name: string, content: string): Promise<string> => {
    await writeFile(join(dir, name), content);
    return join(dir, name);
  };
  const resolvConf = await inDir('resolv.conf', '# There is no name service: a Service is reached by its address.\n');
  const kubelet = await inDir('kubelet.json', JSON.stringify(kubeletConfiguration(options, resolvConf)));
  const proxy = await inDir('kube-proxy.json', JSON.stringify(proxyConfiguration(options)));
  return [
    {
      name: 'kube-controller-manager',
      command: namespaces.within([
        binaries.controllerManager,
        `--kubeconfig=${api.kubeconfig}`,
        `--root-ca-file=${api.certificate}`,
        `--service-account-private-key-file=${api.serviceAccountKey}`,
        '--leader-elect=false',
        '--secure-port=0',
        // Which is made where it is missing.
        `--flex-volume-plugin-dir=${join(dir, 'plugins')}`,
      ]),
    },
    {
      name: 'kube-scheduler',
      command: namespaces.within([
        binaries.scheduler,
        `--kubeconfig=${api.kubeconfig}`,
        '--leader-elect=false',
        '--secure-port=0',
      ]),
    },
    { name: 'kube-proxy', command: namespaces.within([binaries.proxy, `--config=${proxy}`]) },
    {
      name: 'kubelet',
      command: namespaces.within([
        binaries.kubelet,
        `--config=${kubelet}`,
        `--kubeconfig=${api.kubeconfig}`,
        `--hostname-override=${nodeName}`,
        `--node-ip=${namespaces.address}`,
      ]),
    },
  ];
}

const kubeletConfiguration = ({ namespaces, cgroup }: ComponentOptions, resolvConf: string): object => ({
  apiVersion: 'kubelet.config.k8s.io/v1beta1',
  kind: 'KubeletConfiguration',
  address: namespaces.address,
  // Reached by the API server, the machine, and pods of tests.
  authentication: { anonymous: { enabled: true }, webhook: { enabled: false } },
  authorization: { mode: 'AlwaysAllow' },
  containerRuntimeEndpoint: 'unix:///run/containerd/containerd.sock',
  cgroupDriver: 'cgroupfs',
  cgroupRoot: cgroup,
  enforceNodeAllocatable: [],
  failCgroupV1: false,
  failSwapOn: false,
  resolvConf,
  volumePluginDir: '/var/lib/kubelet/plugins',
  // However full the machine's disk is: no image is removed and no pod evicted for it.
  evictionHard: Object.fromEntries(
    ['nodefs.available', 'nodefs.inodesFree', 'imagefs.available', 'imagefs.inodesFree'].map((name) => [name, '0%']),
  ),
  imageGCHighThresholdPercent: 100,
  imageGCLowThresholdPercent: 99,
});

const proxyConfiguration = ({ api, namespaces }: ComponentOptions): object => ({
  apiVersion: 'kubeproxy.config.k8s.io/v1alpha1',
  kind: 'KubeProxyConfiguration',
  clientConnection: { kubeconfig: api.kubeconfig },
  hostnameOverride: nodeName,
  mode: 'iptables',
  detectLocalMode: 'ClusterCIDR',
  clusterCIDR: namespaces.podSubnet,
  healthzBindAddress: `${namespaces.address}:${proxyHealthPort}`,
  metricsBindAddress: '127.0.0.1:10249',
  // The limits of the machine stay as they are.
  conntrack: { maxPerCore: 0, min: 0, tcpEstablishedTimeout: '0s', tcpCloseWaitTimeout: '0s' },
});
