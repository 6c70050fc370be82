import { describe, expect, test } from '@jest/globals';
import { dependantsOf, serviceOf, type Labelled } from '../../../src/adapters/docker/compose.ts';

const of = (service: string, dependsOn = '', project = 'ops'): Labelled => ({
  id: `${project}/${service}`,
  labels: {
    'com.docker.compose.project': project,
    'com.docker.compose.service': service,
    'com.docker.compose.depends_on': dependsOn,
  },
});
const database = of('database');
const api = of('api', 'database:service_healthy:false');
const worker = of('worker', 'api:service_healthy:true');
const proxy = of('proxy', 'worker:service_started:true,api:service_started:true');
const metrics = of('metrics', 'api:service_started:false');

const order = (declared: readonly Labelled[], others: readonly Labelled[]): readonly string[] =>
  dependantsOf(declared, others).map(({ id }) => id);

describe('what Docker Compose ties together', () => {
  test('a container of nobody’s project is by itself', () => {
    const alone = { id: 'alone', labels: {} };
    expect(serviceOf(alone.labels)).toBeNull();
    expect(dependantsOf([alone], [worker])).toEqual([{ id: 'alone', startsAfter: [] }]);
  });

  test('what restarts with a declared one stops before it, and so does what restarts with that', () => {
    expect(order([api], [database, api, worker, proxy, metrics])).toEqual(['ops/proxy', 'ops/worker', 'ops/api']);
  });

  test('what only depends on it is left alone, and so is what it depends on itself', () => {
    expect(order([api], [database, metrics])).toEqual(['ops/api']);
  });

  test('what waits for a healthy one says so; what waits for a started one, or for one that is not stopped, does not', () => {
    expect(dependantsOf([api], [database, worker, proxy])).toEqual([
      { id: 'ops/proxy', startsAfter: [] },
      { id: 'ops/worker', startsAfter: ['ops/api'] },
      { id: 'ops/api', startsAfter: [] },
    ]);
  });

  test('declared ones are ordered among themselves too, in whatever order they were written', () => {
    const expected = ['ops/worker', 'ops/api'];
    expect(order([api, worker], [])).toEqual(expected);
    expect(order([worker, api], [])).toEqual(expected);
  });

  test('what `compose run` started goes its own way', () => {
    const shell = { ...worker, id: 'run', labels: { ...worker.labels, 'com.docker.compose.oneoff': 'True' } };
    expect(order([api], [shell])).toEqual(['ops/api']);
  });

  test('a service of the same name in another project is another one', () => {
    expect(order([api], [of('worker', 'api:service_started:true', 'other')])).toEqual(['ops/api']);
  });

  test('a circle, which Compose refuses itself, comes to an end', () => {
    const [a, b] = [of('a', 'b:service_started:true'), of('b', 'a:service_started:true')];
    expect(order([a], [b]).toSorted()).toEqual(['ops/a', 'ops/b']);
  });
});
