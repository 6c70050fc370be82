/** The Docker Engine, as `DOCKER_HOST` and its kin say, and what goes wrong with it in the API's terms. */
import Docker from 'dockerode';
import { Failure, retry, stalled } from '../../rollback/errors.ts';

export interface Engine {
  readonly docker: Docker;
  /** For messages, e.g. `unix:///var/run/docker.sock`. */
  readonly where: string;
  /** The host that published ports are on, where it is not this machine. */
  readonly host: string | null;
  /** Podman speaks Docker's API, and tells some of it otherwise. Asked once. Throws what `engineFailure` makes of an error. */
  isPodman(): Promise<boolean>;
}

/** Connects to nothing yet. `address`: instead of the environment's. Throws DockerUnreachable where that can't be read. */
export function openEngine(address: string | undefined = process.env['DOCKER_HOST']): Engine {
  const where = address === undefined || address === '' ? 'unix:///var/run/docker.sock' : address;
  try {
    const socketPath = /^unix:\/\/(.+)$/.exec(where)?.[1];
    const docker = socketPath === undefined ? new Docker() : new Docker({ socketPath });
    const engine = { docker, where, host: socketPath === undefined ? new URL(where).hostname || null : null };
    let asked: Promise<boolean> | null = null;
    const isPodman = (): Promise<boolean> =>
      (asked ??= askForPodman(engine).catch((error: unknown) => {
        asked = null;
        throw error;
      }));
    return { ...engine, isPodman };
  } catch (error) {
    throw stalled(
      'DockerUnreachable',
      `DOCKER_HOST can't be read (${messageOf(error)}). Write it as unix:///var/run/docker.sock or tcp://host:2376.`,
      error,
    );
  }
}

async function askForPodman(engine: Omit<Engine, 'isPodman'>): Promise<boolean> {
  try {
    const { Components } = await engine.docker.version();
    return Components?.some(({ Name }) => Name === 'Podman Engine') ?? false;
  } catch (error) {
    throw engineFailure(engine, error, 'Asking for the version');
  }
}

/** For what is answered at once: an engine that hangs is one that does not answer. */
export const answerInTime = (): AbortSignal => AbortSignal.timeout(30_000);

/** The status of the engine's answer; null: there was none. */
export function statusOf(error: unknown): number | null {
  const status = error instanceof Error && 'statusCode' in error ? error.statusCode : null;
  return typeof status === 'number' ? status : null;
}

/** What the engine said, without what dockerode puts around it. */
export function messageOf(error: unknown): string {
  const json: unknown = error instanceof Error && 'json' in error ? error.json : null;
  const said = typeof json === 'object' && json !== null && 'message' in json ? json.message : null;
  if (typeof said === 'string') return said.trim();
  return error instanceof Error ? error.message.trim() : String(error);
}

const forbidden = new Set(['EACCES', 'EPERM']);

/** `doing`: what was attempted, as the beginning of a sentence: `Looking at the container app`. */
export function engineFailure({ where }: Pick<Engine, 'where'>, error: unknown, doing: string): Failure {
  if (error instanceof Failure) return error;
  const status = statusOf(error);
  const code = error instanceof Error && 'code' in error ? String(error.code) : null;
  if (status === null) {
    if (code !== null && forbidden.has(code))
      return stalled(
        'DockerForbidden',
        `${doing}: the controller's user may not use the Docker Engine at ${where} (${code}). Give it the right: usermod --append --groups docker USER; then start the controller again.`,
        error,
      );
    return retry(
      'DockerUnreachable',
      `${doing}: the Docker Engine at ${where} does not answer ${code === 'ABORT_ERR' ? 'in time' : `(${code ?? messageOf(error)})`}. It is tried again by itself. See: docker version`,
      error,
    );
  }
  if (status === 401 || status === 403)
    return stalled(
      'DockerForbidden',
      `${doing}: the Docker Engine at ${where}, or a proxy before it, refuses that (${status}: ${messageOf(error)}). The controller inspects, starts and removes containers and runs programs in them: a socket proxy has to allow CONTAINERS, EXEC, EVENTS, IMAGES, NETWORKS, VERSION and POST.`,
      error,
    );
  return stalled(
    'InternalError',
    `${doing}: the Docker Engine at ${where} answers ${status}: ${messageOf(error)}. Read its log: journalctl --unit docker`,
    error,
  );
}
