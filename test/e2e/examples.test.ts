/** examples/ for a cluster: what kustomize makes of them, on a real API server with the kinds of Flux and Argo CD. */
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { parseAllDocuments } from 'yaml';
import type { Ran } from '../../scripts/lib/run.ts';
import { startApiServer, type OwnApiServer } from '../support/apiserver.ts';
import { publishedKinds } from '../support/gitops.ts';

const example = 'examples/kubernetes/ops-center';
let server: OwnApiServer;
let dir: string;

beforeAll(async () => {
  [server, dir] = await Promise.all([startApiServer(), mkdtemp(join(tmpdir(), 'mt-examples-'))]);
  const kinds = ['-f', 'crds/', ...(await publishedKinds()).flatMap((file) => ['-f', file])];
  await kubectl('apply', '--server-side', ...kinds);
  await kubectl('wait', '--for=condition=Established', '--timeout=60s', ...kinds);
  for (const namespace of ['ops-center', 'flux-system', 'argocd']) await kubectl('create', 'namespace', namespace);
});
afterAll(() => Promise.all([server.stop(), rm(dir, { recursive: true })]));

async function kubectl(...args: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await server.kubectl(args);
  if (code !== 0) throw new Error(`kubectl ${args.join(' ')}: ${stderr}`);
  return stdout;
}

interface Container {
  readonly image: string;
  readonly env: readonly { readonly name: string; readonly value?: string }[];
}
interface Manifest {
  readonly kind: string;
  readonly spec: {
    readonly revision: unknown;
    readonly runtime: { readonly kubernetes: { readonly image: string } };
    readonly template: {
      readonly metadata: object;
      readonly spec: { readonly initContainers: readonly [Container]; readonly containers: readonly [Container] };
    };
  };
}

async function built(
  from: string,
): Promise<{ readonly target: Manifest['spec']; readonly deployment: Manifest['spec'] }> {
  const manifests = parseAllDocuments(await kubectl('kustomize', from)).map((one) => one.toJS() as Manifest);
  const specOf = (wanted: string): Manifest['spec'] => {
    const found = manifests.find(({ kind }) => kind === wanted);
    if (found === undefined) throw new Error(`there is no ${wanted}`);
    return found.spec;
  };
  return { target: specOf('MigrationTarget'), deployment: specOf('Deployment') };
}

describe('an application and its database', () => {
  test.each([
    ['forwards', '1.5.0', 'c83f0b6d19e4'],
    ['back', '1.3.0', '1f6d83c2a940'],
    ['to an id that looks like a number', '1.6.0', '123456789012'],
  ])('go %s by two lines: image, revision, and what the pods wait for agree', async (_, tag, revision) => {
    const copy = join(dir, tag);
    await cp(example, copy, { recursive: true });
    for (const [file, line, instead] of [
      ['kustomization.yaml', /newTag: .*/, `newTag: ${tag}`],
      ['migration-target.yaml', /revision: '\w+'/, `revision: '${revision}'`],
    ] as const) {
      const text = await readFile(join(copy, file), 'utf8');
      expect(text).toMatch(line);
      await writeFile(join(copy, file), text.replace(line, instead));
    }
    const { target, deployment } = await built(copy);
    const { containers, initContainers } = deployment.template.spec;
    expect(containers[0].image).toBe(`ops-center:${tag}`);
    expect(target.runtime.kubernetes.image).toBe(`ops-center:${tag}`);
    expect(target.revision).toBe(revision);
    expect(initContainers[0].env).toEqual([{ name: 'REVISION', value: revision }]);
  });

  test('are taken by the API server, again too, and the pods by a namespace with the restricted standard', async () => {
    await kubectl('label', 'namespace', 'ops-center', 'pod-security.kubernetes.io/enforce=restricted');
    for (const _ of [1, 2]) {
      const { code, stderr } = await server.kubectl(['apply', '--server-side', '--validate=strict', '-k', example]);
      expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    }
    const { metadata, spec } = (await built(example)).deployment.template;
    const pod = { apiVersion: 'v1', kind: 'Pod', metadata: { ...metadata, name: 'ops-center' }, spec };
    const created = await server.kubectl(['-n', 'ops-center', 'create', '--dry-run=server', '-f', '-'], {
      input: JSON.stringify(pod),
    });
    expect(created).toMatchObject({ code: 0, stderr: '' });
  });

  test('have a gate whose pods may read that one target, and whose application has no token', async () => {
    const as = '--as=system:serviceaccount:ops-center:ops-center';
    const may = async (...ask: readonly string[]): Promise<string> =>
      (await server.kubectl(['-n', 'ops-center', 'auth', 'can-i', ...ask, as])).stdout.trim();
    expect(await may('get', 'mtgt/unicorn-db')).toBe('yes');
    expect(await may('get', 'mtgt/other')).toBe('no');
    expect(await may('list', 'mtgt')).toBe('no');
    expect(await may('get', 'secrets/unicorn-db')).toBe('no');
    const { spec } = (await built(example)).deployment.template;
    expect(spec).toMatchObject({
      automountServiceAccountToken: false,
      initContainers: [{ volumeMounts: expect.arrayContaining([expect.objectContaining({ name: 'token' })]) }],
      containers: [{ volumeMounts: [{ name: 'tmp', mountPath: '/tmp' }] }],
    });
  });
});

test.each(['examples/flux/ops-center.yaml', 'examples/argo-cd/applications.yaml', 'examples/argo-cd/argocd-cm.yaml'])(
  '%s is what the kinds take, to the last field',
  async (file) => {
    const apply = (input: string): Promise<Ran> =>
      server.kubectl(['apply', '--server-side', '--dry-run=server', '--validate=strict', '-f', '-'], { input });
    const text = await readFile(file, 'utf8');
    expect(await apply(text)).toMatchObject({ code: 0, stderr: '' });
  },
);
