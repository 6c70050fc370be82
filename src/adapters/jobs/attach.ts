/** The standard streams of a program in a pod: `kubectl attach`, with an end of its input (channel protocol v5). */
import { PassThrough, Writable, type Readable } from 'node:stream';
import type { RawData, WebSocket } from 'ws';
import { pathTo, type ApiClient } from '../kubernetes/client.ts';

/** Since Kubernetes 1.30; before it, nobody can end a program's input and still hear it. */
const protocol = 'v5.channel.k8s.io';
const channel = { stdin: 0, stdout: 1, stderr: 2, status: 3, close: 255 } as const;
/** A connection that is dead, and says nothing, is found by it. */
const pingMs = 15_000;

export interface Attached {
  readonly stdin: Writable;
  readonly stdout: Readable;
  readonly stderr: Readable;
  /** Resolves with whether the node has said that the program ended: else the connection was cut. Never rejects. */
  readonly ended: Promise<boolean>;
  close(): void;
}

export interface AttachedTo {
  readonly namespace: string;
  /** Of the pod. */
  readonly name: string;
  readonly container: string;
  /** Whom the controller acts as. */
  readonly as: string | undefined;
}

/** Throws ApiError, ApiUnreachable. */
export async function attach(client: Pick<ApiClient, 'socket'>, pod: AttachedTo): Promise<Attached> {
  const socket = await client.socket(
    {
      path: pathTo`/api/v1/namespaces/${pod.namespace}/pods/${pod.name}/attach`,
      query: { container: pod.container, stdin: 'true', stdout: 'true', stderr: 'true', tty: 'false' },
      as: pod.as,
    },
    [protocol],
  );
  const stdout = new PassThrough();
  const stderr = new PassThrough();
  let isOver = false;

  const take = (stream: PassThrough, bytes: Buffer): void => {
    if (stream.write(bytes)) return;
    // Whoever reads is slower than what comes.
    socket.pause();
    stream.once('drain', () => socket.resume());
  };
  socket.on('message', (data: RawData) => {
    const frame = data as Buffer; // the default binaryType
    const bytes = frame.subarray(1);
    switch (frame[0]) {
      case channel.stdout:
        return take(stdout, bytes);
      case channel.stderr:
        return take(stderr, bytes);
      case channel.status:
        isOver = true;
        return;
      default:
    }
  });
  const ended = whenClosed(socket).then(() => {
    stdout.end();
    stderr.end();
    return isOver;
  });
  socket.resume();
  return { stdin: inputOf(socket), stdout, stderr, ended, close: () => socket.terminate() };
}

function inputOf(socket: WebSocket): Writable {
  const stdin = new Writable({
    write(chunk: Buffer, _encoding, done) {
      socket.send(Buffer.concat([Buffer.of(channel.stdin), chunk]), done);
    },
    final(done) {
      socket.send(Buffer.of(channel.close, channel.stdin), done);
    },
  });
  // What became of the program is told by `ended`.
  stdin.on('error', () => undefined);
  return stdin;
}

/** An error is followed by the close. */
function whenClosed(socket: WebSocket): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  let isAlive = true;
  const pinging = setInterval(() => {
    if (!isAlive) return socket.terminate();
    isAlive = false;
    socket.ping();
  }, pingMs);
  socket.on('pong', () => (isAlive = true));
  socket.on('error', () => undefined);
  socket.once('close', () => {
    clearInterval(pinging);
    resolve();
  });
  return promise;
}
