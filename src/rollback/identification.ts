/**
 * Which revision a schema is: the one whose schema is the same to the line, where it is the only one. Nearness says
 * nothing of identity, so anything else is left to a person. Pure.
 */
import type { TargetSpec } from '../api/target.ts';
import { compareSchemas, describeDifference, type SchemaDifference } from './compare.ts';
import { formatHeads, sameSet } from './graph.ts';
import type { BuiltSchemas, RevisionGraph, SchemaFacts } from './model.ts';
import { asPart } from './sentences.ts';

/** `recorded`: when the database reached it; `backup`: of a verified backup at it; `built`: its migrations, run from base. */
export type Source = 'recorded' | 'backup' | 'built';

export interface Evidence {
  readonly by: Source;
  /** The backup's id. */
  readonly backup: string | null;
}

/** A schema that is known, and what of. */
export interface Candidate extends Evidence {
  readonly revisions: readonly string[];
  readonly schema: SchemaFacts;
}

export interface Match {
  readonly revisions: readonly string[];
  /** The strongest first. */
  readonly evidence: readonly Evidence[];
  /** Whether the scripts have all of them. */
  readonly inScripts: boolean;
}

export interface Near {
  readonly revisions: readonly string[];
  readonly by: Source;
  readonly differences: number;
  readonly difference: SchemaDifference;
}

export type Verdict =
  | { readonly kind: 'identified'; readonly revisions: readonly string[]; readonly by: Source; readonly match: Match }
  /** Several have that very schema: data migrations, which a schema can't tell apart. */
  | { readonly kind: 'ambiguous'; readonly among: readonly Match[] }
  /** The fewest differing lines first, at most `mostNear`. */
  | { readonly kind: 'unknown'; readonly nearest: readonly Near[] };

export const mostNear = 5;

/** Everything that was looked at, and what came of it. */
export interface Identification {
  readonly verdict: Verdict;
  /** What the version table says; null: there is none. */
  readonly said: readonly string[] | null;
  /** How many sets of revisions the schema was compared with. */
  readonly compared: number;
  /** Where base does not lead to, each reason once. */
  readonly unbuilt: readonly { readonly because: string; readonly revisions: readonly (readonly string[])[] }[];
  /** Revisions of the scripts whose schema is not known, so that it could be one of them as well. */
  readonly notKnown: readonly string[];
}

const strength: readonly Source[] = ['recorded', 'backup', 'built'];

export function judgeIdentity(
  present: SchemaFacts,
  candidates: readonly Candidate[],
  {
    graph,
    built,
    said,
  }: { readonly graph: RevisionGraph; readonly built: BuiltSchemas; readonly said: readonly string[] | null },
): Identification {
  const comparable = candidates.filter(({ schema }) => schema.major === present.major);
  const sets = bySet(comparable);
  const known = new Set(sets.flatMap(([{ revisions }]) => (revisions.length === 1 ? revisions : [])));
  return {
    verdict: judge(present, sets, graph),
    said,
    compared: sets.length,
    unbuilt: grouped(built.unbuilt.filter(({ revisions }) => !sets.some(([at]) => sameSet(at.revisions, revisions)))),
    notKnown: graph.revisions.map(({ id }) => id).filter((id) => !known.has(id)),
  };
}

type Known = readonly [Candidate, ...Candidate[]];

/** Of each set of revisions all that is known, the strongest first. */
function bySet(candidates: readonly Candidate[]): readonly Known[] {
  const sets = new Map<string, [Candidate, ...Candidate[]]>();
  const sorted = candidates.toSorted((a, b) => strength.indexOf(a.by) - strength.indexOf(b.by));
  for (const candidate of sorted) {
    const key = JSON.stringify(candidate.revisions.toSorted());
    const found = sets.get(key);
    if (found === undefined) sets.set(key, [candidate]);
    else found.push(candidate);
  }
  return [...sets.values()];
}

function judge(present: SchemaFacts, sets: readonly Known[], graph: RevisionGraph): Verdict {
  const ids = new Set(graph.revisions.map(({ id }) => id));
  const matches = sets.flatMap((known): readonly Match[] => {
    const evidence = known.filter(({ schema }) => schema.digest === present.digest);
    const { revisions } = known[0];
    if (evidence.length === 0) return [];
    return [
      {
        revisions,
        evidence: evidence.map(({ by, backup }) => ({ by, backup })),
        inScripts: revisions.every((id) => ids.has(id)),
      },
    ];
  });
  const [match, second] = matches;
  if (match !== undefined && second === undefined) {
    return { kind: 'identified', revisions: match.revisions, by: match.evidence[0]?.by ?? 'built', match };
  }
  return match === undefined
    ? { kind: 'unknown', nearest: nearest(present, sets) }
    : { kind: 'ambiguous', among: matches };
}

function nearest(present: SchemaFacts, sets: readonly Known[]): readonly Near[] {
  return sets
    .map((known) => known.map((candidate) => distance(present, candidate)).toSorted(byDistance)[0])
    .filter((near) => near !== undefined)
    .toSorted(byDistance)
    .slice(0, mostNear);
}

const byDistance = (a: Near, b: Near): number => a.differences - b.differences;

function distance(present: SchemaFacts, { revisions, by, schema }: Candidate): Near {
  const difference = compareSchemas(schema.lines, present.lines);
  return { revisions, by, differences: difference.missing.length + difference.unexpected.length, difference };
}

