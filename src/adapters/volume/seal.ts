/**
 * What an agent writes to its standard output is kept in its pod's log, and may be shipped from there: so both ends talk TLS,
 * by a key of this connection alone. It is handed over on the agent's input, which nobody keeps.
 */
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import type { Socket } from 'node:net';
import type { Readable, Writable } from 'node:stream';
import { connect, createServer, type TLSSocket } from 'node:tls';

const keyBytes = 32;
const identity = 'volume';
/** Keys that both know beforehand are for TLS 1.2 in Node; the key is used once, and so is the exchange. */
const shared = { minVersion: 'TLSv1.2', maxVersion: 'TLSv1.2', ciphers: 'ECDHE-PSK-CHACHA20-POLY1305' } as const;

/** Hands a new key over. */
export function handKey(input: Writable): Buffer {
  const key = randomBytes(keyBytes);
  input.write(key);
  return key;
}

/** Takes the key off the beginning of what is read; null: it ended before. */
export async function takeKey(input: Readable): Promise<Buffer | null> {
  for (;;) {
    const key = input.read(keyBytes) as Buffer | null;
    if (key !== null) return key.length === keyBytes ? key : null;
    if (input.readableEnded) return null;
    await new Promise<void>((resolve) => {
      input.once('readable', resolve);
      input.once('end', resolve);
    });
  }
}

export const sealedClient = (socket: Socket, key: Buffer): TLSSocket =>
  connect({
    ...shared,
    socket,
    pskCallback: () => ({ identity, psk: key }),
    // Whoever has the key is the agent.
    checkServerIdentity: () => undefined,
  });

/** A server of one connection: by it, unlike by a bare TLSSocket, HTTP/2 learns when the exchange is over. */
export async function sealedServer(socket: Socket, key: Buffer): Promise<TLSSocket> {
  const server = createServer({ ...shared, pskCallback: (_socket, name) => (name === identity ? key : null) });
  const secured = once(server, 'secureConnection');
  server.emit('connection', socket);
  const [sealed] = (await secured) as [TLSSocket];
  return sealed;
}
