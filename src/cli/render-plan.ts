/** A plan as people read it before they say yes, and as programs do. Pure. */
import type { Plan, RevisionGraph, Risk, Step } from '../rollback/model.ts';
import { lossMarkdown } from '../rollback/loss-markdown.ts';
import { changeOf, type Preview } from '../rollback/preview.ts';
import type { Rehearsed } from '../rollback/rehearse-only.ts';
import { formatHeads } from '../rollback/graph.ts';
import { formatRevisions, sameRevisions } from '../rollback/compare.ts';
import type { Screen } from './output.ts';
import { lossBlock, timesBlock } from './render-loss.ts';
import {
  count,
  formatBytes,
  formatDuration,
  formatInstant,
  formatTable,
  printable,
  relativeTime,
  wrap,
  type Cell,
} from './text.ts';

/** As `-o json` gives it. */
export function planObject(
  name: string,
  { plan, state, backups, sql, unfinished }: Preview,
  rehearsed: Rehearsed | null = null,
): Readonly<Record<string, unknown>> {
  const reliedOn = reliesOn(plan);
  const change = changeOf(plan);
  return {
    target: name,
    kind: plan.kind,
    digest: 'digest' in plan ? plan.digest : null,
    database: state.identity,
    server: state.server,
    current: plan.current,
    desired: plan.desired,
    steps: change?.steps ?? [],
    risks: change?.risks ?? [],
    fallback: 'fallback' in plan ? plan.fallback : null,
    restores: plan.kind === 'restore' ? plan.backup : null,
    because: plan.kind === 'restore' ? plan.because : null,
    backups: backups.filter(({ id }) => id === reliedOn),
    reason: plan.kind === 'refuse' ? plan.reason : null,
    message: plan.kind === 'refuse' ? plan.message : null,
    sql,
    rehearsal: rehearsed?.kind === 'rehearsed' ? rehearsalObject(rehearsed) : null,
    unfinishedOperation:
      unfinished === null ? null : { id: unfinished.id, kind: unfinished.plan.kind, step: unfinished.step },
  };
}

type OnCopy = Extract<Rehearsed, { readonly kind: 'rehearsed' }>;

const rehearsalObject = ({ operation, verdict, digest }: OnCopy): Readonly<Record<string, unknown>> => ({
  ...operation.rehearsal,
  approvalDigest: digest,
  gate: verdict,
});

export interface PlanOptions {
  readonly screen: Screen;
  readonly now: Date;
  readonly say: (message: string) => string;
  /** Whether the operation will try it on a copy first. */
  readonly isRehearsing: boolean;
  /** What came of trying it; null: it was not tried. */
  readonly rehearsed?: Rehearsed | null;
}

export function renderPlan(name: string, preview: Preview, options: PlanOptions): string {
  const { plan, state, graph, sql, unfinished } = preview;
  const { screen, now, say, isRehearsing } = options;
  const onCopy = options.rehearsed?.kind === 'rehearsed' ? options.rehearsed : null;
  const { paint, width } = screen;
  const blocks: string[] = [];
  const add = (...lines: readonly string[]): void => void blocks.push(lines.join('\n'));

  const database = `database ${printable(state.identity.name)}, ${formatBytes(state.sizeBytes)}, PostgreSQL ${state.server.version}`;
  add(`${paint('bold', name)}   ${headline(preview, paint)}`, paint('dim', `  ${database}`));
  if (unfinished !== null) {
    add(
      wrap(
        say(
          `Operation ${unfinished.id} (${unfinished.plan.kind}) was begun and not ended; it stands at its step ${unfinished.step}, and is gone on with first.`,
        ),
        '   ',
        width,
      ),
    );
  }
  const change = changeOf(plan);
  if (change !== null) {
    add(heading(count(change.steps.length, 'migration'), paint), indent(stepTable(change.steps, graph, paint)));
    if (onCopy === null) add(...lossLines(change.risks, isRehearsing, screen));
  }
  switch (plan.kind) {
    case 'nothing':
    case 'backup':
      break;
    case 'refuse':
      add(wrap(say(plan.message), '  ', width));
      break;
    case 'restore':
      add(
        heading('restores', paint),
        backupLine(preview, plan.backup, now, width),
        wrap(
          `Because ${plan.because}. It goes into a new database, which is verified and then takes the name; the one of now is kept aside.`,
          '    ',
          width,
        ),
        paint(
          'yellow',
          wrap(
            `What was written since ${formatInstant(plan.takenAt)} (${relativeTime(plan.takenAt, now)}) is not in it.`,
            '    ',
            width,
          ),
        ),
      );
      break;
    case 'upgrade':
    case 'downgrade':
    case 'switch':
      add(...fallbackLines(preview, plan.fallback, isRehearsing, now, screen));
  }
  if (sql !== null) {
    add(
      heading('sql', paint),
      sql.kind === 'sql'
        ? indent(printable(sql.sql.trim()))
        : wrap(`alembic can't write it beforehand: ${sql.because}`, '    ', width),
    );
  }
  if (onCopy !== null) for (const block of onCopyBlocks(name, onCopy, options)) add(...block);
  // What it is approved by is known once it was tried.
  const digest = onCopy?.digest ?? ('digest' in plan && !isRehearsing ? plan.digest : '');
  if (digest !== '') add(paint('dim', `  digest ${digest}`));
  return `${blocks.join('\n\n')}\n`;
}

