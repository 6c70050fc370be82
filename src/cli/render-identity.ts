/** Which revision a schema is, as people read it and as programs do. Pure. */
import type { MigrationTarget } from '../api/target.ts';
import { formatRevisions } from '../rollback/compare.ts';
import { formatHeads } from '../rollback/graph.ts';
import { adviceFor, doubts, evidenceText, needsPurge, stampCommand, type Near } from '../rollback/identification.ts';
import type { Identified } from '../rollback/identify.ts';
import type { Screen } from './output.ts';
import { count, printable, wrap } from './text.ts';

/** Lines of a difference that are shown; all of them are in `-o json`. */
const mostLines = 10;

/** As `-o json` gives it. */
export function identityObject(
  { metadata, spec }: MigrationTarget,
  { state, graph, found }: Identified,
): Readonly<Record<string, unknown>> {
  const { verdict, said, compared, unbuilt, notKnown } = found;
  const isIdentified = verdict.kind === 'identified';
  const purge = needsPurge(found, graph);
  return {
    target: metadata.name,
    database: state.identity,
    server: state.server,
    versionTable: said,
    kind: verdict.kind,
    revisions: isIdentified ? verdict.revisions : null,
    by: isIdentified ? verdict.by : null,
    evidence: isIdentified ? verdict.match.evidence : null,
    among: verdict.kind === 'ambiguous' ? verdict.among : null,
    nearest: verdict.kind === 'unknown' ? verdict.nearest : null,
    compared,
    unbuilt,
    notKnown,
    stamp: stampCommand(spec, isIdentified ? verdict.revisions : null, { purge }),
  };
}

export function renderIdentity(
  { metadata, spec }: MigrationTarget,
  { state, graph, found }: Identified,
  { screen, say }: { readonly screen: Screen; readonly say: (message: string) => string },
): string {
  const { paint, width } = screen;
  const { name } = metadata;
  const { verdict, said, compared } = found;
  const heading = `${paint('bold', name)}   database ${printable(state.identity.name)}; the version table ${said === null ? 'is missing' : `says ${formatRevisions(said)}`}`;
  const advice = adviceFor(found, { name, spec, graph });
  const notes = [...doubts(found), advice].map((text) => wrap(say(text), '  ', width));
  return [heading, '', ...verdictLines(), '', ...notes].join('\n');

  function verdictLines(): readonly string[] {
    switch (verdict.kind) {
      case 'identified':
        return [
          `${paint('green', '✓')} its schema is exactly that of ${paint('bold', formatHeads(verdict.revisions))}`,
          wrap(`${evidenceText(verdict.match)}; no other of the ${compared} that are known is the same`, '    ', width),
        ];
      case 'ambiguous':
        return [
          `${paint('yellow', '!')} its schema is exactly that of each of these, which differ in data alone, or in nothing:`,
          ...verdict.among.map((match) =>
            wrap(`${formatHeads(match.revisions)}   ${evidenceText(match)}`, '    ', width),
          ),
        ];
      case 'unknown':
        return [
          `${paint('red', '✗')} its schema is none of the ${compared} that are known${verdict.nearest.length === 0 ? '' : '; the nearest:'}`,
          ...verdict.nearest.flatMap((near) => nearLines(near)),
        ];
    }
  }

  function nearLines({ revisions, differences, difference }: Near): readonly string[] {
    const lines = [
      ...difference.missing.map((line) => `      ${paint('red', '-')} ${printable(line)}`),
      ...difference.unexpected.map((line) => `      ${paint('green', '+')} ${printable(line)}`),
    ];
    const more = lines.length > mostLines ? [`      … ${lines.length - mostLines} more: -o json`] : [];
    return [
      `    ${paint('bold', formatHeads(revisions))}   ${count(differences, 'line')} differ${differences === 1 ? 's' : ''}`,
      ...lines.slice(0, mostLines),
      ...more,
    ];
  }
}
