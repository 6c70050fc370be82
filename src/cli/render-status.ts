/** All there is to know of one target, on one screen. Pure. */
import { revisionsText } from '../api/conditions.ts';
import {
  declaredRevisions,
  type Condition,
  type HistoryEntry,
  type MigrationTarget,
  type TargetStatus,
} from '../api/target.ts';
import { formatRevisions } from '../rollback/compare.ts';
import { describeTableLoss } from '../rollback/gate.ts';
import type { Declaration } from '../rollback/ports.ts';
import { refusalMessage } from '../rollback/refused.ts';
import { statusOf } from '../rollback/status.ts';
import type { Screen } from './output.ts';
import { isUnattended } from './unattended.ts';
import { formatBytes, formatDuration, formatInstant, printable, relativeTime, wrap, type Style } from './text.ts';

export interface StatusOptions {
  readonly screen: Screen;
  readonly now: Date;
  /** Makes commands in a message ones that can be typed here. */
  readonly say: (message: string) => string;
  readonly command: (rest: string) => string;
  /** What to say where no controller has looked at what is declared now; left out: nothing. */
  readonly unattended?: string;
  /** Where whoever asks can act as well; a controller need not run there. */
  readonly inFolder?: boolean;
}

/** Of what would be lost; `-o yaml` has all of it. */
const mostTablesShown = 10;

type Row = readonly [label: string, text: string, style?: Style];

export function renderStatus(declaration: Declaration, options: StatusOptions): string {
  const { paint, width } = options.screen;
  if (declaration.kind === 'invalid') {
    return `${paint('red', '✗')} ${paint('bold', declaration.key.name)}   ${paint('red', 'InvalidSpec')}\n${wrap(options.say(refusalMessage(declaration.status, declaration.problem)), '  ', width)}\n`;
  }
  const { target } = declaration;
  const status = statusOf(target);
  const ready = status.conditions.find(({ type }) => type === 'Ready');
  const rows = [
    ...revisionRows(target, status),
    ...operationRows(status, options),
    ...lossRows(status),
    ...conditionRows(status, options),
    ...keptRows(status, options.now),
    ...historyRows(status, options),
    ...nextRows(target, status, options),
  ];
  return [
    title(target, status, ready, paint),
    ...(ready === undefined || ready.message === '' ? [] : [wrap(options.say(ready.message), '  ', width)]),
    ...(options.unattended !== undefined && isUnattended(target) ? [wrap(options.unattended, '  ', width)] : []),
    '',
    ...rows.map(([label, text, style]) => {
      const [first = '', ...rest] = wrap(text, ' '.repeat(14), width).split('\n');
      const shown = [`  ${label.padEnd(12)}${first.slice(14)}`, ...rest].join('\n');
      return style === undefined ? shown : paint(style, shown);
    }),
    '',
  ].join('\n');
}

function title(
  target: MigrationTarget,
  status: TargetStatus,
  ready: Condition | undefined,
  paint: Screen['paint'],
): string {
  const { name, namespace, generation } = target.metadata;
  const where = namespace === 'default' ? name : `${namespace}/${name}`;
  const unseen = (what: string): string => `${paint('yellow', '?')} ${paint('bold', where)}   ${paint('yellow', what)}`;
  const { suspend } = target.spec;
  if (ready === undefined) return unseen(suspend ? 'not looked at since it was suspended' : 'not looked at yet');
  const was = `${ready.status === 'True' ? 'Ready' : 'Not ready'} ${printable(ready.reason)}`;
  if (status.observedGeneration !== generation)
    return `${unseen(`${suspend ? 'suspended' : 'declared anew'} since it was`)} ${was}`;
  const [mark, style] = markOf(status);
  return `${paint(style, mark)} ${paint('bold', where)}   ${paint(style, was)}`;
}

function markOf({ conditions }: TargetStatus): readonly [mark: string, style: Style] {
  const is = (type: string): boolean =>
    conditions.some((condition) => condition.type === type && condition.status === 'True');
  if (is('Ready')) return ['✓', 'green'];
  if (is('Stalled')) return ['✗', 'red'];
  return is('Reconciling') ? ['…', 'cyan'] : ['–', 'yellow'];
}

function revisionRows({ spec }: MigrationTarget, { currentRevision }: TargetStatus): readonly Row[] {
  const desired = revisionsText(declaredRevisions(spec));
  return [
    ['current', currentRevision ?? 'unknown'],
    currentRevision === desired || currentRevision === null ? ['desired', desired] : ['desired', desired, 'yellow'],
  ];
}

function operationRows({ operation, plan }: TargetStatus, { now }: StatusOptions): readonly Row[] {
  if (operation === null) return [];
  const kind = plan === null ? '' : `${plan.kind}, `;
  return [
    [
      'now',
      `${kind}at its step ${operation.step}, for ${formatDuration(now.getTime() - Date.parse(operation.startedAt))} (operation ${operation.id})`,
      'cyan',
    ],
  ];
}

