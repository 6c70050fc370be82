import { access, constants, readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';

import { cacheDirectory } from './cache.ts';
import type { OnProgress } from './cache.ts';
import { publish } from './publish.ts';
import { run, runOrThrow } from './run.ts';

/** Paths of programs. */
export interface KubeBinaries {
  readonly apiserver: string;
  readonly etcd: string;
  readonly kubectl: string;
}

/** Paths of the programs that a cluster with a node has beside those. */
export interface NodeBinaries {
  readonly controllerManager: string;
  readonly kubelet: string;
  readonly proxy: string;
  readonly scheduler: string;
}

const SOURCE = join(import.meta.dirname, '../../test/support/kube');

/**
 * kube-apiserver, etcd and kubectl: from `KUBEBUILDER_ASSETS` (envtest's convention), else from the cache, else built by Go from the
 * versions and checksums in test/support/kube (3 to 10 minutes, once). Throws, with what to install, where there is no Go.
 */
export async function ensureKubeBinaries(onProgress: OnProgress = () => undefined): Promise<KubeBinaries> {
  const assets = process.env['KUBEBUILDER_ASSETS'];
  if (assets) {
    for (const program of ['kube-apiserver', 'etcd', 'kubectl']) {
      if (!(await isExecutable(join(assets, program))))
        throw new Error(`KUBEBUILDER_ASSETS is '${assets}', which has no ${program}`);
    }
    return binariesIn(assets);
  }
  const versions = await readVersions();
  const dir = await ensureBuilt(
    `kubernetes-${versions.kubernetes}-etcd-${versions.etcd}`,
    'kube-apiserver',
    versions,
    // One after another, so that what is waited for is told.
    [['go.etcd.io/etcd/server/v3'], ['k8s.io/kubernetes/cmd/kubectl'], ['k8s.io/kubernetes/cmd/kube-apiserver']],
    onProgress,
  );
  return binariesIn(dir);
}

const binariesIn = (dir: string): KubeBinaries => ({
  apiserver: join(dir, 'kube-apiserver'),
  etcd: join(dir, 'etcd'),
  kubectl: join(dir, 'kubectl'),
});

/**
 * kubelet, kube-proxy, kube-scheduler and kube-controller-manager, of the same version: from the cache, else built by Go as those of
 * `ensureKubeBinaries` are, after which most of what they are made of is in Go's own cache.
 */
export async function ensureNodeBinaries(onProgress: OnProgress = () => undefined): Promise<NodeBinaries> {
  const versions = await readVersions();
  const programs = ['kubelet', 'kube-proxy', 'kube-scheduler', 'kube-controller-manager'];
  const dir = await ensureBuilt(
    `kubernetes-${versions.kubernetes}-node`,
    'kubelet',
    versions,
    // All at once, so that while one is linked the others are compiled.
    [programs.map((program) => `k8s.io/kubernetes/cmd/${program}`)],
    onProgress,
  );
  return {
    controllerManager: join(dir, 'kube-controller-manager'),
    kubelet: join(dir, 'kubelet'),
    proxy: join(dir, 'kube-proxy'),
    scheduler: join(dir, 'kube-scheduler'),
  };
}

/** The folder of the cache with the programs of these packages, built where `program` is missing in it. */
async function ensureBuilt(
  name: string,
  program: string,
  versions: Versions,
  steps: readonly (readonly string[])[],
  onProgress: OnProgress,
): Promise<string> {
  const dir = join(cacheDirectory(), `${name}-${process.platform}-${process.arch}`);
  if (!(await isExecutable(join(dir, program))))
    await publish(dir, (own) => build(own, steps, versions.kubernetes, onProgress));
  return dir;
}

interface Versions {
  /** As in go.mod: `v1.35.4`. */
  readonly kubernetes: string;
  readonly etcd: string;
}

async function readVersions(): Promise<Versions> {
  const goMod = await readFile(join(SOURCE, 'go.mod'), 'utf8');
  const version = (module: string): string => {
    const found = new RegExp(`^\\s${module} (v\\S+)`, 'm').exec(goMod)?.[1];
    if (!found) throw new Error(`${SOURCE}/go.mod does not name ${module}`);
    return found;
  };
  return { kubernetes: version('k8s.io/kubernetes'), etcd: version('go.etcd.io/etcd/server/v3') };
}

async function build(
  dir: string,
  steps: readonly (readonly string[])[],
  version: string,
  onProgress: OnProgress,
): Promise<void> {
  const go = await run('go', ['version'], { cwd: SOURCE }).catch((cause: unknown) => {
    const programs = steps.flat().map(programOf);
    const orSet = programs.includes('kube-apiserver') ? ', or set KUBEBUILDER_ASSETS to a folder with them' : '';
    throw new Error(
      `Go 1.25 or later is needed to build ${programs.join(', ')}: install it (https://go.dev/dl)${orSet}`,
      { cause },
    );
  });
  if (go.code !== 0) throw new Error(`go version failed: ${go.stderr.trim()}`);
  const ldflags = `-s -w -X k8s.io/component-base/version.gitVersion=${version}`;
  for (const [index, packages] of steps.entries()) {
    const what = `building ${packages.map(programOf).join(', ')} with Go (${index + 1} of ${steps.length})`;
    const started = Date.now();
    onProgress(what);
    const alive = setInterval(() => onProgress(`${what}, ${Math.round((Date.now() - started) / 1000)} s`), 30_000);
    try {
      const output = packages.length === 1 ? join(dir, programOf(packages[0] ?? '')) : `${dir}/`;
      const flags = ['-mod=readonly', '-buildvcs=false', '-trimpath', '-ldflags', ldflags, '-o', output];
      const env = { ...process.env, CGO_ENABLED: '0', GOFLAGS: '' };
      await runOrThrow('go', ['build', ...flags, ...packages], { cwd: SOURCE, env });
    } finally {
      clearInterval(alive);
    }
  }
}

/** etcd's package is called by its version. */
const programOf = (goPackage: string): string =>
  goPackage.startsWith('go.etcd.io/etcd/') ? 'etcd' : basename(goPackage);

async function isExecutable(path: string): Promise<boolean> {
  return access(path, constants.X_OK).then(
    () => true,
    () => false,
  );
}
