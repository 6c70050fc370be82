/**
 * What the controller remembers of one target, in DIR/state/NAMESPACE/NAME/:
 *
 * | file | |
 * |---|---|
 * | `generation-N.json` | the digest of the N-th spec that was seen, and the uid; the greatest N counts |
 * | `status.json` | the status, the journal in it |
 * | `status.lock` | there while it is written |
 * | `held.json` | there while an operation is under way: the declaration, should its file vanish |
 * | `requested-at` | the last request to reconcile |
 * | `events.jsonl`, `reports/` | what happened, the last of it |
 * | `approvals/` | when an approval was made, and what it was used for: see approvals.ts |
 *
 * They are apart since they have different writers: a generation is counted by whoever sees it first, the command line
 * too, and that must never write an older status back.
 */
import { randomUUID } from 'node:crypto';
import { appendFile, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import * as z from 'zod';
import { problemsOf, problemsText } from '../../api/problems.ts';
import { targetStatus, type TargetStatus } from '../../api/status.ts';
import { keyText, type TargetKey } from '../../api/target.ts';
import { stalled } from '../../rollback/errors.ts';
import { missedAnOperation, operationsOf } from '../../rollback/status.ts';
import { exclusively } from './exclusive.ts';
import { createFile, hasCode, makeFolder, readIfThere, removeLeftovers, replaceFile, syncFolder } from './files.ts';
import { writeReport } from './reports.ts';

const counted = z.object({ generation: z.int().min(1), uid: z.uuid(), digest: z.string() });
export type Counted = Readonly<z.output<typeof counted>>;

const savedStatus = z.object({ version: z.literal(1), status: targetStatus });

const held = z.object({
  /** The document as it was declared. */
  content: z.unknown(),
  /** When its file was first missed; null: it is there. */
  deletedAt: z.string().nullable(),
});
export type Held = Readonly<z.output<typeof held>>;

const maxEvents = 200;

export interface TargetState {
  /** The generation of what is declared now; counts on where its digest was not the last one. */
  count(digest: string): Promise<Counted>;
  /** The last one that was counted. */
  lastCounted(): Promise<Counted | null>;
  /** Throws a Failure where the file is damaged or of an unknown version: then nothing may be made of it. */
  status(): Promise<TargetStatus | null>;
  /** Throws as `status` does, rather than write over what it could not read; `replaces`: see Home. */
  saveStatus(status: TargetStatus, replaces?: TargetStatus | null): Promise<void>;
  held(): Promise<Held | null>;
  isHeld(): Promise<boolean>;
  hold(held: Held): Promise<void>;
  release(now: Date): Promise<void>;
  requestedAt(): Promise<string | null>;
  request(at: string): Promise<void>;
  recordEvent(line: string): Promise<void>;
  /** The path of what people read. Reports of long ago go. */
  saveReport(operationId: string, report: { readonly markdown: string; readonly json: string }): Promise<string>;
}

export function targetState(folder: string, key: TargetKey): TargetState {
  const at = (name: string): string => join(folder, name);
  const statusFile = at('status.json');
  const heldFile = at('held.json');

  async function lastCounted(): Promise<Counted | null> {
    const generations = (await names(folder)).flatMap((name) => {
      const match = /^generation-([1-9][0-9]{0,14})\.json$/.exec(name);
      return match === null ? [] : [Number(match[1])];
    });
    if (generations.length === 0) return null;
    const file = at(`generation-${Math.max(...generations)}.json`);
    const text = await readIfThere(file);
    // Whoever counted on removed it meanwhile.
    return text === null ? lastCounted() : readAs(counted, text, file, key);
  }

  async function status(): Promise<TargetStatus | null> {
    const text = await readIfThere(statusFile);
    return text === null ? null : readAs(savedStatus, text, statusFile, key).status;
  }

  return {
    lastCounted,

    async count(digest) {
      const last = await lastCounted();
      if (last?.digest === digest) return last;
      const next = { generation: (last?.generation ?? 0) + 1, uid: last?.uid ?? randomUUID(), digest };
      if (!(await createFile(at(`generation-${next.generation}.json`), json(next)))) return this.count(digest);
      if (last !== null) await rm(at(`generation-${last.generation}.json`), { force: true });
      return next;
    },

    status,

    async saveStatus(next, replaces) {
      // What could not be read again would be a journal lost: better to fail before it is written.
      targetStatus.parse(next);
      await makeFolder(folder);
      await exclusively(at('status.lock'), async () => {
        const now = await status();
        if (replaces !== undefined && !isDeepStrictEqual(asSaved(operationsOf(now)), asSaved(operationsOf(replaces)))) {
          throw missedAnOperation(key);
        }
        await replaceFile(statusFile, json({ version: 1, status: next }));
      });
    },

    async held() {
      const text = await readIfThere(heldFile);
      return text === null ? null : readAs(held, text, heldFile, key);
    },

    isHeld: async () => (await readIfThere(heldFile)) !== null,
    hold: (declaration) => replaceFile(heldFile, json(declaration)),

    async release(now) {
      if ((await names(folder)).length === 0) return;
      await rm(heldFile, { force: true });
      await removeLeftovers(folder, now);
      await syncFolder(folder);
    },

    requestedAt: async () => (await readIfThere(at('requested-at')))?.trim() ?? null,
    request: (when) => replaceFile(at('requested-at'), `${when}\n`),

    async recordEvent(line) {
      const file = at('events.jsonl');
      await makeFolder(folder);
      await appendFile(file, `${line}\n`, { mode: 0o600 });
      const lines = ((await readIfThere(file)) ?? '').split('\n').filter((text) => text !== '');
      if (lines.length > maxEvents) await replaceFile(file, `${lines.slice(-maxEvents).join('\n')}\n`);
    },

    async saveReport(operationId, report) {
      const named = (await status())?.history.map((entry) => entry.operationId) ?? [];
      return writeReport(at('reports'), operationId, report, named);
    },
  };
}

/** As it is once it was written and read. */
const asSaved = (value: unknown): unknown => JSON.parse(JSON.stringify(value));

const json = (value: unknown): string => `${JSON.stringify(value, null, 2)}\n`;

async function names(folder: string): Promise<readonly string[]> {
  try {
    return await readdir(folder);
  } catch (error) {
    if (hasCode(error, 'ENOENT', 'ENOTDIR')) return [];
    throw error;
  }
}

/** A damaged file is left as it is: the journal of an operation may be in it. */
export function readAs<Schema extends z.ZodType>(
  schema: Schema,
  text: string,
  file: string,
  key: TargetKey,
): z.output<Schema> {
  const damaged = (why: string, cause?: unknown) =>
    stalled(
      'JournalUnknown',
      `The state of ${keyText(key)} in ${file} cannot be read: ${why}. Nothing is done until it can. Put the file back from a copy, or, if no operation was under way, move it away: mv ${file} ${file}.damaged`,
      cause,
    );
  let content: unknown;
  try {
    content = JSON.parse(text);
  } catch (error) {
    throw damaged('it is not JSON', error);
  }
  const parsed = schema.safeParse(content, { reportInput: true });
  if (!parsed.success) throw damaged(problemsText(problemsOf(schema, parsed.error.issues)));
  return parsed.data;
}
