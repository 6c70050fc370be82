/** The report of one operation, for people (Markdown) and for programs (JSON). Pure. */
import { keyText, type HistoryEntry, type TargetKey } from '../api/target.ts';
import { formatRevisions } from './compare.ts';
import { formatHeads } from './graph.ts';
import { operationSteps, type AsideDatabase, type Operation } from './model.ts';

export function renderReport(
  key: TargetKey,
  operation: Operation,
  entry: HistoryEntry,
  aside: AsideDatabase | null,
): { readonly markdown: string; readonly json: string } {
  const json = JSON.stringify({ target: key, ...entry, aside, operation }, null, 2);
  return { markdown: markdown(key, operation, entry, aside), json: `${json}\n` };
}

function markdown(key: TargetKey, operation: Operation, entry: HistoryEntry, aside: AsideDatabase | null): string {
  const { plan, origin } = operation;
  const lines = [
    `# ${entry.result === 'success' ? 'Done' : 'Not done'}: ${entry.kind} of ${keyText(key)}`,
    '',
    entry.message,
    '',
    '| | |',
    '|---|---|',
    `| Result | ${entry.result}: ${entry.reason} |`,
    `| Database | ${origin.identity.name} (oid ${origin.identity.oid}, server ${origin.identity.systemIdentifier}, PostgreSQL ${origin.server.version}) |`,
    `| From | ${formatRevisions(origin.revisions)} |`,
    `| To | ${formatHeads(plan.desired)} |`,
    `| Backup before | ${operation.backup?.id ?? 'none'} |`,
    ...(operation.restore === null ? [] : [`| Restored from | ${operation.restore.backup} |`]),
    ...(aside === null ? [] : [`| Kept aside | ${aside.name} (oid ${aside.oid}) until ${aside.keptUntil} |`]),
    `| Started | ${entry.startedAt} |`,
    `| Finished | ${entry.finishedAt} |`,
    `| Operation | ${operation.id} |`,
    '',
    '## Steps',
    '',
    '| step | took |',
    '|---|---|',
    ...operationSteps.flatMap((step) => {
      const ms = operation.durations[step];
      return ms === undefined ? [] : [`| ${step} | ${(ms / 1000).toFixed(2)} s |`];
    }),
  ];
  if ('steps' in plan) {
    lines.push(
      '',
      '## Migrations',
      '',
      ...plan.steps.map(({ direction, revision }) => `- ${direction === 'up' ? 'upgrade' : 'downgrade'} ${revision}`),
    );
    if (plan.risks.length > 0) {
      lines.push(
        '',
        '## What may lose data',
        '',
        ...plan.risks.map(({ what, file, line }) => `- \`${what}\` (${file}:${line})`),
      );
    }
  }
  if (operation.rowChanges.length > 0) {
    lines.push('', '## Rows', '', '| table | before | after |', '|---|---|---|');
    lines.push(
      ...operation.rowChanges.map(
        ({ table, before, after }) => `| ${table} | ${before ?? 'none'} | ${after ?? 'none'} |`,
      ),
    );
  }
  if (operation.notes.length > 0) lines.push('', '## Notes', '', ...operation.notes.map((text) => `- ${text}`));
  return `${lines.join('\n')}\n`;
}
