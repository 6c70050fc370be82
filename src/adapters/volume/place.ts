/** A folder in a volume, reached by its agent, as what a catalogue needs of it. */
import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  type IncomingHttpHeaders,
  type IncomingHttpStatusHeader,
} from 'node:http2';
import { PassThrough, pipeline, type Readable } from 'node:stream';
import { buffer, json } from 'node:stream/consumers';
import { BackupProblem } from '../storage/manifest.ts';
import type { ObjectPlace } from '../storage/object-place.ts';
import type { Taken, VolumeConnection } from './connection.ts';
import { volumeFailure, type Claim } from './failures.ts';
import { bytesTrailer, cutShort, free, objectList, pathOf, refusal, size } from './protocol.ts';

/** `path`: of the folder, without `/` at its ends; empty: all of the volume. Connects when something is asked. */
export function volumePlace(connection: VolumeConnection, claim: Claim, path: string): ObjectPlace {
  const keyOf = (key: string): string => (path === '' ? key : `${path}/${key}`);
  const relative = (key: string): string => (path === '' ? key : key.slice(path.length + 1));
  const nameOf = (key: string): string => `pvc/${claim.name}:/${keyOf(key)}`;
  const beginning = (begin: string): string => `begin=${encodeURIComponent(keyOf(begin))}`;
  /** No person's own machine has the volume. */
  const inPod = (command: string): string => `${command} (in a pod that mounts it, see docs/backups.md)`;

  async function use<T>(work: (session: ClientHttp2Session) => Promise<T>): Promise<T> {
    using taken = await connection.take();
    return await explained(taken, () => work(taken.session));
  }

  /** An answer in JSON; null: there is none. */
  const ask = (method: 'GET' | 'DELETE', asked: string): Promise<unknown> =>
    use(async (session) => {
      const { accepted, body } = request(session, { ':method': method, ':path': asked }, claim);
      return (await accepted) === null ? null : json(body);
    });

  /** null: there is none. */
  async function open(session: ClientHttp2Session, key: string): Promise<Found | null> {
    const asked = request(session, { ':method': 'GET', ':path': pathOf('objects', keyOf(key)) }, claim);
    const headers = await asked.accepted;
    return headers === null ? null : { body: asked.body, bytes: Number(headers['content-length']) };
  }

  async function* contentOf(key: string): AsyncGenerator<Uint8Array> {
    using taken = await connection.take();
    try {
      const found = await open(taken.session, key);
      if (found !== null) yield* whole(found);
    } catch (thrown) {
      throw await taken.explain(thrown);
    }
  }

  async function upload(key: string, content: AsyncIterable<Uint8Array>): Promise<void> {
    await use(async (session) => {
      const asked = request(session, { ':method': 'PUT', ':path': pathOf('objects', keyOf(key)) }, claim);
      try {
        await send(asked, content);
        await asked.accepted;
      } finally {
        asked.stream.close();
      }
    });
  }

  return {
    async list(begin, { flat = false } = {}) {
      const found = objectList.parse(await ask('GET', `/objects?${beginning(begin)}${flat ? '&flat' : ''}`));
      return found.map(({ key, ...more }) => ({ key: relative(key), ...more }));
    },
    read: (key, limit) =>
      use(async (session) => {
        const found = await open(session, key);
        if (found === null) return null;
        if (found.bytes <= limit) return buffer(whole(found));
        found.body.destroy();
        throw new BackupProblem(`${nameOf(key)} has ${found.bytes} bytes, more than the ${limit} that are read`);
      }),
    write: (key, content) => upload(key, once(content)),
    async remove(key) {
      await ask('DELETE', pathOf('objects', keyOf(key)));
    },
    upload,
    async abandonUploads(begin) {
      await ask('DELETE', `/unfinished?${beginning(begin)}`);
    },
    async download(key) {
      const found = await ask('GET', pathOf('sizes', keyOf(key)));
      // Not opened before it is read: whoever does not want it after all need not close it.
      return found === null ? null : { bytes: size.parse(found).bytes, content: contentOf(key) };
    },
    freeBytes: async () => free.parse(await ask('GET', '/free')).bytes,
    nameOf,
    looking: (folder) => inPod(`ls -laR '/${keyOf(folder)}'`),
    removing: (key) => inPod(`rm '/${keyOf(key)}'`),
    removingAll: (folder) => inPod(`rm -r '/${keyOf(folder)}'`),
  };
}

interface Found {
  readonly body: Readable;
  readonly bytes: number;
}

async function explained<T>(taken: Taken, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (thrown) {
    throw await taken.explain(thrown);
  }
}

async function* once(content: string | Uint8Array): AsyncGenerator<Uint8Array> {
  yield typeof content === 'string' ? Buffer.from(content) : content;
}

/** Throws where it ends before all of it has come. */
async function* whole({ body, bytes }: Found): AsyncGenerator<Uint8Array> {
  let done = 0;
  for await (const chunk of body as AsyncIterable<Uint8Array>) {
    done += chunk.length;
    yield chunk;
  }
  if (done < bytes) throw new BackupProblem(`it ended after ${done} of ${bytes} bytes`);
}

interface Asked {
  readonly stream: ClientHttp2Stream;
  /** null: there is none. Throws why it was refused, and where the stream was cut. */
  readonly accepted: Promise<(IncomingHttpHeaders & IncomingHttpStatusHeader) | null>;
  readonly body: Readable;
}

function request(
  session: ClientHttp2Session,
  headers: { readonly ':method': 'GET' | 'PUT' | 'DELETE'; readonly ':path': string },
  claim: Claim,
): Asked {
  const isPut = headers[':method'] === 'PUT';
  const stream = session.request(headers, { endStream: !isPut, waitForTrailers: isPut });
  // At once: of a stream that nobody reads Node throws away what has come when it is over.
  const body = pipeline(stream, new PassThrough(), () => undefined);
  const { promise, resolve, reject } = Promise.withResolvers<IncomingHttpHeaders & IncomingHttpStatusHeader>();
  stream.once('response', resolve);
  stream.once('error', reject);
  stream.once('close', () => reject(new Error('the stream was closed without an answer')));
  const accepted = promise.then(async (answer) => {
    if (answer[':status'] === 200) return answer;
    const why = await json(body);
    if (answer[':status'] === 404) return null;
    throw volumeFailure(refusal.parse(why), claim);
  });
  accepted.catch(() => undefined); // asked for once all was sent
  return { stream, accepted, body };
}

/** Until the end of `content`, or until there is an answer already. Throws what `content` throws, once nothing is left of it. */
async function send({ stream, accepted }: Asked, content: AsyncIterable<Uint8Array>): Promise<void> {
  let trailer = cutShort;
  let bytes = 0;
  let isAnswered = false;
  stream.once('response', () => (isAnswered = true));
  stream.once('wantTrailers', () => stream.sendTrailers({ [bytesTrailer]: trailer }));
  try {
    for await (const chunk of content) {
      if (isAnswered || stream.destroyed) return;
      bytes += chunk.length;
      if (!stream.write(chunk)) await writable(stream);
    }
    trailer = String(bytes);
    stream.end();
  } catch (thrown) {
    stream.end();
    await accepted.catch(() => undefined);
    throw thrown;
  }
}

/** Resolves when more can be sent, or need not be. */
function writable(stream: ClientHttp2Stream): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const events = ['drain', 'response', 'close'] as const;
  const done = (): void => {
    for (const event of events) stream.off(event, done);
    resolve();
  };
  for (const event of events) stream.on(event, done);
  return promise;
}
