/** A declared health check: one GET, by Node's own fetch. */
import type { HealthProbe } from '../../rollback/ports.ts';

export const probeHttp: HealthProbe = async (url, signal) => {
  const shown = withoutSecrets(url);
  try {
    // Where it leads to may be another one's page of welcome.
    const response = await fetch(url, { signal, redirect: 'manual', headers: { 'user-agent': 'migration-target' } });
    await response.body?.cancel();
    return response.ok
      ? { state: 'healthy', what: `${shown} answers ${response.status}` }
      : { state: 'unhealthy', what: `${shown} answers ${response.status}, not 2xx` };
  } catch (error) {
    return { state: 'unhealthy', what: `${shown} does not answer (${whyNot(error)})` };
  }
};

/** Undici says only that a fetch failed; why is in the cause. */
function whyNot(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  if (error.name === 'TimeoutError') return 'no answer in time';
  const { cause } = error;
  if (!(cause instanceof Error)) return error.message;
  const { code } = cause as NodeJS.ErrnoException;
  return cause.message === '' ? (code ?? error.message) : cause.message;
}

/** Neither a password nor a query belongs in a condition. */
function withoutSecrets(url: string): string {
  if (!URL.canParse(url)) return 'the URL of the health check';
  const { protocol, host, pathname } = new URL(url);
  return `${protocol}//${host}${pathname}`;
}
