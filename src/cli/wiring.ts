/** What the command line is given to work with. Nothing of it is loaded before it is used. */
import type { TargetKey } from '../api/target.ts';
import type { Permission, Surroundings } from '../rollback/allowed.ts';
import type { Adapters, Home, Notifier } from '../rollback/ports.ts';
import type { PlainDump } from '../rollback/import-backup.ts';
import type { DumpFolder } from '../rollback/import-in-place.ts';

export interface KubernetesOptions {
  readonly kubeconfig?: string | undefined;
  readonly context?: string | undefined;
  readonly namespace?: string | undefined;
  readonly allNamespaces: boolean;
  /** What a declaration may make a controller in a pod do. */
  readonly allow: readonly Permission[];
}

/** How one of several controllers is chosen. */
export interface Election {
  /** The name of the Lease, in the controller's own namespace. */
  readonly lease: string;
  /** As it calls itself in there. */
  readonly identity: string;
}

export interface ServeOptions {
  readonly home: Home;
  /** null: it is the only one. */
  readonly election: Election | null;
  /** What of the home is watched, for people; e.g. `namespace ops-center`. */
  readonly watches: string;
  /** `HOST:PORT` of `/metrics`, `/healthz`, `/readyz`. */
  readonly listen: string;
  /** Targets worked on at the same time. */
  readonly workers: number;
  readonly surroundings: Surroundings;
  readonly signal: AbortSignal;
}

/** How a controller stopped. */
export interface Served {
  /** Targets (`NAMESPACE/NAME`) whose work did not end in time. */
  readonly unfinished: readonly string[];
  /** Another may lead by now, so this process has to end at once. */
  readonly isDeposed: boolean;
}

export interface Wiring {
  readonly version: string;
  /** Also reads the text that declares a target, with its comments; null: none does, or several. */
  openDirectoryHome(
    dir: string,
  ): Promise<{ readonly home: Home; readonly sourceOf: (key: TargetKey) => Promise<string | null> }>;
  /** Whether there is any way to a cluster: a flag, a variable, a file, a pod. Tries none of them. */
  hasKubeconfig(options: Pick<KubernetesOptions, 'kubeconfig' | 'context'>): Promise<boolean>;
  /** Also tells the namespace that is meant where none is said. */
  openKubernetesHome(options: KubernetesOptions): Promise<{
    readonly home: Home;
    readonly namespace: string;
    readonly inPod: boolean;
    /** Declares `spec.restoreFrom` and nothing else, so that every other field stays whose it is. */
    readonly declareRestore: (key: TargetKey, backup: string) => Promise<void>;
    readonly close: () => Promise<void>;
  }>;
  readonly adapters: Adapters;
  /** Describes a plain `.sql` file that lies in no catalogue. Throws BackupNotFound, BackupInvalid. */
  openPlainDump(file: string): Promise<PlainDump>;
  /** Looks through a folder of dumps, and changes nothing in it. Throws BackupNotFound, BackupInvalid where the folder can't be read. */
  openDumpFolder(dir: string): Promise<DumpFolder>;
  /**
   * Tells the webhook of the environment; null: there is none. `close` waits for `ms` at most. `say`: of what can't be
   * delivered, or why nobody can be told at all. Never throws.
   */
  openNotifier(
    say: (text: string) => void,
  ): Promise<(Notifier & { readonly close: (ms: number) => Promise<void> }) | null>;
  /** The folder, to whoever is at the other end of the standard streams; resolves once they are gone. */
  serveVolume(folder: string): Promise<void>;
  /** The controller; resolves once it has stopped. */
  serve(options: ServeOptions): Promise<Served>;
}
