/**
 * The history of migrations as a picture, newest on top, as `git log --graph` draws one: branches and merges as lines,
 * ● for what is applied, ○ for what is not. Pure.
 */
import { appliedBelow } from '../rollback/graph.ts';
import type { Revision, RevisionGraph } from '../rollback/model.ts';
import { printable, type Paint } from './text.ts';

export interface Marks {
  /** The heads in the version table; null: there is no version table. */
  readonly current: readonly string[] | null;
  readonly desired: readonly string[];
}

export function renderGraph(graph: RevisionGraph, { current, desired }: Marks, paint: Paint): string {
  const below = appliedBelow(
    graph,
    (current ?? []).filter((id) => graph.revisions.some((revision) => revision.id === id)),
  );
  const applied = below.kind === 'known' ? below.applied : new Set<string>();
  const drawn = layOut(graph);
  const width = Math.max(0, ...drawn.map(({ picture }) => picture.length));
  const idWidth = Math.max(0, ...graph.revisions.map(({ id }) => id.length));
  const lines = drawn.map(({ picture, revision }) => {
    if (revision === null) return paint('dim', picture.trimEnd());
    const isApplied = applied.has(revision.id);
    const dot = isApplied ? paint('green', '●') : '○';
    const at = picture.indexOf('●');
    const lanes = `${paint('dim', picture.slice(0, at))}${dot}${paint('dim', picture.slice(at + 1).padEnd(width - at - 1))}`;
    const marks = marksOf(revision.id, current, desired);
    const text = [
      `${lanes}  ${paint(isApplied ? 'bold' : 'dim', printable(revision.id).padEnd(idWidth))}`,
      ...(revision.labels.length === 0 ? [] : [paint('cyan', `(${revision.labels.map(printable).join(', ')})`)]),
      printable(revision.message.split('\n')[0] ?? ''),
      ...(revision.dependsOn.length === 0
        ? []
        : [paint('dim', `needs ${revision.dependsOn.map(printable).join(', ')}`)]),
      ...(wayBack(revision) === null ? [] : [paint('yellow', wayBack(revision) ?? '')]),
      ...(marks === '' ? [] : [paint('cyan', marks)]),
    ];
    return text.join('  ').trimEnd();
  });
  const base = marksOf('base', current?.length === 0 ? ['base'] : [], desired.length === 0 ? ['base'] : []);
  if (base !== '') lines.push(`${' '.repeat(width)}  ${'base'.padEnd(idWidth)}  ${paint('cyan', base)}`);
  return lines.join('\n');
}

function marksOf(id: string, current: readonly string[] | null, desired: readonly string[]): string {
  const marks = [...(current?.includes(id) === true ? ['current'] : []), ...(desired.includes(id) ? ['desired'] : [])];
  return marks.length === 0 ? '' : `← ${marks.join(', ')}`;
}

/** Where no downgrade leads past it. */
function wayBack({ downgrade }: Revision): string | null {
  switch (downgrade.shape) {
    case 'raises':
      return 'its downgrade() raises';
    case 'missing':
      return 'it has no downgrade()';
    case 'pass':
      return 'its downgrade() does nothing';
    case 'code':
      return null;
  }
}

interface Row {
  /** Two characters a lane; the revision's own has ●. */
  readonly picture: string;
  readonly revision: Revision | null;
}

/** Each lane waits for one revision: whoever is drawn above named it as a parent. */
function layOut(graph: RevisionGraph): readonly Row[] {
  const rows: Row[] = [];
  let lanes: (string | null)[] = [];
  for (const revision of graph.revisions.toReversed()) {
    const waiting = lanes.flatMap((id, lane) => (id === revision.id ? [lane] : []));
    const [first = freeLane(lanes), ...others] = waiting;
    // Branches that come together below: they join the leftmost.
    if (others.length > 0) rows.push({ picture: joinRow(lanes, first, others, '╯'), revision: null });
    lanes = lanes.map((id, lane) => (others.includes(lane) ? null : id));
    lanes[first] = revision.id;
    rows.push({
      picture: lanes.map((id, lane) => (lane === first ? '● ' : id === null ? '  ' : '│ ')).join(''),
      revision,
    });

    const [parent = null, ...merged] = revision.down;
    lanes[first] = parent;
    const opened: number[] = [];
    for (const id of merged) {
      const lane = freeLane(lanes);
      lanes[lane] = id;
      opened.push(lane);
    }
    if (opened.length > 0) rows.push({ picture: joinRow(lanes, first, opened, '╮'), revision: null });
    while (lanes.at(-1) === null) lanes.pop();
  }
  return rows;
}

function freeLane(lanes: readonly (string | null)[]): number {
  const free = lanes.indexOf(null);
  return free < 0 ? lanes.length : free;
}

/** Lines between lane `first` and the others, across whatever lies between. */
function joinRow(
  lanes: readonly (string | null)[],
  first: number,
  others: readonly number[],
  corner: '╯' | '╮',
): string {
  const [from, to] = [Math.min(first, ...others), Math.max(first, ...others)];
  return Array.from({ length: Math.max(lanes.length, to + 1) }, (_, lane) => {
    const isInside = lane >= from && lane < to;
    const filler = isInside ? '─' : ' ';
    if (lane === first) return `${lane === from ? '├' : lane === to ? '┤' : '┼'}${filler}`;
    if (others.includes(lane)) {
      if (lane === to) return `${corner}${filler}`;
      if (lane === from) return `${corner === '╯' ? '╰' : '╭'}${filler}`;
      return `${corner === '╯' ? '┴' : '┬'}${filler}`;
    }
    const isActive = (lanes[lane] ?? null) !== null;
    if (lane > from && lane < to) return `${isActive ? '┼' : '─'}${filler}`;
    return isActive ? '│ ' : '  ';
  }).join('');
}
