/** Where the server is and where its tools run, as seen from the controller: both may be in a container. */
import type { Endpoint } from './database-url.ts';
import type { ToolFinder } from './tools.ts';

export interface ServerPlace {
  readonly tools: ToolFinder;
  /** Whether a server at a loopback address has its data on this machine's disk. */
  readonly isThisMachine: boolean;
  /** With the address at which the controller reaches it. Asked for each connection: a container gets another with each start. */
  fromHere(endpoint: Endpoint): Promise<Endpoint>;
  /** With the address at which the tools reach it, which may be in a network of their own. */
  fromTools(endpoint: Endpoint): Promise<Endpoint>;
}

/** The tools run beside the controller, and the URL leads to the server from there. */
export const onThisMachine = (tools: ToolFinder): ServerPlace => ({
  tools,
  isThisMachine: true,
  fromHere: (endpoint) => Promise.resolve(endpoint),
  fromTools: (endpoint) => Promise.resolve(endpoint),
});
