/** What the command line works with. Everything is loaded when it is first used. */
import { createReadStream, existsSync, readFileSync } from 'node:fs';
import { copyFile, mkdir } from 'node:fs/promises';
import { homedir } from 'node:os';
import { basename, join } from 'node:path';
import type { Wiring } from '../cli/wiring.ts';
import { lazyAdapters, type Cluster } from './adapters.ts';

/** `podRoot`: what comes before the path at which a pod finds its service account. */
export function createWiring({ podRoot = '' }: { readonly podRoot?: string } = {}): Wiring {
  let cluster: Cluster | null = null;
  const adapters = lazyAdapters(() => cluster);
  return {
    version: readVersion(),
    adapters,

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
      cluster = home;
      return {
        home,
        namespace: home.namespace,
        inPod: home.inPod,
        declareRestore: (key, backup) => home.declareRestore(key, backup),
        close: async () => {
          await adapters[Symbol.asyncDispose]();
          await home[Symbol.asyncDispose]();
        },
      };
    },

    async openPlainDump(file) {
      const { plainBackup } = await import('../adapters/storage/index.ts');
      const { path, sizeBytes } = await plainBackup(file);
      return {
        path,
        sizeBytes,
        async copyTo(into) {
          if (into.kind === 'stream') return into.write(basename(path), createReadStream(path), sizeBytes);
          await mkdir(into.path, { recursive: true, mode: 0o700 });
          const copy = join(into.path, basename(path));
          await copyFile(path, copy);
          return { kind: 'path', path: copy };
        },
      };
    },

    async openDumpFolder(dir) {
      const { openDumpFolder } = await import('../adapters/storage/index.ts');
      return openDumpFolder(dir);
    },

    async openNotifier(say) {
      const { openWebhook } = await import('./webhook.ts');
      try {
        return await openWebhook(readVersion(), {
          delivered: () => undefined,
          failed: () => undefined,
          dropped: ({ event, target }, because) =>
            say(`The webhook was not told of "${event}" of ${target.name}: ${because}.`),
        });
      } catch (thrown) {
        // A rollback is not to fail for want of somebody to tell.
        say(`Nobody is told of this by a webhook: ${thrown instanceof Error ? thrown.message : String(thrown)}`);
        return null;
      }
    },

    async serveVolume(folder) {
      const { serveVolume } = await import('../adapters/volume/agent.ts');
      await serveVolume(folder, process.stdin, process.stdout);
    },

    async serve(options) {
      const { serve } = await import('./serve.ts');
      return serve({ ...options, adapters, version: readVersion() });
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
