import { spawnSync } from 'node:child_process';

/**
 * Runs Prometheus' own tool. null where it is not installed, which is told on stderr, and with `CI` is an error: what it
 * would have judged was not.
 */
export function promtool(
  args: readonly string[],
  input = '',
): { readonly status: number | null; readonly output: string } | null {
  const { error, status, stdout, stderr } = spawnSync('promtool', args, { input, encoding: 'utf8' });
  if (error === undefined) return { status, output: stdout + stderr };
  const problem = `promtool could not be started (${error.message}): apt-get install prometheus`;
  if (process.env['CI'] === 'true') throw new Error(problem, { cause: error });
  process.stderr.write(`NOT CHECKED: promtool ${args.join(' ')}: ${problem}\n`);
  return null;
}
