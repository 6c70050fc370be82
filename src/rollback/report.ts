/** The report of one operation, for people (Markdown) and for programs (JSON). Pure. */
import { keyText, type HistoryEntry, type TargetKey, type TargetSpec } from '../api/target.ts';
import { hasArrived, hasChanged, isError, ranBefore } from './application.ts';
import { formatRevisions } from './compare.ts';
import { formatHeads } from './graph.ts';
import { cell, lossMarkdown } from './loss-markdown.ts';
import { operationSteps, type ApplicationRecord, type AsideDatabase, type Operation, type Rehearsal } from './model.ts';

type Queries = TargetSpec['verify']['queries'];

/** `queries`: the user's own, which had to hold. */
export function renderReport(
  key: TargetKey,
  operation: Operation,
  entry: HistoryEntry,
  { aside, queries }: { readonly aside: AsideDatabase | null; readonly queries: Queries },
): { readonly markdown: string; readonly json: string } {
  const json = JSON.stringify({ target: key, ...entry, aside, operation }, null, 2);
  const parts = [
    heading(key, operation, entry),
    before(operation),
    during(operation),
    after(operation, aside, queries),
  ].flatMap((blocks) => blocks.filter((lines) => lines.length > 0));
  return { markdown: `${parts.map((lines) => lines.join('\n')).join('\n\n')}\n`, json: `${json}\n` };
}

/** What stands together, between empty lines. */
type Block = readonly string[];

/** A checklist as whoever is on call would go through it by hand. */
function heading(key: TargetKey, { id }: Operation, entry: HistoryEntry): readonly Block[] {
  return [
    [`# ${entry.result === 'success' ? 'Done' : 'Not done'}: ${entry.kind} of ${keyText(key)}`],
    [entry.message],
    table([
      ['Result', `${entry.result}: ${entry.reason}`],
      ['Started', entry.startedAt],
      ['Finished', entry.finishedAt],
      ['Operation', id],
    ]),
  ];
}

function before(operation: Operation): readonly Block[] {
  const { plan, origin, backup, rehearsal, gate } = operation;
  const { identity, server } = origin;
  const risks = 'risks' in plan && rehearsal?.loss == null ? plan.risks : [];
  return [
    ['## Before'],
    table([
      [
        'Database',
        `${identity.name} (oid ${identity.oid}, server ${identity.systemIdentifier}, PostgreSQL ${server.version})`,
      ],
      ['From', formatRevisions(origin.revisions)],
      ['To', formatHeads(plan.desired)],
      ['Backup', backup?.id ?? 'none'],
      ['Rehearsal', rehearsal === null ? 'none' : describeRehearsal(rehearsal)],
      ['Approval', gate?.approval == null ? 'none' : `${gate.approval} of plan ${gate.digest}`],
    ]),
    rehearsal === null || rehearsal.notTried !== null || rehearsal.route === 'none' ? [] : lossMarkdown(rehearsal),
    risks.length === 0 ? [] : ['What may lose data:'],
    risks.map(({ what, file, line }) => `- \`${what}\` (${file}:${line})`),
  ];
}

function during({ plan, application, restore, durations }: Operation): readonly Block[] {
  const steps = operationSteps.flatMap((step) => {
    const ms = durations[step];
    return ms === undefined ? [] : [[step, seconds(ms)] as const];
  });
  return [
    ['## During'],
    application === null ? [] : [describeStop(application)],
    'steps' in plan ? ['Migrations:'] : [],
    'steps' in plan
      ? plan.steps.map(({ direction, revision }) => `- ${direction === 'up' ? 'upgrade' : 'downgrade'} ${revision}`)
      : [],
    restore === null ? [] : [`Restored from ${restore.backup}.`],
    table(steps, ['step', 'took']),
  ];
}

function after(operation: Operation, aside: AsideDatabase | null, queries: Queries): readonly Block[] {
  const { application, rowChanges, notes } = operation;
  const health = application?.health ?? null;
  const downMs = application?.downMs ?? null;
  const log = application?.log ?? [];
  return [
    ['## After'],
    table([
      ['Database', describeEnd(operation)],
      ...(hasArrived(operation) ? queries.map(({ name, expect }) => [`Query ${name}`, expect] as const) : []),
      ...(health === null ? [] : [['Application', health.message] as const]),
      ...(downMs === null ? [] : [['Downtime', `${(downMs / 1000).toFixed(1)} s`] as const]),
      ...(aside === null ? [] : [['Kept aside', `${aside.name} (oid ${aside.oid}) until ${aside.keptUntil}`] as const]),
    ]),
    rowChanges.length === 0
      ? []
      : table(
          rowChanges.map((change) => [change.table, `${change.before ?? 'none'}`, `${change.after ?? 'none'}`]),
          ['rows of', 'before', 'after'],
        ),
    log.length === 0 ? [] : ["The application's last lines:"],
    log.length === 0
      ? []
      : [
          '```',
          ...log.map((line) => `${isError(line) ? '✗' : ' '} ${line.workload}: ${line.text.replaceAll('```', "'''")}`),
          '```',
        ],
    notes.length === 0 ? [] : ['To be known:'],
    notes.map((text) => `- ${text}`),
  ];
}

function table(rows: readonly (readonly string[])[], head: readonly string[] = ['', '']): Block {
  const line = (cells: readonly string[]): string => `|${cells.map((text) => ` ${cell(text)} `).join('|')}|`;
  return rows.length === 0 ? [] : [line(head), `|${head.map(() => '---|').join('')}`, ...rows.map(line)];
}

const seconds = (ms: number): string => `${(ms / 1000).toFixed(2)} s`;

function describeStop({ workloads, stoppedAt }: ApplicationRecord): string {
  const names = ranBefore({ workloads });
  const who = names.length === 0 ? 'No workload was running' : names.join(', ');
  if (stoppedAt === null) return names.length === 0 ? `${who}.` : `The application ran on: ${who}.`;
  return names.length === 0 ? `${who} at ${stoppedAt}.` : `Stopped at ${stoppedAt}: ${who}.`;
}

function describeEnd(operation: Operation): string {
  const { plan, origin, swapped } = operation;
  if (!hasChanged(operation)) return `at ${formatRevisions(origin.revisions)}, as before`;
  const revisions = hasArrived(operation) ? formatHeads(plan.desired) : formatRevisions(origin.revisions);
  const read = swapped ? 'compared with its backup before it was swapped in' : 'version table and schema read again';
  return `at ${revisions}, verified: ${read}`;
}

function describeRehearsal({ fault, notTried, wayBack, stepMs, tookMs }: Rehearsal): string {
  if (notTried !== null) return `It could not be tried: ${notTried}.`;
  const took = `the migrations took ${seconds(stepMs.reduce((sum, ms) => sum + ms, 0))}, all of it ${seconds(tookMs)}`;
  return [
    fault === null ? `It went through on a copy; ${took}.` : `It failed on a copy: ${fault}`,
    ...(wayBack.kind === 'reversible' ? ['Back and again ended where it should.'] : []),
    ...(wayBack.kind === 'irreversible' ? [`The way back does not end where it began: ${wayBack.because}`] : []),
  ].join(' ');
}
