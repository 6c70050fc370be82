/**
 * The gate of a pod, as examples/kubernetes/gate.yaml has it: the init container's own arguments, with the service account
 * of that example and no other right, against a real API server and a real controller.
 */
import { createServer, type Server } from 'node:http';
import { afterEach, describe, expect, test } from '@jest/globals';
import { startCommand, type Pod, type Started } from '../support/operator.ts';
import { closeGate, eventually, kubectl, operatorFor, place, podAs, useCluster, type Place } from '../support/place.ts';

useCluster();

const started: Started[] = [];
const applications: Server[] = [];
afterEach(async () => {
  for (const one of applications.splice(0)) one.close();
  for (const one of started.splice(0)) await one[Symbol.asyncDispose]();
});

interface Scene {
  readonly here: Place;
  readonly pod: Pod;
  /** Starts the gate of a pod whose image needs that revision. */
  readonly gate: (revision: string, timeout?: string) => Started;
}

async function scene(): Promise<Scene> {
  const here = await place();
  await here.kubectl(['apply', '-f', 'examples/kubernetes/gate.yaml']);
  const args = JSON.parse(
    await here.kubectl([
      'get',
      'deployment',
      'ops-center',
      '-o',
      'jsonpath={.spec.template.spec.initContainers[0].args}',
    ]),
  ) as readonly string[];
  const pod = await podAs(here, 'ops-center');
  return {
    here,
    pod,
    gate: (revision, timeout = '5m') => {
      const typed = args.map((arg) => arg.replace('4f1c2d9ab0e7', revision).replace(/^1h$/, timeout));
      const one = startCommand({ ...here.options, pod }, ...typed);
      started.push(one);
      return one;
    },
  };
}

const says = (gate: Started, what: RegExp): Promise<void> =>
  eventually(`it says ${String(what)}:\n${gate.written()}`, () => Promise.resolve(what.test(gate.written())));

