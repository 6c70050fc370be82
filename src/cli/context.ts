/** What every command works with: the home that was chosen, the targets in it, the streams, and how to say what to type next. */
import { keyOfDeclaration } from '../rollback/declaration.ts';
import { keyText, type MigrationTarget, type TargetKey } from '../api/target.ts';
import { permissions, type Permission, type Surroundings } from '../rollback/allowed.ts';
import type { Declaration, Home, Notifier, OperationEvent, Ports } from '../rollback/ports.ts';
import { invocationOf, nameCommands } from './invocation.ts';
import type { Output } from './output.ts';
import { Problem } from './problem.ts';
import { wrap } from './text.ts';
import type { Wiring } from './wiring.ts';

/** Options that every command takes. */
export interface GlobalOptions {
  readonly dir?: string;
  readonly kubeconfig?: string;
  readonly context?: string;
  readonly namespace?: string;
  readonly allNamespaces?: boolean;
  readonly output?: string;
  readonly color: boolean;
  /** Of `run`; elsewhere a person acts, who may do all of it. */
  readonly allow?: readonly Permission[];
}

export interface Context extends AsyncDisposable {
  readonly wiring: Wiring;
  readonly options: GlobalOptions;
  readonly output: Output;
  /** Whether a person can be asked: a terminal at both ends. */
  readonly isInteractive: boolean;
  /** Opened at the first call. */
  home(): Promise<Home>;
  /** The namespace that is meant where none is said; null: any. */
  namespace(): Promise<string | null>;
  /** Whether this runs in a pod, and what it may do there. */
  surroundings(): Promise<Surroundings>;
  /** The text that declares a target in the directory home, for edits that keep its comments; null: not there, or another home. */
  sourceOf(key: TargetKey): Promise<string | null>;
  /** Declares `spec.restoreFrom` in a cluster. */
  declareRestore(key: TargetKey, backup: string): Promise<void>;
  /** `NAME` made a key; where it is left out, the only target there is. */
  resolveKey(name: string | undefined): Promise<TargetKey>;
  /** The same, though there may be no such target; nothing is listed where NAME and the namespace are known. */
  namedKey(name: string | undefined): Promise<TargetKey>;
  /** The target of that name. Throws where there is none, or none that can be read. */
  target(name: string | undefined): Promise<MigrationTarget>;
  /** Every declaration of the chosen namespace, in the order of their names. */
  declarations(): Promise<readonly Declaration[]>;
  ports(observe?: (event: OperationEvent, operationId: string) => void): Promise<Ports>;
  /** For what changes a database; null: nobody is to be told. What waits to be told is, for a moment, when the command ends. */
  notifier(): Promise<Notifier | null>;
  /** The name of the target that was last asked for; null: none yet. */
  subject(): string | null;
  /** A command of this program as it has to be typed here, `--dir` and all: `command('status unicorn-db')`. */
  readonly command: (rest: string) => string;
  /** A message whose commands can be typed here; `name` stands for the NAME in them. */
  readonly say: (message: string, name?: string) => string;
}

interface OpenHome {
  readonly home: Home;
  /** The namespace meant where none is said; null: any. */
  readonly namespace: string | null;
  readonly sourceOf: (key: TargetKey) => Promise<string | null>;
  readonly inPod: boolean;
  readonly declareRestore: (key: TargetKey, backup: string) => Promise<void>;
  readonly close: () => Promise<void>;
}