/** What came of trying it: whether it goes through, what is lost, how long it takes, what the gate will say. */
function onCopyBlocks(
  name: string,
  { operation: { rehearsal, failure }, verdict, digest }: OnCopy,
  { screen, say }: PlanOptions,
): readonly (readonly string[])[] {
  const { paint, width } = screen;
  if (rehearsal === null)
    return [[wrap('The database as it is can’t be dumped, so nothing could be measured.', '  ', width)]];
  const { fault, notTried, route } = rehearsal;
  const went =
    notTried !== null
      ? [heading('on a copy', paint), paint('yellow', wrap(`it could not be tried: ${notTried}`, '    ', width))]
      : fault !== null
        ? [heading('on a copy', paint), paint('red', wrap(say(failure?.message ?? fault), '    ', width))]
        : [`${heading('on a copy', paint)} it went through`];
  if (route === 'none') return [went];
  const asked = (): readonly string[] => {
    switch (verdict.kind) {
      case 'open':
        return [heading('needs no approval', paint)];
      case 'ask':
        return [
          paint('yellow', `${heading('needs an approval', paint)}, once it is declared:`),
          `    ${say(`migration-target approve ${name} --plan ${digest}${verdict.rows === null ? '' : ` --max-row-loss ${verdict.rows}`}`)}`,
        ];
      case 'refuse':
        return [paint('red', wrap(say(verdict.message), '  ', width))];
    }
  };
  return [went, lossBlock(rehearsal, screen), timesBlock(rehearsal, screen), asked()].filter(
    ({ length }) => length > 0,
  );
}

/** For a comment on a pull request. */
export function planMarkdown(name: string, { plan }: Preview, rehearsed: Rehearsed): string {
  const lines = [`### ${name}: ${plan.kind} ${formatRevisions(plan.current)} → ${formatHeads(plan.desired)}`, ''];
  if (rehearsed.kind === 'notNeeded') {
    lines.push(plan.kind === 'refuse' ? `Refused, ${plan.reason}: ${plan.message}` : 'Nothing to do.');
    return `${lines.join('\n')}\n`;
  }
  const { operation, verdict, digest } = rehearsed;
  const { rehearsal, failure } = operation;
  if (rehearsal === null) return `${[...lines, 'The database can’t be dumped, so nothing was measured.'].join('\n')}\n`;
  const { fault, notTried, route, stepMs, wayBack } = rehearsal;
  lines.push(
    fault !== null
      ? `:x: ${failure?.message ?? fault}`
      : notTried !== null
        ? `:warning: It could not be tried on a copy: ${notTried}`
        : `:white_check_mark: It went through on a copy, in ${formatDuration(stepMs.reduce((sum, ms) => sum + ms, 0))}.`,
  );
  if (wayBack.kind === 'irreversible')
    lines.push('', `:warning: The way back does not end where it began: ${wayBack.because}`);
  if (route !== 'none') {
    lines.push('', ...lossMarkdown(rehearsal), '');
    if (verdict.kind === 'ask') lines.push(`Needs an approval of plan \`${digest}\`.`);
    if (verdict.kind === 'open') lines.push('Needs no approval.');
    if (verdict.kind === 'refuse') lines.push(`Refused, ${verdict.reason}: ${verdict.message}`);
  }
  return `${lines.join('\n')}\n`;
}

