/**
 * In which order databases are taken up from base, so that each wanted set of revisions is reached with exactly what lies
 * below it: a linear history is one database that goes up, and where several ways go on from one set it is copied. Pure.
 */
import { appliedBelow, headsOf, stepsBetween } from './graph.ts';
import type { RevisionGraph, Step } from './model.ts';

/** A set of revisions, the steps that lead to it from the stage before, and where it goes on from there. */
export interface Stage {
  /** As the version table says it: none for base. */
  readonly revisions: readonly string[];
  readonly steps: readonly Step[];
  /** The one with most below it last: it goes on in the database itself, the others in copies of it. */
  readonly next: readonly Stage[];
}

/**
 * Base, each revision with what is below it, all heads together, and what a merge begins with: a database may well have
 * stayed there. Any other set of several heads is left out, since there are as many as branches can be combined.
 */
export function everyRevision(graph: RevisionGraph): readonly (readonly string[])[] {
  const ids = graph.revisions.map(({ id }) => id);
  const together = graph.revisions.flatMap(({ down, dependsOn }) => {
    const below = appliedBelow(graph, [...down, ...dependsOn]);
    return below.kind === 'known' ? [headsOf(graph, below.applied)] : [];
  });
  const sets = [[], ...ids.map((id) => [id]), ...together, headsOf(graph, new Set(ids))];
  return [...new Map(sets.map((set) => [JSON.stringify(set), set])).values()];
}

interface Growing {
  readonly revisions: readonly string[];
  readonly applied: ReadonlySet<string>;
  readonly steps: readonly Step[];
  readonly next: Growing[];
}

/** The first stage is base, wanted or not. Sets that the scripts don't know lead nowhere, and are left out. */
export function planBuild(graph: RevisionGraph, wanted: readonly (readonly string[])[]): Stage {
  const base: Growing = { revisions: [], applied: new Set(), steps: [], next: [] };
  const stages = [base];
  const sets = wanted
    .map((revisions) => appliedBelow(graph, revisions))
    .flatMap((below) => (below.kind === 'known' && below.applied.size > 0 ? [below.applied] : []))
    .toSorted((a, b) => a.size - b.size);
  for (const applied of sets) {
    // The nearest below it; in a linear history that is the last one.
    const before = stages.findLast((stage) => isWithin(stage.applied, applied)) ?? base;
    if (before.applied.size === applied.size) continue;
    const steps = stepsBetween(graph, before.applied, applied);
    const stage = { revisions: headsOf(graph, applied), applied, steps, next: [] };
    before.next.push(stage);
    stages.push(stage);
  }
  return finished(stages, base);
}

function isWithin(some: ReadonlySet<string>, all: ReadonlySet<string>): boolean {
  if (some.size > all.size) return false;
  for (const id of some) if (!all.has(id)) return false;
  return true;
}

/** From the last stage to the first, since a long history would be too deep to descend. */
function finished(stages: readonly Growing[], base: Growing): Stage {
  const done = new Map<Growing, { readonly stage: Stage; readonly size: number }>();
  const get = (stage: Growing): { readonly stage: Stage; readonly size: number } => {
    const found = done.get(stage);
    if (found === undefined) throw new Error('a stage was asked for before those after it');
    return found;
  };
  for (const growing of stages.toReversed()) {
    const next = growing.next.map(get).toSorted((a, b) => a.size - b.size);
    const size = next.reduce((sum, { size: below }) => sum + below, growing.steps.length);
    const { revisions, steps } = growing;
    done.set(growing, { stage: { revisions, steps, next: next.map(({ stage }) => stage) }, size });
  }
  return get(base).stage;
}

/** Each with all after it, in the order in which they are reached. */
export function allStages(first: Stage): readonly Stage[] {
  const found: Stage[] = [];
  const open = [first];
  for (let stage = open.pop(); stage !== undefined; stage = open.pop()) {
    found.push(stage);
    open.push(...stage.next.toReversed());
  }
  return found;
}

/** Migrations that are run, those in copies among them. */
export const stepsIn = (first: Stage): number => allStages(first).reduce((sum, { steps }) => sum + steps.length, 0);