describe('the gate of a pod', () => {
  test('may read the one target and nothing else, as the example grants it', async () => {
    const { here } = await scene();
    const ask = (...what: readonly string[]) =>
      here.server.kubectl([
        '-n',
        here.ns,
        'auth',
        'can-i',
        ...what,
        `--as=system:serviceaccount:${here.ns}:ops-center`,
      ]);
    const targets = 'migrationtargets.migrationtarget.dev';
    // The authorizer takes a moment to see it.
    await eventually('it may', async () => (await ask('get', `${targets}/unicorn-db`)).stdout.startsWith('yes'));
    const others = [['get', `${targets}/other`], ...['list', 'watch', 'patch'].map((verb) => [verb, targets])];
    for (const other of others) expect((await ask(...other)).stdout).toMatch(/^no/);
  });

  test('holds it through all that may be in the way, tells what it waits for, and opens once the database is there', async () => {
    const { here, gate } = await scene();
    const one = gate('a2');
    await says(one, /^Waiting until the database of \S+\/unicorn-db is at a2, for 5m at most\.\n/);
    await says(one, /There is no MigrationTarget \S+\/unicorn-db yet\.\n/);

    await here.apply('unicorn-db', 'a1');
    await says(one, /No controller has looked at \S+\/unicorn-db .*kubectl get deployments/);

    await operatorFor(here);
    await says(one, /It is at a1, and a1 is declared\. Upgraded: /);

    await here.kubectl(['delete', 'rolebinding', 'unicorn-db-gate']);
    await says(one, /A right is missing in the cluster: .*"unicorn-db" is forbidden/);
    await here.kubectl(['apply', '-f', 'examples/kubernetes/gate.yaml']);

    const closed = await closeGate(here);
    await here.patch('unicorn-db', { revision: 'a2' });
    await closed.reached();
    await says(
      one,
      /It is not at rest, and a2 is declared\. Progressing: Operation \w+ \(upgrade\) is at its step change/,
    );
    expect(one.hasEnded()).toBe(false);

    await closed.open();
    expect(await one.ended).toMatchObject({ code: 0, stdout: '✓ unicorn-db   at a2\n' });
    expect(await here.version()).toBe('a2');
    // The next pod of the same image finds it open.
    expect(await gate('a2').ended).toMatchObject({ code: 0 });
    // Each thing is told once.
    expect(one.written().match(/There is no MigrationTarget/g)).toHaveLength(1);
  });

  test('opens before the target is Ready: the application that is asked for its health may be behind it', async () => {
    const { here, gate } = await scene();
    const one = gate('a1');
    const application = createServer((_, response) => response.writeHead(one.hasEnded() ? 200 : 503).end());
    applications.push(application);
    await new Promise<void>((resolve) => void application.listen(0, '127.0.0.1', resolve));
    const address = application.address();
    if (address === null || typeof address === 'string') throw new Error('no port');
    await operatorFor(here);
    await here.apply('unicorn-db', 'a1', {
      application: { healthCheck: { url: `http://127.0.0.1:${address.port}/`, timeout: '60s' } },
    });
    expect(await one.ended).toMatchObject({ code: 0 });
    await here.wait('unicorn-db', 'condition=Ready');
  });

  test('waits through an approval', async () => {
    const { here, gate } = await scene();
    await operatorFor(here);
    await here.apply('unicorn-db', 'a2');
    await here.wait('unicorn-db', 'condition=Ready');
    const one = gate('a1');
    await here.patch('unicorn-db', { revision: 'a1', policy: { dataLoss: 'RequireApproval' } });
    await says(one, /It is at a2, and a1 is declared\. ApprovalRequired: /);
    const digest = (await here.target('unicorn-db')).status?.plan?.digest ?? '';
    expect(await here.command('approve', 'unicorn-db', '--plan', digest)).toMatchObject({ code: 0 });
    expect(await one.ended).toMatchObject({ code: 0 });
    expect(await here.version()).toBe('a1');
  });

  test('ends with 4 where a human is needed, and with 5 where the time is over, and says why', async () => {
    const { here, gate } = await scene();
    await operatorFor(here);
    await here.apply('unicorn-db', 'a1');
    await here.wait('unicorn-db', 'condition=Ready');
    expect(await gate('a2', '1s').ended).toMatchObject({
      code: 5,
      stdout: '',
      stderr: expect.stringMatching(/TimedOut unicorn-db\n +The database did not come to a2 within 1s\. It is at a1, /),
    });
    await here.patch('unicorn-db', { revision: 'a4' });
    expect(await gate('a4').ended).toMatchObject({
      code: 4,
      stdout: '',
      stderr: expect.stringMatching(/RevisionNotFound unicorn-db\n/),
    });
    // What a pod of the old image needs is there, whatever is wrong with what is declared.
    expect(await gate('a1').ended).toMatchObject({ code: 0 });
  });

  test('refuses what is no revision, with what to write', async () => {
    const { gate } = await scene();
    expect(await gate('head').ended).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/"head" means something else/),
    });
    expect(await gate('a1,base').ended).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/"base" is the state/),
    });
  });
});

test('a target in a namespace that no controller watches is told of, with where to look', async () => {
  const [watched, unwatched] = [await place(), await place()];
  await operatorFor(watched);
  await unwatched.apply('unicorn', 'a1');
  await watched.apply('unicorn', 'a1');
  await watched.wait('unicorn', 'condition=Ready');

  const hint = new RegExp(
    `No controller has looked at ${unwatched.ns}/unicorn .*kubectl get deployments --all-namespaces`,
  );
  expect(await unwatched.command('status', 'unicorn')).toMatchObject({ code: 0, stdout: expect.stringMatching(hint) });
  const waited = await unwatched.command('wait', 'unicorn', '--timeout', '1s');
  expect(waited).toMatchObject({ code: 5, stderr: expect.stringMatching(hint) });
  expect((await watched.command('status', 'unicorn')).stdout).not.toMatch(/No controller/);
  expect(
    await kubectl(['-n', unwatched.ns, 'get', 'mtgt', 'unicorn', '-o', 'jsonpath={.status.observedGeneration}']),
  ).toBe('-1');
});
