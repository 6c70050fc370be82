import type { AlembicSettings } from '../../rollback/ports.ts';

/**
 * What the application's Python gets of the controller's own environment: how to find and run programs, never what the
 * controller knows. Whatever else env.py needs is declared in `spec.alembic.env`.
 */
const inherited =
  /^(PATH|HOME|USER|LOGNAME|LANG|LANGUAGE|LC_\w+|TZ|TMPDIR|VIRTUAL_ENV|PYTHON\w*|LD_LIBRARY_PATH|DYLD_LIBRARY_PATH|SSL_CERT_FILE|SSL_CERT_DIR|XDG_\w+)$/;

/** On this machine; a container has an environment of its own. */
export function inheritedEnvironment(own: Readonly<Record<string, string | undefined>>): Record<string, string> {
  const environment: Record<string, string> = {};
  for (const [name, value] of Object.entries(own)) {
    if (value !== undefined && inherited.test(name)) environment[name] = value;
  }
  return environment;
}

/** What counts only where a program is started with it; it says where to find things, and is no secret. */
const atStart = /^(PATH|HOME|LANG|LANGUAGE|LC_\w+|TZ|PYTHON\w*|VIRTUAL_ENV|LD_\w+|DYLD_\w+)$/;

export interface ChildEnvironment {
  /** What it is started with. */
  readonly env: Readonly<Record<string, string>>;
  /** What it is told once it runs: with what a process was started, others of the machine may see. */
  readonly secrets: Readonly<Record<string, string>>;
}

/**
 * The variables of the Python process, beside what the place gives it: `PYTHONDONTWRITEBYTECODE` keeps the user's source
 * tree as it is; `PGAPPNAME` names the connections that env.py makes past SQLAlchemy, by libpq or by a `psql` of its own.
 * What is declared wins over both. What does not stand in the YAML, and is not `harmless`, is a secret.
 */
export function childEnvironment(
  declared: Readonly<Record<string, string>>,
  spec: AlembicSettings['spec'],
  harmless: Readonly<Record<string, string>>,
): ChildEnvironment {
  const inYaml = new Set(spec.env.filter(({ valueFrom }) => valueFrom === undefined).map(({ name }) => name));
  const env: Record<string, string> = { PYTHONDONTWRITEBYTECODE: '1', ...harmless };
  const secrets: Record<string, string> = {};
  for (const [name, value] of Object.entries(declared)) {
    const place = inYaml.has(name) || atStart.test(name) || value === harmless[name] ? env : secrets;
    place[name] = value;
  }
  return { env, secrets };
}
