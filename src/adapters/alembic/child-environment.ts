/**
 * What the application's Python gets of the controller's own environment: how to find and run programs, never what the
 * controller knows. Whatever else env.py needs is declared in `spec.alembic.env`.
 */
const inherited =
  /^(PATH|HOME|USER|LOGNAME|LANG|LANGUAGE|LC_\w+|TZ|TMPDIR|VIRTUAL_ENV|PYTHON\w*|LD_LIBRARY_PATH|DYLD_LIBRARY_PATH|SSL_CERT_FILE|SSL_CERT_DIR|XDG_\w+)$/;

/**
 * The environment of the Python process.
 *
 * `PYTHONDONTWRITEBYTECODE` keeps the user's source tree as it is; `PGAPPNAME` names the connections that env.py makes
 * past SQLAlchemy, by libpq or by a `psql` of its own. What is declared wins over both.
 */
export function childEnvironment(
  own: Readonly<Record<string, string | undefined>>,
  declared: Readonly<Record<string, string>>,
  operationId: string,
): Record<string, string> {
  const environment: Record<string, string> = {};
  for (const [name, value] of Object.entries(own)) {
    if (value !== undefined && inherited.test(name)) environment[name] = value;
  }
  environment['PYTHONDONTWRITEBYTECODE'] = '1';
  environment['PGAPPNAME'] = `migration-target/${operationId}`;
  return { ...environment, ...declared };
}
