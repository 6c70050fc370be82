import { describe, expect, test } from '@jest/globals';
import type { ContainerInspectInfo } from 'dockerode';

import { addressesOf, wayInto } from '../../../src/adapters/docker/address.ts';
import { urlOnNetwork } from '../../../src/adapters/docker/python-place.ts';

interface Facts {
  readonly name: string;
  readonly networks?: Readonly<
    Record<string, { readonly IPAddress: string; readonly Aliases?: readonly string[] | null }>
  >;
  readonly ports?: Readonly<Record<string, readonly { readonly HostIp: string; readonly HostPort: string }[] | null>>;
  readonly mode?: string;
}

const container = ({ name, networks = {}, ports = {}, mode = 'unicorn' }: Facts): ContainerInspectInfo =>
  ({
    Id: `${name}-0123456789abcdef`,
    Name: `/${name}`,
    Config: { Hostname: '0123456789ab' },
    HostConfig: { NetworkMode: mode },
    NetworkSettings: { Networks: networks, Ports: ports },
  }) as unknown as ContainerInspectInfo;

const server = container({
  name: 'unicorn-postgresql',
  networks: {
    unicorn: { IPAddress: '172.20.0.2', Aliases: ['db'] },
    other: { IPAddress: '172.21.0.2', Aliases: null },
  },
  ports: { '5432/tcp': [{ HostIp: '127.0.0.1', HostPort: '5433' }], '9187/tcp': null },
});

describe('an address leads into a container', () => {
  test.each([
    ['by its name', 'unicorn-postgresql', 5432, { by: 'network', port: 5432 }],
    ['by its name in other letters', 'Unicorn-PostgreSQL', 5432, { by: 'network', port: 5432 }],
    ['by an alias on a network', 'db', 5432, { by: 'network', port: 5432 }],
    ['by its address on a network', '172.21.0.2', 5432, { by: 'network', port: 5432 }],
    ['by a published port', '127.0.0.1', 5433, { by: 'published', port: 5432 }],
    ['by a published port of localhost', 'localhost', 5433, { by: 'published', port: 5432 }],
    ['not by a port that is published for another address', '192.168.1.4', 5433, null],
    ['not by a port that is not published', '127.0.0.1', 5432, null],
    ['not by another name', 'postgresql', 5432, null],
  ])('%s', (_, host, port, expected) => {
    expect(wayInto(server, { host, port }, null)).toEqual(expected);
  });

  test('on another machine by what that one publishes, and never by what it keeps to its loopback', () => {
    const open = container({ name: 'db', ports: { '5432/tcp': [{ HostIp: '0.0.0.0', HostPort: '5433' }] } });
    expect(wayInto(open, { host: 'docker.example.org', port: 5433 }, 'docker.example.org')).toEqual({
      by: 'published',
      port: 5432,
    });
    expect(wayInto(open, { host: 'localhost', port: 5433 }, 'docker.example.org')).toBeNull();
    expect(wayInto(server, { host: 'docker.example.org', port: 5433 }, 'docker.example.org')).toBeNull();
  });
});

test('a container is tried at its own addresses first, then where its port is published', () => {
  expect(addressesOf(server, 5432, null)).toEqual([
    { host: '172.20.0.2', port: 5432 },
    { host: '172.21.0.2', port: 5432 },
    { host: '127.0.0.1', port: 5433 },
  ]);
  expect(addressesOf(container({ name: 'db', mode: 'host' }), 5432, null)).toEqual([{ host: '127.0.0.1', port: 5432 }]);
});

describe('the URL as the application writes it', () => {
  const application = container({ name: 'ops-center', networks: { unicorn: { IPAddress: '172.20.0.3' } } });

  test.each([
    [
      'a published port is the other container',
      'postgresql://u:p%40@127.0.0.1:5433/d?sslmode=disable',
      'postgresql://u:p%40@unicorn-postgresql:5432/d?sslmode=disable',
    ],
    ['a name on the network stays', 'postgresql://u:p@db:5432/d', 'postgresql://u:p@db:5432/d'],
    ['another server stays', 'postgresql://u:p@127.0.0.1:5432/d', 'postgresql://u:p@127.0.0.1:5432/d'],
    ['without a port it is 5432', 'postgresql://u:p@localhost/d', 'postgresql://u:p@localhost/d'],
  ])('%s', (_, url, expected) => {
    expect(urlOnNetwork(url, application, server, null)).toBe(expected);
  });

  test('on the default bridge it is the address, as there are no names', () => {
    const bridged = container({
      name: 'db',
      mode: 'default',
      networks: { bridge: { IPAddress: '172.17.0.2' } },
      ports: { '5432/tcp': [{ HostIp: '', HostPort: '5433' }] },
    });
    const app = container({ name: 'app', mode: 'default', networks: { bridge: { IPAddress: '172.17.0.3' } } });
    expect(urlOnNetwork('postgresql://u@localhost:5433/d', app, bridged, null)).toBe(
      'postgresql://u@172.17.0.2:5432/d',
    );
  });

  test('an application on the host’s own network writes it as this machine does', () => {
    const app = container({ name: 'app', mode: 'host', networks: { host: { IPAddress: '' } } });
    const url = 'postgresql://u@localhost:5433/d';
    expect(urlOnNetwork(url, app, server, null)).toBe(url);
  });
});