/** What waits for a person, table by table. */
function lossRows({ conditions, plan }: TargetStatus): readonly Row[] {
  const isWaiting = conditions.some(({ type, status }) => type === 'ApprovalRequired' && status === 'True');
  if (!isWaiting || plan?.loss == null) return [];
  const { loss } = plan;
  const tables = loss.tables.slice(0, mostTablesShown);
  const hidden = loss.tables.length + loss.moreTables - tables.length;
  const rows: readonly Row[] = [
    ...(loss.measured ? [] : [['loses', 'how much is not known; these statements can take data away', 'red'] as const]),
    ...(loss.measured ? [] : loss.statements.slice(0, mostTablesShown)).map(
      ({ what, file, line }) => ['', `${what}   ${file}:${line}`, 'red'] as const,
    ),
    ...tables.map(
      (table, index) => [index === 0 ? 'loses' : '', `${table.table}: ${describeTableLoss(table)}`, 'red'] as const,
    ),
    ...(hidden > 0 ? [['', `and ${hidden} more tables`, 'red'] as const] : []),
    ...loss.objects.slice(0, mostTablesShown).map((line, index) => [index === 0 ? 'and' : '', line, 'yellow'] as const),
  ];
  return rows;
}

/** In words; those that only repeat what Ready says are left out. */
function conditionRows({ conditions, lastBackup }: TargetStatus, { say, now }: StatusOptions): readonly Row[] {
  const backup = conditions.find(({ type }) => type === 'BackupReady');
  const application = conditions.find(({ type }) => type === 'ApplicationHealthy');
  const rehearsed = conditions.find(({ type }) => type === 'Rehearsed');
  const described =
    lastBackup === null
      ? ''
      : `${lastBackup.id}, at ${formatRevisions(lastBackup.revisions)}, ${relativeTime(lastBackup.finishedAt, now)}, ${formatBytes(lastBackup.sizeBytes)}`;
  const backupRow: Row =
    lastBackup === null
      ? ['backup', 'none yet', 'yellow']
      : lastBackup.verified
        ? ['backup', `${described}, verified`]
        : ['backup', `${described}, never verified`, 'yellow'];
  return [
    backupRow,
    ...(backup?.status === 'False' && lastBackup?.verified === true
      ? [['', say(backup.message), 'yellow'] as const]
      : []),
    ...(rehearsed === undefined || rehearsed.reason === 'RehearsalDisabled' || rehearsed.reason === 'NotRehearsed'
      ? []
      : [['rehearsed', say(rehearsed.message)] as const]),
    ...(application === undefined || application.reason === 'NotDeclared'
      ? []
      : [['application', say(application.message)] as const]),
  ];
}

const keptRows = ({ keptAside }: TargetStatus, now: Date): readonly Row[] =>
  keptAside.map(({ name, keptUntil }, index) => [
    index === 0 ? 'kept aside' : '',
    `database ${name}, until ${formatInstant(keptUntil)} (${relativeTime(keptUntil, now)})`,
  ]);

function historyRows({ history }: TargetStatus, { now }: StatusOptions): readonly Row[] {
  const [last] = history;
  if (last === undefined) return [];
  return [['last', describeEntry(last, now)], ...(last.report === null ? [] : [['report', last.report] as const])];
}

/** e.g. `downgrade a → b, Downgraded, 3 min ago, took 2.1 s`. */
export function describeEntry(
  { kind, from, to, reason, result, startedAt, finishedAt }: HistoryEntry,
  now: Date,
): string {
  const took = formatDuration(Date.parse(finishedAt) - Date.parse(startedAt));
  const way = kind === 'backup' ? ` at ${formatRevisions(from)}` : ` ${formatRevisions(from)} → ${revisionsText(to)}`;
  return printable(
    `${kind}${way}: ${result === 'success' ? reason : `${result}, ${reason}`}, ${relativeTime(finishedAt, now)}, took ${took}`,
  );
}

/** A line for each command. */
function nextRows(
  target: MigrationTarget,
  status: TargetStatus,
  { command, inFolder = false }: StatusOptions,
): readonly Row[] {
  const { name, generation } = target.metadata;
  const is = (type: string): boolean =>
    status.conditions.some((condition) => condition.type === type && condition.status === 'True');
  const ready = status.conditions.find(({ type }) => type === 'Ready');
  const inTurn = (first: string): readonly Row[] => [
    ['next', command(`${first} ${name}`)],
    ['then', command(`reconcile ${name}`)],
  ];
  if (target.spec.suspend) return [['next', command(`resume ${name}`)]];
  if (status.observedGeneration !== generation) return inTurn('plan');
  // Which of two ways it goes is for a person to say; its message has both.
  if (is('Stalled') && ready?.reason === 'ChangedOutside') return [['next', command(`plan ${name}`)]];
  if (is('Stalled')) return inTurn('doctor');
  if (is('ApprovalRequired') && status.plan?.digest != null) {
    const { digest, loss } = status.plan;
    const bound = loss?.rows == null ? '' : ` --max-row-loss ${loss.rows}`;
    return [['next', command(`approve ${name} --plan ${digest}${bound}`)]];
  }
  // Nobody is at it, unless a controller was started since.
  if (inFolder && ready?.reason === 'OperationInterrupted') return [['next', command(`reconcile ${name}`)]];
  if (is('Reconciling'))
    return [
      ['next', command(`watch ${name}`)],
      ...(inFolder ? [['or', `${command(`reconcile ${name}`)} (where no controller runs)`] as const] : []),
    ];
  return [['next', command(`history ${name}`)]];
}
