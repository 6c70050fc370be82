/**
 * The directory home: declarations are YAML files, which git may own; everything else lies beside them.
 *
 * | | |
 * |---|---|
 * | `DIR/targets/*.yaml` | one MigrationTarget each |
 * | `DIR/approvals/*.yaml` | one MigrationApproval each: see approvals.ts |
 * | `DIR/secrets/NAME/KEY` | what `secretKeyRef` answers to |
 * | `DIR/state/NAMESPACE/NAME/` | the controller's: see state.ts |
 */
import { readdir, realpath, stat } from 'node:fs/promises';
import { userInfo } from 'node:os';
import { join, resolve as absolute } from 'node:path';
import { isTargetName, keyText, parseTarget, type MigrationTarget, type TargetKey } from '../../api/target.ts';
import { requestedAtAnnotation } from '../../api/group.ts';
import { problemsText } from '../../api/problems.ts';
import { newestFirst } from '../../rollback/approval.ts';
import { asFailure } from '../../rollback/errors.ts';
import { claims } from '../../rollback/claim.ts';
import type { Clock, Declaration, Home } from '../../rollback/ports.ts';
import { directoryApprovals, type ReadApproval } from './approvals.ts';
import { declaredTargets, type Declared } from './declared.ts';
import { field, readDocument, targetDocuments, type ReadDocument } from './document.ts';
import { editYaml, modeOf, toYaml } from './edit.ts';
import { createFile, hasCode, makeFolder, replaceFile } from './files.ts';
import { resolveValue } from './secrets.ts';
import { targetState, type Held, type TargetState } from './state.ts';
import { defaultWatch, watchSight, type Sight, type WatchOptions } from './watch.ts';

export interface DirectoryHomeOptions {
  readonly clock?: Clock;
  /** Where `{env: NAME}` is looked up. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  readonly watch?: WatchOptions;
  /** What is wrong with an approval's file; while the home is watched, that is told there. */
  readonly onProblem?: (problem: Error) => void;
}

