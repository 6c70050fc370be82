/** The manifest as it lies on the disk: `manifest.json`, version 1. */
import { isAbsolute } from 'node:path';
import * as z from 'zod';
import type { BackupManifest, BuiltSchemas, SchemaFacts } from '../../rollback/model.ts';

/** Far more than the row counts of 100,000 tables. */
export const longestManifest = 64 * 1024 * 1024;

const hex = z.string().regex(/^[0-9a-f]{64}$/, 'must be a sha256 in hex');
const count = z.number().int().nonnegative();
const time = z.iso.datetime({ message: 'must be a time in RFC 3339, in UTC' });
const text = z.string();

/** Relative, below the backup's own folder, and in one of the two places that are ever read. */
const filePath = z
  .string()
  .max(1024)
  .regex(/^(dump(\/[^/\\\p{Cc}]+)+|schema-[0-9a-f]{16}\.json\.gz)$/u, 'must lie in dump/, or be a schema-….json.gz')
  .refine((path) => !path.split('/').some((part) => part === '..' || part === '.'), 'must not contain . or ..');

const properties = z.strictObject({
  owner: text,
  encoding: text,
  collate: text,
  ctype: text,
  localeProvider: z.enum(['c', 'i', 'b']),
  icuLocale: text.nullable(),
  icuRules: text.nullable(),
  tablespace: text,
  connectionLimit: z.number().int(),
  comment: text.nullable(),
  statements: z.array(text),
});

const manifest: z.ZodType<BackupManifest> = z
  .strictObject({
    version: z.literal(1),
    id: text,
    target: z.strictObject({ namespace: text, name: text }),
    operation: text.nullable(),
    database: z.strictObject({ systemIdentifier: text, name: text, oid: count }),
    server: z.strictObject({ version: text, major: count }),
    tools: z.strictObject({ pgDump: text }),
    format: z.enum(['directory', 'custom', 'plain']),
    revisions: z.array(text).nullable(),
    identified: z.array(text).optional(),
    versionTable: z.strictObject({ schema: text, name: text }),
    schema: z.strictObject({ digest: text, major: count }).nullable(),
    rowCounts: z.record(text, count),
    properties,
    scripts: text.nullable(),
    external: z
      .strictObject({ path: text.refine(isAbsolute, 'must be absolute'), bytes: count, sha256: hex })
      .optional(),
    files: z.array(z.strictObject({ path: filePath, bytes: count, sha256: hex })),
    sizeBytes: count,
    startedAt: time,
    finishedAt: time,
    reason: z.enum(['BeforeChange', 'Requested', 'MaxAge', 'BeforeRestore', 'Imported']),
    verifiedAt: time.nullable(),
    keptUntil: time,
  })
  .refine((it) => new Set(it.files.map((file) => file.path)).size === it.files.length, 'names a file twice')
  .refine((it) => sizeOf(it) === it.sizeBytes, 'sizeBytes is not the sum')
  .refine((it) => it.files.filter((file) => file.path.startsWith('schema-')).length <= 1, 'names two schemas')
  .refine(
    (it) =>
      it.format === 'directory'
        ? it.external === undefined && it.files.some((file) => file.path === 'dump/toc.dat')
        : it.files.filter((file) => file.path.startsWith('dump/')).length === (it.external === undefined ? 1 : 0),
    'does not name a whole dump (dump/toc.dat, or one file)',
  );

/** Of all that a backup consists of, wherever it lies. */
export const sizeOf = ({ files, external }: Pick<BackupManifest, 'files' | 'external'>): number =>
  files.reduce((sum, { bytes }) => sum + bytes, external?.bytes ?? 0);

const schemaFacts: z.ZodType<SchemaFacts> = z.strictObject({ major: count, lines: z.array(text), digest: text });

/** Why a manifest or a file of a backup can't be used, in words that follow "it is broken:". */
export class BackupProblem extends Error {
  override readonly name = 'BackupProblem';
}

