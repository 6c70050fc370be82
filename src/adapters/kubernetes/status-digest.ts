import { createHash } from 'node:crypto';

/** Equal for statuses that say the same, whatever the order of their fields; what is null is as good as left out. */
export const statusDigest = (status: unknown): string =>
  createHash('sha256')
    .update(JSON.stringify(canonical(status ?? {})))
    .digest('base64');

function canonical(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(canonical);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .filter(([, inner]) => inner !== null && inner !== undefined)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([name, inner]) => [name, canonical(inner)]),
  );
}