export function createContext(wiring: Wiring, options: GlobalOptions, output: Output, isInteractive: boolean): Context {
  const invocation = invocationOf(process.argv[1], process.env, options);
  const dir = options.dir ?? (process.env['MIGRATION_TARGET_DIR'] || undefined);
  const command = (rest: string): string => `${invocation} ${rest}`;
  let opened: Promise<OpenHome> | null = null;
  let subject: string | null = null;
  let notifying: ReturnType<Wiring['openNotifier']> | null = null;
  const tellOnNotes = (text: string): void => output.notes.write(`${wrap(text, '  ', output.notes.width)}\n`);
  const chosen = (): Promise<OpenHome> => (opened ??= openHome(wiring, options, dir, command));

  async function declarations(): Promise<readonly Declaration[]> {
    const { home, namespace } = await chosen();
    const all = await home.list();
    return all
      .filter((declaration) => namespace === null || keyOfDeclaration(declaration).namespace === namespace)
      .toSorted((a, b) => (keyText(keyOfDeclaration(a)) < keyText(keyOfDeclaration(b)) ? -1 : 1));
  }

  async function resolveKey(name: string | undefined): Promise<TargetKey> {
    const key = await findKey(name);
    subject = key.name;
    return key;
  }

  async function namedKey(name: string | undefined): Promise<TargetKey> {
    const { namespace } = await chosen();
    if (name === undefined) return resolveKey(name);
    const [inNamespace, plain] = splitName(name, namespace);
    if (inNamespace === null) return resolveKey(name);
    subject = plain;
    return { namespace: inNamespace, name: plain };
  }

  async function findKey(name: string | undefined): Promise<TargetKey> {
    const { namespace } = await chosen();
    const keys = (await declarations()).map(keyOfDeclaration);
    if (name === undefined) {
      const [only, second] = keys;
      if (only !== undefined && second === undefined) return only;
      throw new Problem(
        only === undefined ? 'No target' : 'Which target?',
        only === undefined
          ? `Nothing is declared here. To declare a target: ${command('apply -f FILE')}`
          : `There are ${keys.length}: ${keys.map((key) => key.name).join(', ')}. Say which: NAME after the command.`,
      );
    }
    const [inNamespace, plain] = splitName(name, namespace);
    const [found, second] = keys.filter(
      (key) => key.name === plain && (inNamespace === null || key.namespace === inNamespace),
    );
    if (found !== undefined && second === undefined) return found;
    if (found !== undefined) {
      throw new Problem(
        `Which ${plain}?`,
        `There is one in several namespaces: ${keys
          .filter((key) => key.name === plain)
          .map(keyText)
          .join(', ')}. Say which: -n NAMESPACE.`,
      );
    }
    const known =
      keys.length === 0
        ? 'Nothing is declared here.'
        : `There ${keys.length === 1 ? 'is' : 'are'} ${keys
            .slice(0, 8)
            .map((key) => key.name)
            .join(', ')}${keys.length > 8 ? ', …' : ''}.`;
    throw new Problem(`No target ${name}`, `${known} To see them all: ${command('status')}`);
  }

  return {
    wiring,
    options,
    output,
    isInteractive,
    home: async () => (await chosen()).home,
    namespace: async () => (await chosen()).namespace,
    surroundings: async () => ({ inPod: (await chosen()).inPod, allow: allowed(options) }),
    sourceOf: async (key) => (await chosen()).sourceOf(key),
    declareRestore: async (key, backup) => (await chosen()).declareRestore(key, backup),
    declarations,
    resolveKey,
    namedKey,
    async target(name) {
      const key = await resolveKey(name);
      const declaration = await (await chosen()).home.get(key);
      if (declaration === null)
        throw new Problem(
          `No target ${key.name}`,
          `${keyText(key)} is not declared any more. To see what is: ${command('status')}`,
        );
      return targetOf(declaration);
    },
    async ports(observe = () => {}) {
      return {
        ...wiring.adapters,
        home: (await chosen()).home,
        observe: (_, operationId, event) => observe(event, operationId),
      };
    },
    notifier: () => (notifying ??= wiring.openNotifier(tellOnNotes)),
    subject: () => subject,
    command,
    say: (message, name) => nameCommands(message, invocation, name),
    async [Symbol.asyncDispose]() {
      await (await notifying)?.close(lastWordsMs);
      // What did not open was told by whoever needed it.
      const home = await opened?.catch(() => null);
      await home?.close();
    },
  };
}

/** `NAMESPACE/NAME`, or NAME in the namespace that is meant. */
const splitName = (name: string, namespace: string | null): readonly [namespace: string | null, name: string] =>
  name.includes('/') ? [name.slice(0, name.indexOf('/')), name.slice(name.indexOf('/') + 1)] : [namespace, name];

/** How long a command that is done waits for what is to be told still. */
const lastWordsMs = 5_000;

const allowed = ({ allow }: GlobalOptions): readonly Permission[] => allow ?? permissions;

/** The target of a declaration; throws with what is wrong where it is none. */
export function targetOf(declaration: Declaration): MigrationTarget {
  if (declaration.kind === 'target') return declaration.target;
  throw new Problem(`InvalidSpec ${declaration.key.name}`.trimEnd(), declaration.problem);
}

async function openHome(
  wiring: Wiring,
  options: GlobalOptions,
  dir: string | undefined,
  command: (rest: string) => string,
): Promise<OpenHome> {
  const saidNamespace = options.allNamespaces === true ? null : (options.namespace ?? null);
  if (dir !== undefined) {
    const { home, sourceOf } = await wiring.openDirectoryHome(dir);
    const declareRestore = (): Promise<never> => Promise.reject(new Error('A folder has no controller to restore.'));
    return { home, sourceOf, namespace: saidNamespace, inPod: false, declareRestore, close: async () => {} };
  }
  const bothWays = `Say where the targets are: in a folder, by --dir DIR or the variable MIGRATION_TARGET_DIR; or in a Kubernetes cluster, by --kubeconfig FILE, the variable KUBECONFIG or ~/.kube/config.`;
  if (!(await wiring.hasKubeconfig(options))) {
    throw new Problem(
      'No home',
      `There is neither --dir nor a kubeconfig. ${bothWays} For example: ${command('status --dir DIR')}`,
    );
  }
  try {
    const { kubeconfig, context, namespace: said, allNamespaces = false } = options;
    const { home, namespace, ...rest } = await wiring.openKubernetesHome({
      kubeconfig,
      context,
      namespace: said,
      allNamespaces,
      allow: allowed(options),
    });
    return { home, namespace: allNamespaces ? null : namespace, sourceOf: async () => null, ...rest };
  } catch (thrown) {
    throw new Problem(
      'No home',
      `The cluster of the kubeconfig can't be used: ${(thrown instanceof Error ? thrown.message : String(thrown)).replace(/\.?$/, '.')} ${bothWays} For example: ${command('status --dir DIR')}`,
      undefined,
      { cause: thrown },
    );
  }
}
