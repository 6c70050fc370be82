/** What a catalogue asks of where it is kept, when that is reached by streams alone: a bucket, a volume of a cluster. */

export interface StoredObject {
  readonly key: string;
  readonly bytes: number;
  /** When it was written, in ms; some services tell seconds only. */
  readonly at: number;
}

/** Keys are relative to where the backups are, with `/`. Each method that asks throws StorageUnavailable. */
export interface ObjectPlace {
  /** All that begin so, by key; `flat`: without those behind a further `/`. */
  list(begin: string, options?: { readonly flat?: boolean }): Promise<readonly StoredObject[]>;
  /** All of a small object; null: there is none. Throws a plain Error for one that is longer than `limit`, or that can't be read. */
  read(key: string, limit: number): Promise<Buffer | null>;
  /** Replaces it at once, and for good when this resolves. */
  write(key: string, content: string | Uint8Array): Promise<void>;
  /** What is not there is removed already. */
  remove(key: string): Promise<void>;
  /**
   * Takes all of a stream; it is there once this resolves, or not at all. Where `content` throws, so does this.
   * `bytes`: about how many there may be.
   */
  upload(key: string, content: AsyncIterable<Uint8Array>, bytes: number): Promise<void>;
  /** What a process that died left of its uploads, of keys that begin so, goes. */
  abandonUploads(begin: string): Promise<void>;
  /** An object as a stream; null: there is none. Reading on throws too; what was cut short or replaced may end too early. */
  download(key: string): Promise<{ readonly bytes: number; readonly content: AsyncIterable<Uint8Array> } | null>;
  /** null: there is no end that could be known. */
  freeBytes(): Promise<number | null>;
  /** For messages: its whole name, and what to type to look at a folder, to remove a file, and all of a folder. */
  nameOf(key: string): string;
  looking(folder: string): string;
  removing(key: string): string;
  removingAll(folder: string): string;
}
