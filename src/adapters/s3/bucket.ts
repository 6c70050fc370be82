/** A part of a bucket as what a catalogue needs of it. Keys are relative to the prefix. */
import {
  AbortMultipartUploadCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  type GetObjectCommandOutput,
  ListMultipartUploadsCommand,
  type ListMultipartUploadsCommandInput,
  type ListMultipartUploadsCommandOutput,
  paginateListObjectsV2,
  PutObjectCommand,
  type S3Client,
  type ServerSideEncryption,
} from '@aws-sdk/client-s3';
import { Upload } from '@aws-sdk/lib-storage';
import { Readable } from 'node:stream';
import type { ObjectPlace, StoredObject } from '../storage/object-place.ts';
import { isChanged, isMissing, noS3, s3Failure, type Where } from './failures.ts';

export interface BucketSettings extends Where {
  /** Without `/` at its ends; empty: all of the bucket. */
  readonly prefix: string;
  /** null: as the bucket is set up. */
  readonly encryption: { readonly algorithm: ServerSideEncryption; readonly kmsKeyId: string | null } | null;
}

/** Parts in flight: with their size, what an upload takes of the memory. */
const partsAtATime = 4;
const smallestPart = 8 * 1024 * 1024;
/** S3 takes 10,000 parts; a dump may be larger than what was foreseen. */
const foreseenParts = 5000;
/** A download that is cut this often without a byte in between is given up. */
const fruitlessCuts = 3;

/** Each method throws StorageUnavailable. */
export class Bucket implements ObjectPlace {
  readonly #client: S3Client;
  readonly #settings: BucketSettings;

  constructor(client: S3Client, settings: BucketSettings) {
    this.#client = client;
    this.#settings = settings;
  }

  /** As `aws s3` takes it. */
  nameOf(key: string): string {
    return `s3://${this.#settings.bucket}/${this.#keyOf(key)}`;
  }

  looking(folder: string): string {
    return `aws s3 ls --recursive ${this.nameOf(`${folder}/`)}${this.#endpointOption()}`;
  }

  removing(key: string): string {
    return `aws s3 rm ${this.nameOf(key)}${this.#endpointOption()}`;
  }

  removingAll(folder: string): string {
    return `aws s3 rm --recursive ${this.nameOf(`${folder}/`)}${this.#endpointOption()}`;
  }

  freeBytes(): Promise<null> {
    return Promise.resolve(null);
  }

