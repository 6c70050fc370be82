/**
 * A pair of streams as one end of a socket. Node's HTTP/2 takes any stream, but does not always tell of the end of one that
 * is no socket, and fails on an assertion of its own where such a one is cut while it writes.
 */
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pipeline, type Readable, type Writable } from 'node:stream';

/** What is read there comes from `input`, what is written goes to `output`; it ends with either, and they with it. */
export async function socketOf(input: Readable, output: Writable): Promise<Socket> {
  // Open to nobody else, and gone before anything is on the way.
  const folder = await mkdtemp(join(tmpdir(), 'migration-target-'));
  try {
    const path = join(folder, 'wire');
    const server = createServer().listen(path);
    await once(server, 'listening');
    const near = connect(path);
    const [far] = (await once(server, 'connection')) as [Socket];
    server.close();
    pipeline(input, far, () => void far.destroy());
    far.pipe(output);
    far.once('close', () => output.end());
    return near;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
