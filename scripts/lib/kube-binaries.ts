import { access, constants, readFile } from 'node:fs/promises';
import { join } from 'node:path';

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
  const dir = join(
    cacheDirectory(),
    `kubernetes-${versions.kubernetes}-etcd-${versions.etcd}-${process.platform}-${process.arch}`,
  );
  if (!(await isExecutable(join(dir, 'kube-apiserver')))) await publish(dir, (own) => build(own, versions, onProgress));
  return binariesIn(dir);
}

const binariesIn = (dir: string): KubeBinaries => ({
  apiserver: join(dir, 'kube-apiserver'),
  etcd: join(dir, 'etcd'),
  kubectl: join(dir, 'kubectl'),
});

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

async function build(dir: string, versions: Versions, onProgress: OnProgress): Promise<void> {
  const go = await run('go', ['version'], { cwd: SOURCE }).catch((cause: unknown) => {
    throw new Error(
      `Go 1.25 or later is needed to build the Kubernetes API server for the end-to-end tests: install it (https://go.dev/dl), or set KUBEBUILDER_ASSETS to a folder with kube-apiserver, etcd and kubectl`,
      { cause },
    );
  });
  if (go.code !== 0) throw new Error(`go version failed: ${go.stderr.trim()}`);
  const programs = [
    ['etcd', 'go.etcd.io/etcd/server/v3'],
    ['kubectl', 'k8s.io/kubernetes/cmd/kubectl'],
    ['kube-apiserver', 'k8s.io/kubernetes/cmd/kube-apiserver'],
  ] as const;
  const ldflags = `-s -w -X k8s.io/component-base/version.gitVersion=${versions.kubernetes}`;
  for (const [index, [program, module]] of programs.entries()) {
    const what = `building ${program} ${program === 'etcd' ? versions.etcd : versions.kubernetes} with Go (${index + 1} of ${programs.length})`;
    const started = Date.now();
    onProgress(what);
    const alive = setInterval(() => onProgress(`${what}, ${Math.round((Date.now() - started) / 1000)} s`), 30_000);
    try {
      const args = [
        'build',
        '-mod=readonly',
        '-buildvcs=false',
        '-trimpath',
        '-ldflags',
        ldflags,
        '-o',
        join(dir, program),
        module,
      ];
      await runOrThrow('go', args, { cwd: SOURCE, env: { ...process.env, CGO_ENABLED: '0', GOFLAGS: '' } });
    } finally {
      clearInterval(alive);
    }
  }
}

async function isExecutable(path: string): Promise<boolean> {
  return access(path, constants.X_OK).then(
    () => true,
    () => false,
  );
}