/** `dir`: absolute, or relative to the current folder. Nothing is read or made before a method is called. */
export function createDirectoryHome(dir: string, options: DirectoryHomeOptions = {}): Home {
  const { clock = { now: () => new Date() }, env = process.env, watch = defaultWatch } = options;
  const root = absolute(dir);
  const targetsFolder = join(root, 'targets');
  const stateFolder = join(root, 'state');
  const targets = declaredTargets(targetsFolder);
  const approvalsFolder = join(root, 'approvals');
  const approvals = directoryApprovals(approvalsFolder, stateFolder, clock);
  let tellProblem = options.onProblem ?? ((problem: Error): void => process.emitWarning(problem));
  let toldProblems: ReadonlySet<string> = new Set();

  const stateOf = (key: TargetKey): TargetState => {
    // Keys become paths, so none is believed.
    if (!isTargetName(key.namespace) || !isTargetName(key.name)) {
      throw new Error(`${keyText(key)} is not the name of a target: write lower-case letters, digits, "-" and "."`);
    }
    return targetState(join(stateFolder, key.namespace, key.name), key);
  };

  async function declare(declared: Declared): Promise<Declaration> {
    const state = stateOf(declared.key);
    try {
      const counted = await state.count(declared.digest);
      const status = await state.status();
      const read = targetIn(declared);
      return read.ok
        ? { kind: 'target', target: { ...(await withMetadata(read.target, state, counted, null)), status } }
        : { kind: 'invalid', key: declared.key, generation: counted.generation, problem: read.problem, status };
    } catch (error) {
      return unreadableState(declared.key, state, error);
    }
  }

  /** One whose file is gone, and which an operation still needs. */
  async function declareHeld(key: TargetKey): Promise<Declaration | null> {
    const state = stateOf(key);
    try {
      const held = await state.held();
      const counted = await state.lastCounted();
      if (held === null || counted === null) return null;
      const read = parseTarget(held.content);
      if (!read.ok) return null;
      const deletedAt = held.deletedAt ?? clock.now().toISOString();
      if (held.deletedAt === null) await state.hold({ ...held, deletedAt });
      return {
        kind: 'target',
        target: { ...(await withMetadata(read.target, state, counted, deletedAt)), status: await state.status() },
      };
    } catch (error) {
      return unreadableState(key, state, error);
    }
  }

  /** The targets that are held and no longer declared. */
  async function heldKeys(declared: ReadonlyMap<string, Declared>): Promise<readonly TargetKey[]> {
    const namespaces = (await foldersIn(stateFolder)).filter(isTargetName);
    const keys = await Promise.all(
      namespaces.map(async (namespace) =>
        (await foldersIn(join(stateFolder, namespace))).filter(isTargetName).map((name) => ({ namespace, name })),
      ),
    );
    const gone = keys.flat().filter((key) => !declared.has(keyText(key)));
    const held = await Promise.all(gone.map((key) => stateOf(key).isHeld()));
    return gone.filter((_, index) => held[index]);
  }

  async function readDeclared(): Promise<ReadonlyMap<string, Declared>> {
    await assertFolder(root);
    return targets.read();
  }

  /** By the target that they name. What is wrong with others is told, once as long as it stays so. */
  async function readApprovals(
    declared: ReadonlyMap<string, Declared>,
  ): Promise<ReadonlyMap<string, readonly ReadApproval[]>> {
    const read = await approvals.read().catch((error: unknown) => {
      // Targets that wait for none are none the worse for it.
      const problem = `${approvalsFolder} cannot be read: ${error instanceof Error ? error.message : String(error)}`;
      return { approvals: [], problems: [problem] };
    });
    const lost = read.approvals.filter(({ target }) => !declared.has(keyText(target)));
    const problems = [
      ...read.problems,
      ...lost.map(
        ({ file, target }) =>
          `${file} approves a plan of ${keyText(target)}, which is not declared in ${targetsFolder}`,
      ),
    ];
    for (const problem of problems) if (!toldProblems.has(problem)) tellProblem(new Error(problem));
    toldProblems = new Set(problems);
    return Map.groupBy(read.approvals, ({ target }) => keyText(target));
  }

  async function list(): Promise<readonly Declaration[]> {
    const declared = await readDeclared();
    const there = await Promise.all([...declared.values()].map(declare));
    const held = await Promise.all((await heldKeys(declared)).map(declareHeld));
    return [...there, ...held.filter((one) => one !== null)];
  }

  /** The status is left out: whoever writes it need not be told. */
  async function look(): Promise<Sight> {
    const declared = await readDeclared();
    const approved = await readApprovals(declared);
    const see = async (
      key: TargetKey,
      sight: (state: TargetState) => Promise<unknown>,
    ): Promise<readonly [string, string]> => {
      const state = stateOf(key);
      const seen = await Promise.all([sight(state), state.requestedAt()]).catch(
        (error: unknown) => asFailure(error).message,
      );
      return [keyText(key), JSON.stringify(seen)];
    };
    const there = [...declared.values()].map(({ key, content, problem, digest }) =>
      see(key, async (state) => {
        const mine = approved.get(keyText(key)) ?? [];
        await Promise.all(mine.map((one) => approvals.createdAt(one)));
        const seen = mine.map(({ approval, digest: of }) => [approval.metadata.name, of]);
        return [(await state.count(digest)).generation, field(content, 'metadata'), problem, seen];
      }),
    );
    const missed = (await heldKeys(declared)).map((key) => see(key, async () => 'deleted'));
    return new Map(await Promise.all([...there, ...missed]));
  }

  async function declaredUnder(key: TargetKey): Promise<Declared> {
    const declared = (await readDeclared()).get(keyText(key));
    if (declared === undefined) {
      throw new Error(`${keyText(key)} is not declared in ${targetsFolder}. To see what is: migration-target status`);
    }
    return declared;
  }

  return {
    kind: 'directory',
    list,
    claiming: async (claim) => (await list()).filter((one) => claims(one, claim)),

    async get(key) {
      const declared = (await readDeclared()).get(keyText(key));
      return declared === undefined ? declareHeld(key) : declare(declared);
    },

    async watch(onChange, onProblem, signal) {
      await makeFolder(targetsFolder, 0o755);
      await makeFolder(approvalsFolder, 0o755);
      const otherwise = tellProblem;
      tellProblem = onProblem;
      signal.addEventListener('abort', () => (tellProblem = otherwise), { once: true });
      const tell = (text: string): void => {
        const [namespace = '', name = ''] = text.split('/');
        onChange({ namespace, name });
      };
      await watchSight([targetsFolder, approvalsFolder], look, tell, onProblem, signal, watch);
    },

    saveStatus: (key, status, replaces) => stateOf(key).saveStatus(status, replaces),

    async hold(key) {
      const declared = (await readDeclared()).get(keyText(key));
      // Without its file it is held already, or there is nothing to hold.
      if (declared === undefined || !targetIn(declared).ok) return;
      const held: Held = { content: declared.content, deletedAt: null };
      await stateOf(key).hold(held);
    },

    release: (key) => stateOf(key).release(clock.now()),

    record: (key, event) => stateOf(key).recordEvent(JSON.stringify({ at: clock.now().toISOString(), ...event })),

    resolve: (source) => resolveValue(source, join(root, 'secrets'), env),

    async setSuspended(key, suspended) {
      const [file, twin] = (await declaredUnder(key)).files;
      if (file === undefined || twin !== undefined) {
        throw new Error(
          `${keyText(key)} is declared more than once: remove all but one of its files in ${targetsFolder}`,
        );
      }
      await editYaml(file, (document) => {
        if ((document.getIn(['spec', 'suspend']) ?? false) === suspended) return false;
        document.setIn(['spec', 'suspend'], suspended);
        return true;
      });
    },

    requestReconcile: (key, at) => stateOf(key).request(at),

    async apply(document, { dryRun }) {
      const text = typeof document === 'string' ? document : toYaml(document);
      const given = readDocument(text, targetDocuments);
      const read = targetIn({ ...given, files: [] });
      if (!read.ok || given.key === null) {
        const key = given.key ?? { namespace: 'default', name: '' };
        return {
          kind: 'invalid',
          key,
          generation: 0,
          problem: read.ok ? 'metadata.name: is missing: write it' : read.problem,
          status: null,
        };
      }
      const { key } = given;
      const before = (await targets.read()).get(keyText(key));
      // Writing over a file that cannot be read whole could lose what else is in it.
      if (before?.problem != null) return declare(before);
      if (dryRun) return foreseen(key, read.target, given);
      const [file] = before?.files ?? [];
      if (file === undefined) await addFile(key, text);
      else if (before?.digest !== given.digest || !sameMetadata(before.content, given.content)) {
        await replaceFile(await realpath(file), text, await modeOf(file));
      }
      return declare(await declaredUnder(key));
    },

    async saveReport(key, operationId, report) {
      if (!/^[\w-]+$/.test(operationId)) throw new Error(`"${operationId}" is not the id of an operation`);
      return stateOf(key).saveReport(operationId, report);
    },

    async approvals(key) {
      const mine = (await readApprovals(await readDeclared())).get(keyText(key)) ?? [];
      return newestFirst(await Promise.all(mine.map((one) => approvals.complete(one))));
    },

    useApproval: (key, name, operationId) => approvals.use(key, name, operationId),

    async approve(key, consent) {
      await assertFolder(root);
      return approvals.add(key, consent);
    },

    userName: async () => env['SUDO_USER'] || loginName(),
  };

  /** What `apply` would make of it, with nothing written. */
  async function foreseen(key: TargetKey, target: MigrationTarget, given: ReadDocument): Promise<Declaration> {
    const state = stateOf(key);
    try {
      const last = await state.lastCounted();
      const same = last?.digest === given.digest;
      const generation = (last?.generation ?? 0) + (same ? 0 : 1);
      const counted = { generation, uid: last?.uid ?? '', digest: given.digest };
      return {
        kind: 'target',
        target: { ...(await withMetadata(target, state, counted, null)), status: await state.status() },
      };
    } catch (error) {
      return unreadableState(key, state, error);
    }
  }

  async function addFile(key: TargetKey, text: string): Promise<void> {
    await makeFolder(targetsFolder, 0o755);
    const names = [`${key.name}.yaml`, `${key.namespace}.${key.name}.yaml`];
    for (const name of names) if (await createFile(join(targetsFolder, name), text, { mode: 0o644 })) return;
    throw new Error(`${names.join(' and ')} in ${targetsFolder} declare something else: rename them, then apply again`);
  }
}