  async list(begin: string, { flat = false } = {}): Promise<readonly StoredObject[]> {
    return this.#asking(async () => {
      const found: StoredObject[] = [];
      const request = {
        Bucket: this.#settings.bucket,
        Prefix: this.#keyOf(begin),
        ...(flat ? { Delimiter: '/' } : {}),
      };
      for await (const page of paginateListObjectsV2({ client: this.#client }, request)) {
        // Any web server answers, and an empty list is not to be read out of that.
        if (page.Name === undefined) throw noS3(this.#settings);
        for (const { Key = '', Size = 0, LastModified } of page.Contents ?? [])
          found.push({ key: this.#relative(Key), bytes: Size, at: LastModified?.getTime() ?? 0 });
      }
      return found;
    });
  }

  async read(key: string, limit: number): Promise<Buffer | null> {
    const found = await this.#asking(async () => {
      try {
        const { Body, ContentLength = 0 } = await this.#get(key);
        if (Body === undefined || ContentLength > limit) return { bytes: ContentLength, content: null };
        return { bytes: ContentLength, content: Buffer.from(await Body.transformToByteArray()) };
      } catch (error) {
        if (isMissing(error)) return null;
        throw error;
      }
    });
    if (found === null) return null;
    if (found.content === null)
      throw new Error(`${this.nameOf(key)} has ${found.bytes} bytes, more than the ${limit} that are read`);
    return found.content;
  }

  write(key: string, content: string | Uint8Array): Promise<void> {
    return this.#asking(async () => {
      await this.#client.send(new PutObjectCommand({ ...this.#object(key), ...this.#encryption(), Body: content }));
    });
  }

  remove(key: string): Promise<void> {
    return this.#asking(async () => {
      await this.#client.send(new DeleteObjectCommand(this.#object(key)));
    });
  }

  /** In parts. */
  async upload(key: string, content: AsyncIterable<Uint8Array>, bytes: number): Promise<void> {
    const thrown: unknown[] = [];
    const noting = async function* (): AsyncGenerator<Uint8Array> {
      try {
        yield* content;
      } catch (error) {
        thrown.push(error);
        throw error;
      }
    };
    try {
      await new Upload({
        client: this.#client,
        params: { ...this.#object(key), ...this.#encryption(), Body: Readable.from(noting(), { objectMode: false }) },
        partSize: Math.max(smallestPart, Math.ceil(bytes / foreseenParts)),
        queueSize: partsAtATime,
      }).done();
    } catch (error) {
      throw thrown.length > 0 ? thrown[0] : s3Failure(error, this.#settings);
    }
  }

  abandonUploads(begin: string): Promise<void> {
    return this.#asking(async () => {
      const request = { Bucket: this.#settings.bucket, Prefix: this.#keyOf(begin) };
      let page: ListMultipartUploadsCommandOutput | undefined;
      do {
        const from: Pick<ListMultipartUploadsCommandInput, 'KeyMarker' | 'UploadIdMarker'> = {
          KeyMarker: page?.NextKeyMarker,
          UploadIdMarker: page?.NextUploadIdMarker,
        };
        page = await this.#client.send(new ListMultipartUploadsCommand({ ...request, ...from }));
        for (const { Key, UploadId } of page.Uploads ?? [])
          await this.#client.send(new AbortMultipartUploadCommand({ Bucket: request.Bucket, Key, UploadId }));
      } while (page.IsTruncated === true);
    });
  }

  /** Where the connection is cut it goes on behind what came; what has become another object meanwhile ends too early. */
  async download(key: string): Promise<{ readonly bytes: number; readonly content: AsyncIterable<Uint8Array> } | null> {
    return this.#asking(async () => {
      try {
        const first = await this.#get(key);
        const bytes = first.ContentLength ?? 0;
        return { bytes, content: this.#resumed(key, first, bytes) };
      } catch (error) {
        if (isMissing(error)) return null;
        throw error;
      }
    });
  }

  async *#resumed(key: string, first: GetObjectCommandOutput, bytes: number): AsyncGenerator<Uint8Array> {
    let answer = first;
    let done = 0;
    for (let fruitless = 0; ;) {
      const before = done;
      let cut: unknown = new Error('the connection was closed');
      try {
        for await (const chunk of answer.Body as Readable as AsyncIterable<Uint8Array>) {
          done += chunk.length;
          yield chunk;
        }
      } catch (error) {
        cut = error;
      }
      if (done >= bytes) return;
      fruitless = done > before ? 0 : fruitless + 1;
      if (fruitless === fruitlessCuts) throw s3Failure(cut, this.#settings);
      try {
        answer = await this.#get(key, { Range: `bytes=${done}-`, ...(first.ETag ? { IfMatch: first.ETag } : {}) });
      } catch (error) {
        if (isChanged(error) || isMissing(error)) return;
        throw s3Failure(error, this.#settings);
      }
    }
  }

  #get(
    key: string,
    more: { readonly Range?: string; readonly IfMatch?: string } = {},
  ): Promise<GetObjectCommandOutput> {
    return this.#client.send(new GetObjectCommand({ ...this.#object(key), ...more }));
  }

  #object(key: string): { Bucket: string; Key: string } {
    return { Bucket: this.#settings.bucket, Key: this.#keyOf(key) };
  }

  #encryption(): { ServerSideEncryption?: ServerSideEncryption; SSEKMSKeyId?: string } {
    const { encryption } = this.#settings;
    if (encryption === null) return {};
    return {
      ServerSideEncryption: encryption.algorithm,
      ...(encryption.kmsKeyId === null ? {} : { SSEKMSKeyId: encryption.kmsKeyId }),
    };
  }

  /** The rest of a command of `aws s3`: a service other than Amazon's. */
  #endpointOption(): string {
    return this.#settings.endpoint === null ? '' : ` --endpoint-url ${this.#settings.endpoint}`;
  }

  #keyOf(key: string): string {
    return this.#settings.prefix === '' ? key : `${this.#settings.prefix}/${key}`;
  }

  #relative(key: string): string {
    return this.#settings.prefix === '' ? key : key.slice(this.#settings.prefix.length + 1);
  }

  async #asking<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      throw s3Failure(error, this.#settings);
    }
  }
}
