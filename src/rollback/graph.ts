/**
 * Sets of revisions, as alembic keeps them: a database is at a set of heads, and what is applied is everything
 * below them. Going somewhere is the difference of two such sets, so branches, merges, `depends_on`, several heads
 * and base need no case of their own.
 */
import type { Revision, RevisionGraph, Step } from './model.ts';

export type Applied =
  | { readonly kind: 'known'; readonly applied: ReadonlySet<string> }
  | { readonly kind: 'unknown'; readonly missing: readonly string[] };

const parents = (revision: Revision): readonly string[] => [...revision.down, ...revision.dependsOn];

const index = (graph: RevisionGraph): ReadonlyMap<string, Revision> =>
  new Map(graph.revisions.map((revision) => [revision.id, revision]));

/** Everything that is applied when the version table holds `heads`; or the heads that the scripts don't have. */
export function appliedBelow(graph: RevisionGraph, heads: readonly string[]): Applied {
  const byId = index(graph);
  const missing = heads.filter((head) => !byId.has(head));
  if (missing.length > 0) return { kind: 'unknown', missing };

  const applied = new Set<string>();
  const open = [...heads];
  for (let id = open.pop(); id !== undefined; id = open.pop()) {
    const revision = byId.get(id);
    if (applied.has(id) || revision === undefined) continue;
    applied.add(id);
    open.push(...parents(revision));
  }
  return { kind: 'known', applied };
}

/**
 * What the version table holds once exactly these are applied, sorted. Alembic leaves out what another applied
 * revision descends from or depends on.
 */
export function headsOf(graph: RevisionGraph, applied: ReadonlySet<string>): string[] {
  const covered = new Set(graph.revisions.filter(({ id }) => applied.has(id)).flatMap(parents));
  return [...applied].filter((id) => !covered.has(id)).sort();
}

/** Down from the newest, then up from the oldest: from one set of applied revisions to another. */
export function stepsBetween(graph: RevisionGraph, from: ReadonlySet<string>, to: ReadonlySet<string>): Step[] {
  const ids = graph.revisions.map(({ id }) => id);
  const down = ids.filter((id) => from.has(id) && !to.has(id)).reverse();
  const up = ids.filter((id) => to.has(id) && !from.has(id));
  return [
    ...down.map((revision): Step => ({ direction: 'down', revision })),
    ...up.map((revision): Step => ({ direction: 'up', revision })),
  ];
}

/** The version table after each step; null where a step could not be run from there. */
export function simulate(graph: RevisionGraph, heads: readonly string[], steps: readonly Step[]): string[] | null {
  const byId = index(graph);
  const start = appliedBelow(graph, heads);
  if (start.kind === 'unknown') return null;
  const applied = new Set(start.applied);
  for (const { direction, revision: id } of steps) {
    const revision = byId.get(id);
    if (revision === undefined) return null;
    if (direction === 'up') {
      if (applied.has(id) || parents(revision).some((parent) => !applied.has(parent))) return null;
      applied.add(id);
    } else {
      const isNeeded = graph.revisions.some((other) => applied.has(other.id) && parents(other).includes(id));
      if (!applied.has(id) || isNeeded) return null;
      applied.delete(id);
    }
  }
  return headsOf(graph, applied);
}

export const sameSet = (a: readonly string[], b: readonly string[]): boolean =>
  a.length === b.length && [...a].sort().join('\n') === [...b].sort().join('\n');

/** How a set of heads is written for people: `base` where it is empty. */
export const formatHeads = (heads: readonly string[]): string =>
  heads.length === 0 ? 'base' : [...heads].sort().join(', ');

export type Resolved =
  | { readonly kind: 'resolved'; readonly revisions: readonly string[] }
  | { readonly kind: 'unknown'; readonly message: string };

/**
 * What a person types, made absolute: an id, the beginning of one, a branch label, `head`, `heads`, `base`,
 * or steps relative to where the database is (`-3`, `+1`).
 */
export function resolveRevision(graph: RevisionGraph, text: string, current: readonly string[]): Resolved {
  const all = new Set(graph.revisions.map(({ id }) => id));
  const tips = headsOf(graph, all);
  const unknown = (message: string): Resolved => ({ kind: 'unknown', message });

  if (text === 'base') return { kind: 'resolved', revisions: [] };
  if (text === 'heads') return { kind: 'resolved', revisions: tips };
  if (text === 'head') {
    return tips.length === 1
      ? { kind: 'resolved', revisions: tips }
      : unknown(
          `'head' is ambiguous: the scripts have ${tips.length} heads (${formatHeads(tips)}). Name one, or write 'heads'.`,
        );
  }
  if (/^[+-]\d{1,4}$/.test(text)) return resolveRelative(graph, Number(text), current);

  if (all.has(text)) return { kind: 'resolved', revisions: [text] };
  const labelled = graph.revisions.filter(({ labels }) => labels.includes(text));
  if (labelled.length > 0) {
    // A label names a whole branch; alembic takes its newest revision.
    const branch = tips.filter((tip) => {
      const below = appliedBelow(graph, [tip]);
      return below.kind === 'known' && labelled.some(({ id }) => below.applied.has(id));
    });
    return branch.length === 1
      ? { kind: 'resolved', revisions: branch }
      : unknown(`The label '${text}' leads to ${branch.length} heads (${formatHeads(branch)}). Name one of them.`);
  }
  const matches = [...all].filter((id) => id.startsWith(text)).sort();
  if (matches.length === 1) return { kind: 'resolved', revisions: matches };
  if (matches.length > 1)
    return unknown(
      `'${text}' is ambiguous: it is the beginning of ${matches.slice(0, 5).join(', ')}. Type more of it.`,
    );
  return unknown(`No revision, beginning of one, or label '${text}' in the scripts. See: migration-target history`);
}

function resolveRelative(graph: RevisionGraph, distance: number, current: readonly string[]): Resolved {
  const below = appliedBelow(graph, current);
  if (below.kind === 'unknown') {
    return {
      kind: 'unknown',
      message: `The database is at ${formatHeads(below.missing)}, which the scripts don't have, so there is nothing to count from.`,
    };
  }
  const byId = index(graph);
  let at = current[0] ?? null;
  if (current.length > 1) {
    return {
      kind: 'unknown',
      message: `The database is at several heads (${formatHeads(current)}); relative steps are ambiguous. Name the revisions.`,
    };
  }
  for (let step = 0; step < Math.abs(distance); step += 1) {
    const next: readonly string[] =
      distance < 0
        ? at === null
          ? []
          : (byId.get(at)?.down ?? [])
        : graph.revisions
            .filter(({ down }) => (at === null ? down.length === 0 : down.includes(at)))
            .map(({ id }) => id);
    const isBase = distance < 0 && at !== null && next.length === 0;
    if (next.length > 1) {
      return {
        kind: 'unknown',
        message: `${distance > 0 ? `+${distance}` : distance} is ambiguous: after ${at ?? 'base'} there are ${formatHeads(next)}. Name the revision.`,
      };
    }
    if (next.length === 0 && !isBase) {
      return {
        kind: 'unknown',
        message: `${distance > 0 ? `+${distance}` : distance} leads past the ${distance > 0 ? 'head' : 'base'}: only ${step} steps are left.`,
      };
    }
    at = next[0] ?? null;
  }
  return { kind: 'resolved', revisions: at === null ? [] : [at] };
}