function targetIn({
  content,
  problem,
  files,
}: Pick<Declared, 'content' | 'problem' | 'files'>):
  { readonly ok: true; readonly target: MigrationTarget } | { readonly ok: false; readonly problem: string } {
  if (problem !== null) return { ok: false, problem };
  // A status in the file, as `kubectl get -o yaml` writes one, is not the controller's.
  const { status: _status, ...declaration } = content as Record<string, unknown>;
  const parsed = parseTarget(declaration);
  if (parsed.ok) return parsed;
  const where = files.length === 0 ? '' : `${files.join(', ')}: `;
  return { ok: false, problem: `${where}${problemsText(parsed.problems)}` };
}

async function withMetadata(
  target: MigrationTarget,
  state: TargetState,
  counted: { readonly generation: number; readonly uid: string },
  deletionTimestamp: string | null,
): Promise<MigrationTarget> {
  const { annotations } = target.metadata;
  const requestedAt = later(annotations[requestedAtAnnotation], await state.requestedAt());
  return {
    ...target,
    metadata: {
      ...target.metadata,
      uid: counted.uid,
      generation: counted.generation,
      deletionTimestamp,
      annotations: { ...annotations, ...(requestedAt !== null && { [requestedAtAnnotation]: requestedAt }) },
    },
  };
}

