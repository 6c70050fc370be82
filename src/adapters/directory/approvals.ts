/**
 * Approvals in a folder: `DIR/approvals/*.yaml`, one MigrationApproval each, written by the command or by people. What
 * becomes of one is the home's to remember, in `DIR/state/NAMESPACE/TARGET/approvals/`:
 *
 * | file | |
 * |---|---|
 * | `NAME-DIGEST.created.json` | when it was made: when its file was last written, as it was first seen |
 * | `NAME-DIGEST.used.json` | the operation that it was used for |
 *
 * DIGEST is of the approval's spec: one that is changed is another approval. The file's own time is what counts, since a
 * checkout is when an approval of a repository comes to be here; but only at first sight, so that no `touch` renews one.
 * What was used stays so, though its file goes and comes back, as it does when branches are switched.
 */
import { randomInt } from 'node:crypto';
import { join } from 'node:path';
import * as z from 'zod';
import { approvalSpecOf, approvalExpiresAt, parseApproval, type MigrationApproval } from '../../api/approval.ts';
import { apiVersion } from '../../api/group.ts';
import { problemsText } from '../../api/problems.ts';
import { isTargetName, keyText, type TargetKey } from '../../api/target.ts';
import { approvalGone, approvalUsed } from '../../rollback/approval.ts';
import type { Approval, Clock, Consent } from '../../rollback/ports.ts';
import { documentFiles, type ReadFile } from './document-files.ts';
import { approvalDocuments, canonical, sha256 } from './document.ts';
import { toYaml } from './edit.ts';
import { createFile, makeFolder, readIfThere } from './files.ts';
import { readAs } from './state.ts';

/** One that was read and is valid. */
export interface ReadApproval {
  readonly target: TargetKey;
  readonly file: string;
  readonly approval: MigrationApproval;
  /** Of its spec. */
  readonly digest: string;
  /** In milliseconds. */
  readonly writtenAt: number;
}

export interface DirectoryApprovals {
  /** All of them, and what is wrong with the files that are none. */
  read(): Promise<{ readonly approvals: readonly ReadApproval[]; readonly problems: readonly string[] }>;
  /** When it was made, which is recorded at first sight; RFC 3339. */
  createdAt(one: ReadApproval): Promise<string>;
  /** With what became of it. */
  complete(one: ReadApproval): Promise<Approval>;
  use(key: TargetKey, name: string, operationId: string): Promise<void>;
  add(key: TargetKey, consent: Consent): Promise<string>;
}

const created = z.object({ createdAt: z.iso.datetime() });
const used = z.object({ operationId: z.string().min(1) });

