/** Whoever guards a cluster may refuse our Jobs: who it was, and whether that passes, is told at once. */
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeAll, beforeEach, expect, test } from '@jest/globals';
import { runOrThrow } from '../../scripts/lib/run.ts';
import { afterwards, condition, eventually, operatorFor, place, useCluster, type Place } from '../support/place.ts';

useCluster();

let here: Place;
let webhook: { readonly url: string; readonly caBundle: string };

beforeAll(async () => {
  here = await place();
  webhook = await startWebhook();
  await here.kubectl(['label', 'namespace', here.ns, `admission=${here.ns}`]);
  await operatorFor(here);
});
beforeEach(async () => {
  await here.kubectl(['delete', 'mtgt', '--all', '--timeout=60s']);
});

/** An admission webhook that lets no Job be made. */
async function startWebhook(): Promise<typeof webhook> {
  const dir = await mkdtemp(join(tmpdir(), 'mt-webhook-'));
  const [keyFile, certFile] = [join(dir, 'key.pem'), join(dir, 'cert.pem')];
  const subject = ['-subj', '/CN=127.0.0.1', '-addext', 'subjectAltName=IP:127.0.0.1'];
  const made = ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', '-keyout', keyFile, '-out', certFile];
  await runOrThrow('openssl', [...made, ...subject]);
  const cert = await readFile(certFile);
  const server = createServer({ cert, key: await readFile(keyFile) }, (request, response) => {
    void (async () => {
      let text = '';
      for await (const chunk of request) text += String(chunk);
      const {
        apiVersion,
        kind,
        request: asked,
      } = JSON.parse(text) as {
        readonly apiVersion: string;
        readonly kind: string;
        readonly request: { readonly uid: string };
      };
      const status = { message: 'no Jobs on a Friday' };
      response.setHeader('content-type', 'application/json');
      response.end(JSON.stringify({ apiVersion, kind, response: { uid: asked.uid, allowed: false, status } }));
    })();
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  afterwards(async () => {
    server.closeAllConnections();
    server.close();
    await rm(dir, { recursive: true });
  });
  return {
    url: `https://127.0.0.1:${(server.address() as AddressInfo).port}/`,
    caBundle: cert.toString('base64'),
  };
}

const jobs = { apiGroups: ['batch'], apiVersions: ['v1'], operations: ['CREATE'], resources: ['jobs'] };

/** Asked about the Jobs of this namespace alone. */
const webhookAt = (clientConfig: object) => ({
  apiVersion: 'admissionregistration.k8s.io/v1',
  kind: 'ValidatingWebhookConfiguration',
  metadata: { name: here.ns },
  webhooks: [
    {
      name: 'guard.example.com',
      clientConfig,
      rules: [jobs],
      namespaceSelector: { matchLabels: { admission: here.ns } },
      sideEffects: 'None',
      admissionReviewVersions: ['v1'],
    },
  ],
});

const policy = () => ({
  apiVersion: 'v1',
  kind: 'List',
  items: [
    {
      apiVersion: 'admissionregistration.k8s.io/v1',
      kind: 'ValidatingAdmissionPolicy',
      metadata: { name: here.ns },
      spec: {
        matchConstraints: {
          namespaceSelector: { matchLabels: { admission: here.ns } },
          resourceRules: [jobs],
        },
        validations: [{ expression: 'false', message: 'Jobs are made by the platform team' }],
      },
    },
    {
      apiVersion: 'admissionregistration.k8s.io/v1',
      kind: 'ValidatingAdmissionPolicyBinding',
      metadata: { name: here.ns },
      spec: { policyName: here.ns, validationActions: ['Deny'] },
    },
  ],
});

test.each<[string, () => object, string, RegExp]>([
  [
    'a webhook that refuses',
    () => webhookAt(webhook),
    'Stalled',
    /^A Job of unicorn can't be made .*admission webhook "guard\.example\.com" denied the request: no Jobs on a Friday\. Correct spec\.runtime\.kubernetes\.template, or what refuses it/,
  ],
  [
    'a webhook that does not answer',
    () => webhookAt({ ...webhook, url: 'https://127.0.0.1:1/' }),
    'Reconciling',
    /^A Job of unicorn can't be made .*failed calling webhook "guard\.example\.com".*It is tried again by itself\. See: kubectl get validatingwebhookconfigurations/,
  ],
  [
    'an admission policy',
    policy,
    'Stalled',
    /^A Job of unicorn can't be made .*ValidatingAdmissionPolicy '.*' denied request: Jobs are made by the platform team\. Correct spec/s,
  ],
])('%s is named', async (_, guard, type, expected) => {
  const document = JSON.stringify(guard());
  await here.kubectl(['apply', '-f', '-'], document);
  try {
    const job = ['-n', here.ns, 'create', 'job', 'probe', '--image=none', '--dry-run=server'];
    await eventually('the API server heeds it', async () => (await here.server.kubectl(job)).code !== 0);
    await here.apply('unicorn', 'a1', { runtime: { process: null, kubernetes: { image: 'none' } } });
    await here.wait('unicorn', `jsonpath={.status.conditions[?(@.type=="${type}")].reason}=JobRefused`);
    const target = await here.target('unicorn');
    expect(condition(target, type)?.status).toBe('True');
    expect(condition(target, 'Ready')?.message).toMatch(expected);
    expect(target.status?.operation).toBeNull();
  } finally {
    await here.kubectl(['delete', '-f', '-'], document);
  }
});
