/** What the command line works with. Everything is loaded when it is first used. */
import { existsSync, readFileSync } from 'node:fs';
import { copyFile, mkdir } from 'node:fs/promises';
import { homedir } from 'node:os';
import { basename, join } from 'node:path';
import type { Wiring } from '../cli/wiring.ts';
import { lazyAdapters } from './adapters.ts';

/** `podRoot`: what comes before the path at which a pod finds its service account. */
export function createWiring({ podRoot = '' }: { readonly podRoot?: string } = {}): Wiring {
  return {
    version: readVersion(),
    adapters: lazyAdapters(),

    async openDirectoryHome(dir) {
      const [{ createDirectoryHome }, { readDeclaredText }] = await Promise.all([
        import('../adapters/directory/index.ts'),
        import('./declared-text.ts'),
      ]);
      return { home: createDirectoryHome(dir), sourceOf: (key) => readDeclaredText(dir, key) };
    },

    async hasKubeconfig({ kubeconfig, context }) {
      const said = kubeconfig !== undefined || context !== undefined || Boolean(process.env['KUBECONFIG']);
      return said || isInPod() || existsSync(join(homedir(), '.kube', 'config'));
    },

    async openKubernetesHome(options) {
      const { createKubernetesHome } = await import('../adapters/kubernetes/home.ts');
      const home = await createKubernetesHome({ ...options, podRoot });
      return {
        home,
        namespace: home.namespace,
        inPod: home.inPod,
        declareRestore: (key, backup) => home.declareRestore(key, backup),
        close: async () => home[Symbol.asyncDispose](),
      };
    },

    async openPlainDump(file) {
      const { plainBackup } = await import('../adapters/storage/index.ts');
      const { path, sizeBytes } = await plainBackup(file);
      return {
        path,
        sizeBytes,
        async copyInto(directory) {
          await mkdir(directory, { recursive: true, mode: 0o700 });
          const copy = join(directory, basename(path));
          await copyFile(path, copy);
          return copy;
        },
      };
    },

    async serve(options) {
      const { serve } = await import('./serve.ts');
      return serve({ ...options, adapters: lazyAdapters(), version: readVersion() });
    },
  };
}

/** Kubernetes tells every container where its API server is. */
const isInPod = (): boolean => Boolean(process.env['KUBERNETES_SERVICE_HOST']);

/** Beside `src/` in a clone as beside `dist/` in the package. */
function readVersion(): string {
  const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as {
    readonly version: string;
  };
  return version;
}