function grouped(unbuilt: BuiltSchemas['unbuilt']): Identification['unbuilt'] {
  const groups = new Map<string, (readonly string[])[]>();
  for (const { because, revisions } of unbuilt) groups.set(because, [...(groups.get(because) ?? []), revisions]);
  return [...groups].map(([because, revisions]) => ({ because, revisions }));
}

// ------------------------------------------------------------------------------------------------- in words

/** What was found, in sentences. */
export function describeIdentity(found: Identification): string {
  return [verdictText(found), ...doubts(found)].join(' ');
}

function verdictText({ verdict, compared }: Identification): string {
  switch (verdict.kind) {
    case 'identified':
      return `Its schema is exactly that of ${formatHeads(verdict.revisions)} (${evidenceText(verdict.match)}), and of no other revision that is known.`;
    case 'ambiguous':
      return `Its schema is exactly that of ${verdict.among.map(({ revisions }) => formatHeads(revisions)).join(', and of ')}: they differ in data alone, or in nothing, so a schema can't tell which it is.`;
    case 'unknown': {
      const [first] = verdict.nearest;
      if (first === undefined) return 'There is no schema to compare its own with.';
      const differs = first.differences === 1 ? '1 line' : `${first.differences} lines`;
      return `Its schema is none of the ${compared} that are known. Nearest is ${formatHeads(first.revisions)}, from which it differs in ${differs} (${describeDifference(first.difference)}).`;
    }
  }
}

export const sourceText = ({ by, backup }: Evidence): string => {
  switch (by) {
    case 'recorded':
      return 'as recorded when this database reached it';
    case 'backup':
      return `as in backup ${backup ?? ''}`;
    case 'built':
      return 'as its migrations make it from base';
  }
};

export const evidenceText = ({ evidence }: Match): string => {
  // One of each kind: every backup at a revision says the same.
  const kinds = strength.flatMap((by) => evidence.find((one) => one.by === by) ?? []);
  return kinds.map(sourceText).join('; ');
};

/** Why it could be another one all the same. */
export function doubts({ unbuilt, notKnown, verdict }: Identification): readonly string[] {
  if (notKnown.length === 0) return [];
  const [first] = unbuilt;
  const why = first === undefined ? '' : ` Base can't be built further: ${asPart(first.because)}.`;
  const some = `${notKnown.slice(0, 5).join(', ')}${notKnown.length > 5 ? ` and ${notKnown.length - 5} more` : ''}`;
  const so = verdict.kind === 'unknown' ? 'It may be one of them.' : 'It could be one of them as well.';
  return [`The schema at ${some} is not known. ${so}${why}`];
}

// ------------------------------------------------------------------------------------------ what to do next

/** What a person types who agrees, and where. */
export function stampCommand(
  { alembic }: Pick<TargetSpec, 'alembic'>,
  revisions: readonly string[] | null,
  { purge }: { readonly purge: boolean },
): { readonly where: string; readonly command: string } {
  const { config, section, xArgs, flaskApp, databaseUrl, workingDir } = alembic;
  const ids = revisions === null ? ['REVISION'] : revisions.length === 0 ? ['base'] : revisions.toSorted();
  const x = Object.entries(xArgs).flatMap(([name, value]) => ['-x', quoted(`${name}=${value}`)]);
  const options = purge ? ['--purge'] : [];
  const isUsual = config === 'alembic.ini';
  const words =
    flaskApp === undefined
      ? [
          'alembic',
          ...(isUsual ? [] : ['-c', quoted(config)]),
          ...(section === 'alembic' ? [] : ['-n', quoted(section)]),
          ...x,
          'stamp',
          ...options,
          ...ids,
        ]
      : ['flask', '--app', quoted(flaskApp), 'db', 'stamp', ...x, ...options, ...ids];
  const url =
    databaseUrl?.env === undefined
      ? databaseUrl?.option === undefined
        ? ''
        : `, with the database's URL as ${databaseUrl.option}`
      : `, with the database's URL in ${databaseUrl.env}`;
  return { where: `in ${workingDir}${url}`, command: words.join(' ') };
}

/** Whether alembic could not even read what the version table says now. */
export const needsPurge = ({ said }: Identification, graph: RevisionGraph): boolean =>
  said !== null && !said.every((id) => graph.revisions.some((revision) => revision.id === id));

const quoted = (word: string): string =>
  /^[\w./:@%+=-]+$/.test(word) ? word : `'${word.replaceAll("'", String.raw`'\''`)}'`;

/** The next step of whoever has to decide. */
export function adviceFor(
  found: Identification,
  {
    name,
    spec,
    graph,
  }: { readonly name: string; readonly spec: Pick<TargetSpec, 'alembic'>; readonly graph: RevisionGraph },
): string {
  const { verdict, said } = found;
  const purge = needsPurge(found, graph);
  const reconcile = `then: migration-target reconcile ${name}`;
  if (verdict.kind === 'identified') {
    const { revisions, match } = verdict;
    if (said !== null && sameSet(said, revisions)) return 'The version table says so too: nothing has to be done.';
    if (!match.inScripts)
      return `The scripts don't have ${formatHeads(revisions)}: deploy those that have it, and stamp it with them; ${reconcile}`;
    const { where, command } = stampCommand(spec, revisions, { purge });
    return `Nothing is stamped by itself. If you agree, ${where}: ${command}; ${reconcile}`;
  }
  const { where, command } = stampCommand(spec, null, { purge });
  return `Nothing is stamped on a guess. Whoever knows the revision stamps it, ${where}: ${command}; ${reconcile}. Or restore a backup: migration-target backups ${name}`;
}