/** Of a request in the file and one on the command line, the one that was made last. */
function later(inFile: string | undefined, asked: string | null): string | null {
  if (inFile === undefined || asked === null) return inFile ?? asked;
  return Date.parse(inFile) > Date.parse(asked) ? inFile : asked;
}

/** State that cannot be read is told under its target's name, and nothing is made of it. */
async function unreadableState(key: TargetKey, state: TargetState, error: unknown): Promise<Declaration> {
  const generation = await state.lastCounted().then(
    (counted) => counted?.generation ?? 0,
    () => 0,
  );
  const problem = hasCode(error, 'EACCES', 'EPERM', 'EROFS')
    ? `${(error as Error).message}. Run this as the user that runs the controller, who needs to write to DIR/state`
    : asFailure(error).message;
  return { kind: 'invalid', key, generation, problem, status: null };
}

const sameMetadata = (a: unknown, b: unknown): boolean =>
  JSON.stringify(field(a, 'metadata')) === JSON.stringify(field(b, 'metadata'));

/** In a container a user may have no name. */
function loginName(): string {
  try {
    return userInfo().username;
  } catch {
    return `uid ${process.getuid?.() ?? 'unknown'}`;
  }
}

async function foldersIn(folder: string): Promise<readonly string[]> {
  try {
    return (await readdir(folder, { withFileTypes: true }))
      .filter((entry) => entry.isDirectory())
      .map(({ name }) => name);
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return [];
    throw error;
  }
}

async function exists(folder: string): Promise<boolean> {
  try {
    return (await stat(folder)).isDirectory();
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return false;
    throw error;
  }
}

async function assertFolder(root: string): Promise<void> {
  if (!(await exists(root))) {
    throw new Error(
      `The folder ${root} does not exist. To declare a first target in it: migration-target apply -f FILE --dir ${root}`,
    );
  }
}