export function directoryApprovals(folder: string, stateFolder: string, clock: Clock): DirectoryApprovals {
  const files = documentFiles(folder, approvalDocuments);
  /** What was recorded once stays. */
  const known = new Map<string, string>();

  const recordOf = ({ target, approval, digest }: Pick<ReadApproval, 'target' | 'approval' | 'digest'>): string => {
    const record = `${approval.metadata.name}-${digest.slice(0, 16)}`;
    return join(stateFolder, target.namespace, target.name, 'approvals', record);
  };

  async function read(): ReturnType<DirectoryApprovals['read']> {
    const found = (await files.read()).map(judge);
    const valid = found.filter((one) => typeof one !== 'string');
    const byName = Map.groupBy(valid, ({ approval: { metadata } }) => keyText(metadata));
    const twins = [...byName].filter(([, ones]) => ones.length > 1);
    return {
      approvals: [...byName.values()].flatMap((ones) => (ones.length === 1 ? ones : [])),
      problems: [
        ...found.filter((one) => typeof one === 'string'),
        ...twins.map(
          ([name, ones]) =>
            `${ones.map(({ file }) => file).join(' and ')} are the same approval ${name}, so neither counts: rename one (metadata.name), or remove it`,
        ),
      ],
    };
  }

  async function createdAt(one: ReadApproval): Promise<string> {
    const file = `${recordOf(one)}.created.json`;
    const before = known.get(file);
    if (before !== undefined) return before;
    const now = clock.now().getTime();
    // A clock that was wrong must not make one last longer.
    const madeAt = new Date(Math.min(one.writtenAt, now)).toISOString();
    const is = (await createFile(file, json({ createdAt: madeAt })))
      ? madeAt
      : await recorded(one.target, file, madeAt);
    known.set(file, is);
    return is;
  }

  async function recorded(key: TargetKey, file: string, otherwise: string): Promise<string> {
    const text = await readIfThere(file);
    return text === null ? otherwise : readAs(created, text, file, key).createdAt;
  }

  async function usedBy(one: ReadApproval): Promise<string | null> {
    const file = `${recordOf(one)}.used.json`;
    const text = await readIfThere(file);
    return text === null ? null : readAs(used, text, file, one.target).operationId;
  }

  async function complete(one: ReadApproval): Promise<Approval> {
    const { spec, metadata } = one.approval;
    const madeAt = await createdAt(one);
    return {
      name: metadata.name,
      target: spec.targetRef.name,
      planDigest: spec.planDigest,
      maxRowLoss: spec.maxRowLoss ?? null,
      reason: spec.reason ?? null,
      approvedBy: spec.approvedBy,
      createdAt: madeAt,
      expiresAt: approvalExpiresAt(madeAt),
      usedBy: await usedBy(one),
    };
  }

  return {
    read,
    createdAt,
    complete,

    async use(key, name, operationId) {
      const one = (await read()).approvals.find(
        ({ target, approval }) => keyText(target) === keyText(key) && approval.metadata.name === name,
      );
      if (one === undefined) throw approvalGone(key, name);
      if (await createFile(`${recordOf(one)}.used.json`, json({ operationId }))) return;
      const other = await usedBy(one);
      if (other !== operationId) throw approvalUsed(key, name, other ?? 'unknown');
    },

    async add(key, consent) {
      for (;;) {
        const name = newName(key.name);
        const document = {
          apiVersion,
          kind: approvalDocuments.kind,
          metadata: { name, namespace: key.namespace },
          spec: approvalSpecOf(key.name, consent),
        };
        const parsed = parseApproval(document);
        if (!parsed.ok) throw new Error(`The approval is refused: ${problemsText(parsed.problems)}`);
        const digest = sha256(canonical(document.spec));
        const record = recordOf({ target: key, approval: parsed.approval, digest });
        await makeFolder(folder, 0o755);
        // First, so that nobody who sees the file finds it without its time.
        await createFile(`${record}.created.json`, json({ createdAt: clock.now().toISOString() }));
        if (await createFile(join(folder, `${name}.yaml`), toYaml(document), { mode: 0o644 })) return name;
      }
    },
  };
}

/** The approval in a file, or what is wrong with it. */
function judge({ file, content, problem, digest, writtenAt }: ReadFile): ReadApproval | string {
  if (problem !== null) return `${file} ${problem}. It approves nothing`;
  // A status in the file, as `kubectl get -o yaml` writes one, is not ours.
  const { status: _status, ...document } = content as Record<string, unknown>;
  const parsed = parseApproval(document);
  if (!parsed.ok) return `${file}: ${problemsText(parsed.problems)}. It approves nothing`;
  const { metadata, spec } = parsed.approval;
  const target = { namespace: metadata.namespace, name: spec.targetRef.name };
  return { target, file, approval: parsed.approval, digest, writtenAt };
}

/** Letters and digits that are not taken for one another, as Kubernetes appends to `generateName`. */
const alphabet = 'bcdfghjklmnpqrstvwxz2456789';
const maxNameLength = 63;
const suffixLength = 5;

function newName(target: string): string {
  const suffix = Array.from({ length: suffixLength }, () => alphabet[randomInt(alphabet.length)]).join('');
  const name = `${target.slice(0, maxNameLength - suffixLength - 1).replace(/[-.]+$/, '')}-${suffix}`;
  if (!isTargetName(name)) throw new Error(`${target} is not the name of a target`);
  return name;
}

const json = (value: unknown): string => `${JSON.stringify(value, null, 2)}\n`;
