/** One server has two addresses: its container's name on Docker's networks, and one that this machine knows. Pure. */
import { hostname } from 'node:os';
import type { ContainerInspectInfo } from 'dockerode';

export interface Address {
  readonly host: string;
  readonly port: number;
}

/** How an address leads to a container: by a name on a network, or by a port that the engine's host passes on. */
export interface Way {
  readonly by: 'network' | 'published';
  /** The port inside the container. */
  readonly port: number;
}

/** null: the address leads elsewhere. `engineHost`: what published ports are on, where that is another machine. */
export function wayInto(container: ContainerInspectInfo, address: Address, engineHost: string | null): Way | null {
  if (namesOf(container).has(address.host.toLowerCase())) return { by: 'network', port: address.port };
  for (const { hostIp, hostPort, port } of publishedPorts(container)) {
    if (hostPort === address.port && isPublishedAt(hostIp, address.host, engineHost)) return { by: 'published', port };
  }
  return null;
}

/** Addresses at which this machine may reach that port of the container, the surest first. */
export function addressesOf(
  container: ContainerInspectInfo,
  port: number,
  engineHost: string | null,
): readonly Address[] {
  const published = publishedPorts(container)
    .filter((one) => one.port === port)
    .map(({ hostIp, hostPort }) => ({ host: publishedHost(hostIp, engineHost), port: hostPort }));
  const onNetworks = Object.values(container.NetworkSettings.Networks)
    .flatMap(({ IPAddress, GlobalIPv6Address }) => [IPAddress, GlobalIPv6Address])
    .filter((host) => host !== '' && host !== undefined)
    .map((host) => ({ host, port }));
  // A container on the host's own network has no address of its own.
  const own = container.HostConfig.NetworkMode === 'host' ? [{ host: engineHost ?? '127.0.0.1', port }] : [];
  return [...own, ...onNetworks, ...published];
}

/** A name by which `from` reaches `to`; null: they share no network. */
export function nameBetween(from: ContainerInspectInfo, to: ContainerInspectInfo): string | null {
  for (const [network, { IPAddress }] of Object.entries(to.NetworkSettings.Networks)) {
    if (!(network in from.NetworkSettings.Networks)) continue;
    // The default bridge has no names.
    return network === 'bridge' ? IPAddress || null : nameOf(to);
  }
  return null;
}

export const nameOf = ({ Name }: ContainerInspectInfo): string => Name.replace(/^\//, '');

function namesOf(container: ContainerInspectInfo): ReadonlySet<string> {
  const { Id, Config, NetworkSettings } = container;
  const onNetworks = Object.values(NetworkSettings.Networks).flatMap((network): readonly string[] => [
    // Its type says any; Docker says null of a network without them.
    ...((network.Aliases as readonly string[] | null) ?? []),
    network.IPAddress,
    network.GlobalIPv6Address,
  ]);
  const all = [nameOf(container), Config.Hostname, Id, Id.slice(0, 12), ...onNetworks];
  return new Set(all.filter((name) => name !== '' && name != null).map((name) => name.toLowerCase()));
}

interface Published {
  readonly hostIp: string;
  readonly hostPort: number;
  readonly port: number;
}

function publishedPorts({ NetworkSettings }: ContainerInspectInfo): readonly Published[] {
  return Object.entries(NetworkSettings.Ports ?? {}).flatMap(([inside, bindings]) => {
    const port = Number(/^(\d+)\/tcp$/.exec(inside)?.[1] ?? 0);
    // Docker says null of a port that is exposed, but not published.
    const list: readonly { readonly HostIp: string; readonly HostPort: string }[] = port === 0 ? [] : (bindings ?? []);
    return list.map(({ HostIp, HostPort }) => ({ hostIp: HostIp, hostPort: Number(HostPort), port }));
  });
}

const everywhere = new Set(['', '0.0.0.0', '::']);
const loopback = new Set(['localhost', '127.0.0.1', '::1', 'host.docker.internal']);

function isPublishedAt(hostIp: string, host: string, engineHost: string | null): boolean {
  const asked = host.toLowerCase();
  if (asked === hostIp) return true;
  const isHere = engineHost === null ? loopback.has(asked) || asked === hostname().toLowerCase() : asked === engineHost;
  return isHere && (everywhere.has(hostIp) || (engineHost === null && loopback.has(hostIp)));
}

/** As an IP address, where that is known: it is what certificates and libpq's `hostaddr` ask for. */
const publishedHost = (hostIp: string, engineHost: string | null): string =>
  engineHost ?? (everywhere.has(hostIp) ? '127.0.0.1' : hostIp);
