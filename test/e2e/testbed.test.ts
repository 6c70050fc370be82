import { expect, test } from '@jest/globals';

import { apiServer, namespace } from '../support/apiserver.ts';

const configMap = (name: string): string =>
  JSON.stringify({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name }, data: { a: 'b' } });

test('the API server and its kubectl are real, and of one version', async () => {
  const server = await apiServer();
  const { code, stdout, stderr } = await server.kubectl(['version', '-o', 'json']);
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  const { clientVersion, serverVersion } = JSON.parse(stdout) as Record<string, { gitVersion: string }>;
  expect(serverVersion?.gitVersion).toMatch(/^v1\.\d+\.\d+$/);
  expect(clientVersion?.gitVersion).toBe(serverVersion?.gitVersion);
});

test('what is applied in a namespace of its own is there, and nowhere else', async () => {
  const server = await apiServer();
  const [mine, other] = [await namespace(server), await namespace(server)];
  expect(await server.kubectl(['apply', '-n', mine, '-f', '-'], { input: configMap('c') })).toMatchObject({
    code: 0,
    stdout: 'configmap/c created\n',
  });
  expect(await server.kubectl(['get', 'cm', 'c', '-n', mine, '-o', 'jsonpath={.data.a}'])).toMatchObject({
    code: 0,
    stdout: 'b',
  });
  expect(await server.kubectl(['get', 'cm', 'c', '-n', other])).toMatchObject({ code: 1, stdout: '' });
});
