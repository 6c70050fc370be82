/** The component for the Prometheus Operator: a real API server takes it, by the operator's own definitions of its kinds. */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { parse, parseAllDocuments, stringify } from 'yaml';
import { runOrThrow } from '../../scripts/lib/run.ts';
import { apiServer, namespace, type ApiServer } from '../support/apiserver.ts';

const operator = 'github.com/prometheus-operator/prometheus-operator@v0.82.0';
const root = join(import.meta.dirname, '../..');

interface Resource {
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly labels?: Readonly<Record<string, string>> };
  readonly spec: unknown;
  readonly data?: Readonly<Record<string, string>>;
}
interface PodMonitorSpec {
  readonly jobLabel: string;
  readonly selector: { readonly matchLabels: Readonly<Record<string, string>> };
  readonly podMetricsEndpoints: readonly {
    readonly port: string;
    readonly path: string;
    readonly honorLabels: boolean;
  }[];
}
interface DeploymentSpec {
  readonly template: {
    readonly metadata: { readonly labels: Readonly<Record<string, string>> };
    readonly spec: { readonly containers: readonly { readonly ports?: readonly { readonly name?: string }[] }[] };
  };
}

let server: ApiServer;
let dir: string;

async function kubectl(...args: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await server.kubectl(args);
  if (code !== 0) throw new Error(`kubectl ${args.join(' ')}: ${stderr}`);
  return stdout;
}

/** A kustomization of somebody who takes all of it. */
beforeAll(async () => {
  server = await apiServer();
  dir = await mkdtemp(join(tmpdir(), 'mt-operator-'));
  const manifests = relative(dir, join(root, 'manifests'));
  const kustomization = { resources: [manifests], components: [join(manifests, 'components/prometheus')] };
  await writeFile(join(dir, 'kustomization.yaml'), stringify(kustomization));
});
afterAll(async () => {
  await rm(dir, { recursive: true, force: true });
});

const built = async (): Promise<readonly Resource[]> =>
  parseAllDocuments(await kubectl('kustomize', dir)).map((document) => document.toJS() as Resource);

function specOf(resources: readonly Resource[], kind: string): unknown {
  const found = resources.filter((resource) => resource.kind === kind);
  expect(found).toHaveLength(1);
  return found[0]?.spec;
}

test('the API server takes the objects as they are, every field known', async () => {
  const { stdout } = await runOrThrow('go', ['mod', 'download', '-json', operator], { cwd: dir });
  const module = JSON.parse(stdout) as { readonly Dir: string };
  for (const kind of ['podmonitors', 'prometheusrules']) {
    const file = join(module.Dir, 'example/prometheus-operator-crd', `monitoring.coreos.com_${kind}.yaml`);
    await kubectl('apply', '--server-side', '-f', file);
    await kubectl('wait', '--for=condition=Established', '--timeout=60s', '-f', file);
  }
  const objects = (await built()).filter(({ kind }) => ['PodMonitor', 'PrometheusRule', 'ConfigMap'].includes(kind));
  const file = join(dir, 'objects.json');
  await writeFile(file, JSON.stringify({ apiVersion: 'v1', kind: 'List', items: objects }));
  const ns = await namespace(server);
  const applied = await kubectl('-n', ns, 'apply', '--server-side', '--validate=strict', '-o', 'name', '-f', file);
  expect(applied.trim().split('\n').toSorted()).toEqual([
    'configmap/migration-target-dashboards',
    'podmonitor.monitoring.coreos.com/migration-target',
    'prometheusrule.monitoring.coreos.com/migration-target',
  ]);
});

test('what is scraped are the pods of the controller, under the job that the alerts know', async () => {
  const resources = await built();
  const { jobLabel, selector, podMetricsEndpoints } = specOf(resources, 'PodMonitor') as PodMonitorSpec;
  const { template } = specOf(resources, 'Deployment') as DeploymentSpec;
  expect(template.metadata.labels).toMatchObject(selector.matchLabels);
  expect(template.metadata.labels[jobLabel]).toBe('migration-target');
  // The labels of a target are the controller's to say.
  expect(podMetricsEndpoints).toMatchObject([{ path: '/metrics', honorLabels: true }]);
  const ports = template.spec.containers.flatMap((container) => container.ports ?? []).map(({ name }) => name);
  expect(ports).toContain(podMetricsEndpoints[0]?.port);
});

test('the alerts are those that are tried, and the dashboards are found by their label', async () => {
  const resources = await built();
  const tried: unknown = parse(await readFile(join(root, 'examples/docker-host/prometheus/alerts.yaml'), 'utf8'));
  expect(specOf(resources, 'PrometheusRule')).toEqual(tried);
  const dashboards = resources.find(({ kind }) => kind === 'ConfigMap');
  expect(dashboards?.metadata.labels).toMatchObject({ grafana_dashboard: '1' });
  const uids = Object.values(dashboards?.data ?? {}).map((text) => (JSON.parse(text) as { readonly uid: string }).uid);
  expect(uids.toSorted()).toEqual(['migration-target', 'migration-targets']);
});
