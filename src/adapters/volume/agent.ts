/** The end of a volume that lies with it: serves one folder over a pair of streams, and ends with them. */
import { constants, performServerHandshake, type IncomingHttpHeaders, type ServerHttp2Stream } from 'node:http2';
import type { Readable, Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { isNativeError } from 'node:util/types';
import { errorCode } from '../storage/errors.ts';
import { NotWritten } from '../storage/files.ts';
import { folderAt, NoFile, type Folder } from './folder.ts';
import { sealedServer, takeKey } from './seal.ts';
import { socketOf } from './wire.ts';
import { bytesTrailer, sessionWindow, silenceMs, streamWindow, type Refusal } from './protocol.ts';

/** Resolves once whoever is at the other end is gone. */
export async function serveVolume(root: string, input: Readable, output: Writable): Promise<void> {
  // What is written before anybody is attached would be heard by nobody.
  const key = await takeKey(input);
  if (key === null) return;
  const session = performServerHandshake(await sealedServer(await socketOf(input, output), key), {
    settings: { initialWindowSize: streamWindow },
  });
  session.setLocalWindowSize(sessionWindow);
  session.setTimeout(silenceMs, () => session.destroy());
  const folder = folderAt(root);
  session.on('stream', (stream, headers) => {
    // A request that is cut has nobody to be told.
    stream.on('error', () => undefined);
    void answer(folder, stream, headers);
  });
  const { promise, resolve } = Promise.withResolvers<void>();
  session.once('close', resolve);
  session.on('error', () => undefined);
  await promise;
}

async function answer(folder: Folder, stream: ServerHttp2Stream, headers: IncomingHttpHeaders): Promise<void> {
  try {
    await carryOut(folder, stream, headers);
  } catch (thrown) {
    if (stream.destroyed) return;
    // What was begun to be sent can only be cut.
    if (stream.headersSent) return stream.close(constants.NGHTTP2_INTERNAL_ERROR);
    respond(stream, 409, await refusalOf(folder, thrown));
  }
}

async function carryOut(folder: Folder, stream: ServerHttp2Stream, headers: IncomingHttpHeaders): Promise<void> {
  const { pathname, searchParams } = new URL(String(headers[':path']), 'http://volume');
  const [, kind, encoded] = pathname.split('/');
  const begin = searchParams.get('begin') ?? '';
  const key = encoded === undefined ? null : decodeURIComponent(encoded);
  switch (`${String(headers[':method'])} ${kind ?? ''}${key === null ? '' : '/'}`) {
    case 'GET objects':
      return respond(stream, 200, await folder.list(begin, searchParams.has('flat')));
    case 'DELETE unfinished':
      await folder.removeUnfinished(begin);
      return respond(stream, 200, {});
    case 'GET free':
      return respond(stream, 200, { bytes: await folder.freeBytes() });
    case 'GET sizes/': {
      const found = await folder.open(key ?? '');
      await found?.file.close();
      return found === null ? respond(stream, 404, {}) : respond(stream, 200, { bytes: found.bytes });
    }
    case 'GET objects/':
      return send(folder, stream, key ?? '');
    case 'PUT objects/':
      await folder.write(key ?? '', whole(stream, announcedBytes(stream)));
      return respond(stream, 200, {});
    case 'DELETE objects/':
      await folder.remove(key ?? '');
      return respond(stream, 200, {});
    default:
      return respond(stream, 404, {});
  }
}

async function send(folder: Folder, stream: ServerHttp2Stream, key: string): Promise<void> {
  const found = await folder.open(key);
  if (found === null) return respond(stream, 404, {});
  await using file = found.file;
  stream.respond({ ':status': 200, 'content-length': String(found.bytes) });
  if (found.bytes === 0) return void stream.end();
  // No more than was announced, though it may grow.
  await pipeline(file.createReadStream({ autoClose: false, end: found.bytes - 1, highWaterMark: 256 * 1024 }), stream);
}

/** Heard from the beginning: a short request is over before its file is open. null: it was cut. */
const announcedBytes = (stream: ServerHttp2Stream): Promise<number | null> =>
  new Promise<number | null>((resolve) => {
    stream.once('trailers', (trailers: IncomingHttpHeaders) => resolve(Number(trailers[bytesTrailer])));
    stream.once('close', () => resolve(null));
  });

/** What is sent; throws where it was cut before its end. */
async function* whole(stream: ServerHttp2Stream, announced: Promise<number | null>): AsyncGenerator<Uint8Array> {
  let bytes = 0;
  // Where it can't be written, why is still to be answered.
  for await (const chunk of stream.iterator({ destroyOnReturn: false }) as AsyncIterable<Uint8Array>) {
    bytes += chunk.length;
    yield chunk;
  }
  if ((await announced) !== bytes) throw new Error('it was cut before its end');
}

function respond(stream: ServerHttp2Stream, status: number, body: unknown): void {
  if (stream.destroyed) return;
  stream.respond({ ':status': status, 'content-type': 'application/json' });
  stream.end(JSON.stringify(body));
  // What is still being sent is of no use any more.
  stream.resume();
}

async function refusalOf(folder: Folder, thrown: unknown): Promise<Refusal> {
  const error = thrown instanceof NotWritten ? thrown.cause : thrown;
  const code = error instanceof NoFile ? error.name : (errorCode(error) ?? 'unknown');
  return { code, message: isNativeError(error) ? error.message : String(error), freeBytes: await folder.freeBytes() };
}