function headline({ plan, desired, declared }: Preview, paint: Screen['paint']): string {
  const way = `${formatRevisions(plan.current)} → ${formatHeads(plan.desired)}`;
  switch (plan.kind) {
    case 'nothing':
      return `${paint('green', 'nothing to do')}: at ${formatHeads(plan.current)}, ${sameRevisions(desired, declared) ? 'as declared' : `as was typed; ${formatHeads(declared)} is declared`}`;
    case 'upgrade':
    case 'downgrade':
    case 'switch':
    case 'restore':
    case 'backup':
      return `${paint('cyan', plan.kind)}   ${way}`;
    case 'refuse':
      return `${paint('red', 'refused')}   ${way}   ${plan.reason}`;
  }
}

const heading = (text: string, paint: Screen['paint']): string => `  ${paint('bold', text)}`;
const indent = (text: string): string => text.replaceAll(/^(?=.)/gm, '    ');

function stepTable(steps: readonly Step[], graph: RevisionGraph | null, paint: Screen['paint']): string {
  const byId = new Map(graph?.revisions.map((revision) => [revision.id, revision]));
  const rows = steps.map(({ direction, revision }): readonly Cell[] => {
    const found = byId.get(revision);
    const body = direction === 'up' ? found?.upgrade.shape : found?.downgrade.shape;
    const name = direction === 'up' ? 'upgrade' : 'downgrade';
    const warning =
      body === 'raises'
        ? `its ${name}() raises`
        : body === 'missing'
          ? `it has no ${name}()`
          : body === 'pass'
            ? `its ${name}() does nothing`
            : '';
    return [
      { text: direction === 'up' ? '↑ up' : '↓ down', style: 'cyan' },
      revision,
      found?.message ?? '',
      { text: warning, style: 'yellow' },
    ];
  });
  return formatTable(['', '', '', ''], rows, paint).split('\n').slice(1).join('\n');
}

function lossLines(risks: readonly Risk[], isRehearsing: boolean, { paint, width }: Screen): readonly string[] {
  if (risks.length === 0)
    return [heading('loses nothing', paint), '    no statement of these migrations takes data away'];
  return [
    `${heading('may lose data', paint)}: ${count(risks.length, 'statement')} that can take it away, or can't be judged`,
    ...risks.map(({ file, line, what }) => withDetail(what, `${file}:${line}`, width)),
    ...(isRehearsing ? [wrap('How much is measured on a copy, before the database is touched.', '    ', width)] : []),
  ];
}

/** Where there is no room for both the detail has a line of its own. */
function withDetail(what: string, detail: string, width: number | null): string {
  const together = `    ${printable(what)}   ${printable(detail)}`;
  if (width === null || together.length <= width) return together;
  return `${wrap(what, '    ', width)}\n${wrap(detail, '      ', width)}`;
}

function fallbackLines(
  preview: Preview,
  fallback: Extract<Plan, { readonly fallback: unknown }>['fallback'],
  isRehearsing: boolean,
  now: Date,
  { paint, width }: Screen,
): readonly string[] {
  const first = [
    heading('before it', paint),
    wrap(
      isRehearsing
        ? 'a backup of the database as it is, restored once to see that it is whole; there it is tried: the change, the way back, the change again'
        : 'a backup of the database as it is, restored once to see that it is whole',
      '    ',
      width,
    ),
  ];
  const failing = heading('if it fails', paint);
  if (fallback.kind === 'origin')
    return [...first, failing, wrap(`back to where it was: ${fallback.because}`, '    ', width)];
  return [
    ...first,
    failing,
    wrap('this backup is restored, since it is at the desired revision:', '    ', width),
    backupLine(preview, fallback.backup, now, width),
    paint(
      'yellow',
      wrap(
        `What was written since ${formatInstant(fallback.takenAt)} (${relativeTime(fallback.takenAt, now)}) is not in it.`,
        '    ',
        width,
      ),
    ),
  ];
}

function backupLine({ backups }: Preview, id: string, now: Date, width: number | null): string {
  const found = backups.find((backup) => backup.id === id);
  if (found === undefined) return `    ${id}`;
  const verified = found.verifiedAt === null ? 'never verified' : 'verified';
  return withDetail(
    id,
    `at ${formatRevisions(found.revisions)}, ${relativeTime(found.finishedAt, now)}, ${formatBytes(found.sizeBytes)}, ${verified}`,
    width,
  );
}

/** The backup that the plan would restore, by intent or as its fallback. */
function reliesOn(plan: Plan): string | null {
  if (plan.kind === 'restore') return plan.backup;
  return 'fallback' in plan && plan.fallback.kind === 'restore' ? plan.fallback.backup : null;
}
