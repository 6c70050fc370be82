/** What those who deploy make of an object, by their own code: kstatus, which Flux waits by, and Argo CD's Lua. */
import { createHash } from 'node:crypto';
import { access, readFile } from 'node:fs/promises';
import { join } from 'node:path';

import { cacheDirectory } from '../../scripts/lib/cache.ts';
import { publish } from '../../scripts/lib/publish.ts';
import { runOrThrow } from '../../scripts/lib/run.ts';

const source = join(import.meta.dirname, 'gitops');

export interface Verdict {
  /** Of kstatus: InProgress, Current, Failed, Terminating. Of Argo CD: Progressing, Healthy, Degraded, Suspended. */
  readonly status: string;
  readonly message: string;
}

export interface Judges {
  kstatus(object: object): Promise<Verdict>;
  /** `lua`: path of the file that Argo CD would run. */
  argoHealth(object: object, lua: string): Promise<Verdict>;
}

/** From the cache, else built by Go from the versions and checksums in test/support/gitops (seconds, once). */
export async function judges(): Promise<Judges> {
  const files = await Promise.all(['main.go', 'go.mod', 'go.sum'].map((file) => readFile(join(source, file))));
  const digest = createHash('sha256').update(Buffer.concat(files)).digest('hex').slice(0, 12);
  const dir = join(cacheDirectory(), `gitops-${digest}-${process.platform}-${process.arch}`);
  const program = join(dir, 'gitops');
  const isThere = await access(program).then(
    () => true,
    () => false,
  );
  if (!isThere) await publish(dir, (own) => build(join(own, 'gitops')));
  const judge = async (object: object, ...args: readonly string[]): Promise<Verdict> =>
    JSON.parse((await runOrThrow(program, args, { input: JSON.stringify(object) })).stdout) as Verdict;
  return {
    kstatus: (object) => judge(object, 'kstatus'),
    argoHealth: (object, lua) => judge(object, 'argo-health', lua),
  };
}

async function build(output: string): Promise<void> {
  const flags = ['-mod=readonly', '-buildvcs=false', '-trimpath', '-ldflags=-s -w'];
  const env = { ...process.env, CGO_ENABLED: '0', GOFLAGS: '' };
  await runOrThrow('go', ['build', ...flags, '-o', output, '.'], { cwd: source, env });
}

/** The kinds of Flux and Argo CD, as these projects publish them: files of their Go modules. */
const published = [
  {
    module: 'github.com/fluxcd/source-controller@v1.7.3',
    sum: 'h1:gFfeBiNUgF0kFFGap/rrMeJqz+0Tod0ARENJO8w/UA8=',
    file: 'config/crd/bases/source.toolkit.fluxcd.io_gitrepositories.yaml',
  },
  {
    module: 'github.com/fluxcd/kustomize-controller@v1.7.3',
    sum: 'h1:SzNnGn/4ObAPEHHleM5U7y/AKxKXph3Vj6ZhteeXw8M=',
    file: 'config/crd/bases/kustomize.toolkit.fluxcd.io_kustomizations.yaml',
  },
  {
    module: 'github.com/argoproj/argo-cd/v3@v3.1.9',
    sum: 'h1:9P9vJKo1RGWu6mtQnGu61r+0h3XKlA2j3kVhwogUQ/0=',
    file: 'manifests/crds/application-crd.yaml',
  },
] as const;

/** Paths of files; from Go's own cache, else downloaded. */
export function publishedKinds(): Promise<readonly string[]> {
  return Promise.all(
    published.map(async ({ module, sum, file }) => {
      const env = { ...process.env, GOFLAGS: '', GOSUMDB: 'off' };
      const { stdout } = await runOrThrow('go', ['mod', 'download', '-json', module], { cwd: source, env });
      const found = JSON.parse(stdout) as { readonly Dir: string; readonly Sum: string };
      if (found.Sum !== sum) throw new Error(`${module} has the checksum ${found.Sum} instead of ${sum}`);
      return join(found.Dir, file);
    }),
  );
}
