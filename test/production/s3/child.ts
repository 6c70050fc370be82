/**
 * A process that uploads a dump without end, to be killed: `node child.ts '{"storage", "credentials", "id"}'`.
 */
import { createBackupStores } from '../../../src/adapters/storage/index.ts';
import { type Credentials, secretsOf, type TestBucket } from '../../support/s3.ts';
import { target } from '../../unit/storage/samples.ts';

interface Request {
  readonly storage: ReturnType<TestBucket['storage']>;
  readonly credentials: Credentials;
  readonly id: string;
}

const { storage, credentials, id } = JSON.parse(process.argv[2] ?? '') as Request;
const store = await createBackupStores().open(storage, target, secretsOf(credentials));
const { dump } = await store.begin(id, 'op-killed');
if (dump.kind !== 'stream') throw new Error('it goes to a folder');
const endless = async function* (): AsyncGenerator<Uint8Array> {
  for (;;) yield Buffer.alloc(1024 * 1024);
};
await dump.write('database.dump', endless(), 1);
