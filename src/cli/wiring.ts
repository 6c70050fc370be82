/** What the command line is given to work with. Nothing of it is loaded before it is used. */
import type { TargetKey } from '../api/target.ts';
import type { Permission, Surroundings } from '../rollback/allowed.ts';
import type { Home, Ports } from '../rollback/ports.ts';
import type { PlainDump } from '../rollback/import-backup.ts';

export interface KubernetesOptions {
  readonly kubeconfig?: string | undefined;
  readonly context?: string | undefined;
  readonly namespace?: string | undefined;
  readonly allNamespaces: boolean;
  /** What a declaration may make a controller in a pod do. */
  readonly allow: readonly Permission[];
}

export interface ServeOptions {
  readonly home: Home;
  /** `HOST:PORT` of `/metrics`, `/healthz`, `/readyz`. */
  readonly listen: string;
  /** Targets worked on at the same time. */
  readonly workers: number;
  readonly surroundings: Surroundings;
  readonly signal: AbortSignal;
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
  readonly adapters: Pick<Ports, 'databases' | 'alembic' | 'backups' | 'clock'>;
  /** Describes a plain `.sql` file that lies in no catalogue. Throws BackupNotFound, BackupInvalid. */
  openPlainDump(file: string): Promise<PlainDump>;
  /** The controller; resolves once it has stopped, with the targets (`NAMESPACE/NAME`) whose work did not end in time. */
  serve(options: ServeOptions): Promise<{ readonly unfinished: readonly string[] }>;
}