/** JSON of a file that others may have written: no prototype is touched, no error is longer than it must be. */
function parseJson(content: string, what: string): unknown {
  try {
    return JSON.parse(content, (key: string, value: unknown) => {
      if (key === '__proto__') throw new BackupProblem(`${what} has a key __proto__, which nobody means well with`);
      return value;
    });
  } catch (error) {
    if (error instanceof BackupProblem) throw error;
    throw new BackupProblem(`${what} is not JSON, as if it was cut short`, { cause: error });
  }
}

function validated<T>(schema: z.ZodType<T>, value: unknown, what: string): T {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const issues = result.error.issues.slice(0, 3).map((issue) => `${issue.path.join('.') || what}: ${issue.message}`);
  throw new BackupProblem(`${what} breaks its own rules (${issues.join('; ')})`, { cause: result.error });
}

/** Throws BackupProblem. */
export function parseManifest(content: string): BackupManifest {
  const value = parseJson(content, 'manifest.json');
  const version = typeof value === 'object' && value !== null && 'version' in value ? value.version : undefined;
  if (version !== 1) {
    throw new BackupProblem(
      `manifest.json is of version ${JSON.stringify(version) ?? 'unknown'}, and this program knows version 1; ` +
        'use the migration-target that wrote it',
    );
  }
  return validated(manifest, value, 'manifest.json');
}

/** Throws BackupProblem where what is to be written could not be read again. */
export function formatManifest(value: BackupManifest): string {
  return `${JSON.stringify(validated(manifest, value, 'the manifest'), null, 2)}\n`;
}

/** Throws BackupProblem. */
export function parseSchemaFacts(content: string): SchemaFacts {
  return validated(schemaFacts, parseJson(content, 'the schema file'), 'the schema file');
}

/** The place in a database's history that a schema was recorded at; files of before know only its hash. */
export interface RecordedPlace {
  readonly namespace: string;
  readonly name: string;
  readonly systemIdentifier: string;
  readonly database: string;
  readonly revisions: readonly string[];
}

const recordedSchema = z.strictObject({
  major: count,
  lines: z.array(text),
  digest: text,
  place: z
    .strictObject({ namespace: text, name: text, systemIdentifier: text, database: text, revisions: z.array(text) })
    .optional(),
});

/** Throws BackupProblem. */
export function parseRecordedSchema(content: string): {
  readonly facts: SchemaFacts;
  readonly place: RecordedPlace | null;
} {
  const what = 'the schema file';
  const { place = null, ...facts } = validated(recordedSchema, parseJson(content, what), what);
  return { facts, place };
}

const builtFile = z.strictObject({
  version: z.literal(1),
  of: text,
  major: count,
  /** Each line once: consecutive revisions have nearly all of them in common. */
  lines: z.array(text),
  schemas: z.array(z.strictObject({ revisions: z.array(text), digest: text, at: z.array(count) })),
  unbuilt: z.array(z.strictObject({ revisions: z.array(text), because: text })),
});

/** Throws BackupProblem. */
export function parseBuiltSchemas(content: string): { readonly of: string; readonly built: BuiltSchemas } {
  const what = 'the file of built schemas';
  const { of, major, lines, schemas, unbuilt } = validated(builtFile, parseJson(content, what), what);
  const lineAt = (index: number): string => {
    const line = lines[index];
    if (line === undefined) throw new BackupProblem(`${what} names a line that it does not hold`);
    return line;
  };
  return {
    of,
    built: {
      major,
      schemas: schemas.map(({ revisions, digest, at }) => ({
        revisions,
        schema: { major, digest, lines: at.map(lineAt) },
      })),
      unbuilt,
    },
  };
}

export function formatBuiltSchemas(of: string, { major, schemas, unbuilt }: BuiltSchemas): string {
  const places = new Map<string, number>();
  const at = (line: string): number => {
    const known = places.get(line) ?? places.size;
    places.set(line, known);
    return known;
  };
  const written = schemas.map(({ revisions, schema }) => ({
    revisions,
    digest: schema.digest,
    at: schema.lines.map(at),
  }));
  return JSON.stringify({ version: 1, of, major, lines: [...places.keys()], schemas: written, unbuilt });
}
