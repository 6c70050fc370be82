/** One line a target, in kubectl's columns. Pure. */
import { revisionsText } from '../api/conditions.ts';
import { declaredRevisions } from '../api/target.ts';
import type { Declaration } from '../rollback/ports.ts';
import { statusOf } from '../rollback/status.ts';
import { keyOfDeclaration, statusOfDeclaration } from '../rollback/declaration.ts';
import type { Screen } from './output.ts';
import { formatAge, formatTable, relativeTime, type Cell, type Style } from './text.ts';

export function renderStatuses(
  declarations: readonly Declaration[],
  options: { readonly screen: Screen; readonly wide: boolean; readonly now: Date },
): string {
  const { screen, wide, now } = options;
  const hasNamespaces = new Set(declarations.map((declaration) => keyOfDeclaration(declaration).namespace)).size > 1;
  const headings = [
    ...(hasNamespaces ? ['NAMESPACE'] : []),
    'NAME',
    'CURRENT',
    'DESIRED',
    'READY',
    'REASON',
    'AGE',
    ...(wide ? ['LAST BACKUP', 'MESSAGE'] : []),
  ];
  return formatTable(
    headings,
    declarations.map((declaration) => [
      ...(hasNamespaces ? [keyOfDeclaration(declaration).namespace] : []),
      ...row(declaration, now),
      ...(wide ? [lastBackup(declaration, now), message(declaration)] : []),
    ]),
    screen.paint,
  );
}

function row(declaration: Declaration, now: Date): readonly Cell[] {
  const { name } = keyOfDeclaration(declaration);
  if (declaration.kind === 'invalid') {
    return [name, declaration.status?.currentRevision ?? '', '', { text: 'False', style: 'red' }, 'InvalidSpec', ''];
  }
  const { target } = declaration;
  const status = statusOf(target);
  const ready = status.conditions.find(({ type }) => type === 'Ready');
  const isStale = status.observedGeneration !== target.metadata.generation;
  const value = ready === undefined || isStale ? 'Unknown' : ready.status;
  return [
    name,
    status.currentRevision ?? '',
    revisionsText(declaredRevisions(target.spec)),
    { text: value, style: styles[value] },
    isStale ? 'not looked at yet' : (ready?.reason ?? ''),
    ready === undefined ? '' : formatAge(now.getTime() - Date.parse(ready.lastTransitionTime)),
  ];
}

const styles: Readonly<Record<'True' | 'False' | 'Unknown', Style>> = {
  True: 'green',
  False: 'red',
  Unknown: 'yellow',
};

function lastBackup(declaration: Declaration, now: Date): string {
  const last = statusOfDeclaration(declaration)?.lastBackup ?? null;
  return last === null
    ? 'none'
    : `${relativeTime(last.finishedAt, now)}, ${last.verified ? 'verified' : 'not verified'}`;
}

function message(declaration: Declaration): string {
  if (declaration.kind === 'invalid') return declaration.problem;
  return statusOf(declaration.target).conditions.find(({ type }) => type === 'Ready')?.message ?? '';
}
