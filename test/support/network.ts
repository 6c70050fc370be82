import { createServer, connect, type Server, type Socket } from 'node:net';

/** Something between us and the API server that can fail as networks do. */
export class Network {
  connections = 0;
  readonly #sockets = new Set<Socket>();
  readonly #server: Server;
  #passes = true;

  constructor(target: URL) {
    this.#server = createServer((inner) => {
      this.connections += 1;
      this.#keep(inner);
      const outer = connect(Number(target.port), target.hostname);
      this.#keep(outer);
      inner.on('data', (data) => this.#passes && outer.write(data));
      outer.on('data', (data) => this.#passes && inner.write(data));
      inner.on('close', () => outer.destroy());
      outer.on('close', () => inner.destroy());
    });
  }

  #keep(socket: Socket): void {
    this.#sockets.add(socket);
    // What is reset here is reset on purpose.
    socket.on('error', () => socket.destroy()).on('close', () => this.#sockets.delete(socket));
  }

  async listen(): Promise<string> {
    await new Promise<void>((resolve) => void this.#server.listen(0, '127.0.0.1', resolve));
    const address = this.#server.address();
    if (address === null || typeof address === 'string') throw new Error('no port');
    return `https://127.0.0.1:${address.port}`;
  }

  /** Connections stay, and nothing comes through. */
  swallow(): void {
    this.#passes = false;
  }

  pass(): void {
    this.#passes = true;
  }

  reset(): void {
    for (const socket of this.#sockets) socket.resetAndDestroy();
  }

  async close(): Promise<void> {
    this.reset();
    await new Promise<void>((resolve) => void this.#server.close(() => resolve()));
  }
}
