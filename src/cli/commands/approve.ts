import { InvalidArgumentError, type Command } from 'commander';
import type { TargetStatus } from '../../api/target.ts';
import type { DataLoss } from '../../rollback/model.ts';
import type { Context } from '../context.ts';
import { exitCodes, type ExitCode } from '../exit-codes.ts';
import type { Invoke } from '../invoke.ts';

interface Options {
  readonly plan: string;
  readonly maxRowLoss?: number;
  readonly reason?: string;
}

export function addApprove(program: Command, invoke: Invoke): void {
  program
    .command('approve')
    .summary('consent to a plan that would lose something')
    .description(
      'A target whose plan would lose something waits until somebody who has seen the plan approves it. The approval is of this very plan, counts once and for 24 hours, and names you. To see what waits: status NAME.',
    )
    .argument('<NAME>', 'the target')
    .requiredOption('--plan <DIGEST>', 'the plan that you have seen, as status NAME shows it')
    .option('--max-row-loss <N>', 'how many rows may be lost at most; left out: as many as the plan says', parseRows)
    .option('--reason <TEXT>', 'why, for those who read it later')
    .action((name: string, options: Options, command: Command) =>
      invoke(command, name, (context) => approve(context, name, options)),
    );
}

async function approve(context: Context, name: string, { plan, maxRowLoss, reason }: Options): Promise<ExitCode> {
  const [
    { keyOf },
    { statusOf },
    { rowsText },
    { answer },
    { Problem },
    { formatInstant, relativeTime, wrap },
    { describeLoss, typedAgain },
  ] = await Promise.all([
    import('../../api/target.ts'),
    import('../../rollback/status.ts'),
    import('../../rollback/approval.ts'),
    import('../output.ts'),
    import('../problem.ts'),
    import('../text.ts'),
    import('../../rollback/gate.ts'),
  ]);
  const lossText = (status: TargetStatus): string => lossOf(status, describeLoss);
  const target = await context.target(name);
  const key = keyOf(target);
  const status = statusOf(target);
  const see = `To see it: ${context.command(`status ${key.name}`)}`;
  if (!isAwaited(status))
    throw new Problem(`Nothing to approve for ${key.name}`, `It waits for no approval: ${readyMessage(status)} ${see}`);
  const waiting = status.plan?.digest ?? null;
  if (waiting !== plan)
    throw new Problem(
      `Not the plan of ${key.name}`,
      waiting === null
        ? `There is no plan ${plan}; none waits now. ${see}`
        : `There is no plan ${plan}; plan ${waiting} waits now. ${lossText(status)} ${see}`.replaceAll(/ {2,}/g, ' '),
    );

  const home = await context.home();
  const approvedBy = await home.userName();
  const made = await home.approve(key, {
    planDigest: plan,
    // What they were shown, and no more.
    maxRowLoss: maxRowLoss ?? status.plan?.loss?.rows ?? null,
    reason: reason ?? null,
    approvedBy,
  });
  const approval = (await home.approvals(key)).find((one) => one.name === made);
  if (approval === undefined) throw new Problem(`No approval ${made}`, `It was made, and taken back meanwhile. ${see}`);
  const { expiresAt } = approval;
  const rows = status.plan?.loss?.rows ?? 0;
  const isTooLittle = approval.maxRowLoss !== null && approval.maxRowLoss < rows;
  const again = typedAgain(readyMessage(status));
  const next =
    again !== null
      ? [['next', again]]
      : home.kind === 'kubernetes'
        ? [['next', `watch ${key.name}`]]
        : [
            ['next', `reconcile ${key.name}`],
            ['or', `watch ${key.name}`],
          ];
  await answer(context.output, {
    object: { namespace: key.namespace, ...approval },
    names: [`migrationapproval/${made}`],
    text: ({ screen }) =>
      [
        `${screen.paint('green', '✓')} ${screen.paint('bold', key.name)}   ${screen.paint('green', 'Approved')}   plan ${plan}`,
        wrap(
          `By ${approvedBy}, once, until ${formatInstant(expiresAt)} (${relativeTime(expiresAt, new Date())}), for ${approval.maxRowLoss === null ? 'as many rows as the plan says' : `${rowsText(approval.maxRowLoss)} at most`}. ${lossText(status)}`.trimEnd(),
          '  ',
          screen.width,
        ),
        ...(isTooLittle
          ? [
              screen.paint(
                'yellow',
                wrap(
                  `! As it is now, the plan would lose ${rowsText(rows)}: until that is less, this approval does not count. To allow it: ${context.command(`approve ${key.name} --plan ${plan} --max-row-loss ${rows}`)}`,
                  '  ',
                  screen.width,
                ),
              ),
            ]
          : []),
        `  approval ${made}`,
        ...next.map(([label = '', command = '']) =>
          screen.paint(
            'dim',
            `  ${label.padEnd(8)} ${context.command(command)}${label === 'or' ? ' (where a controller runs)' : ''}`,
          ),
        ),
      ].join('\n'),
  });
  return exitCodes.done;
}

const isAwaited = ({ conditions }: TargetStatus): boolean =>
  conditions.some(({ type, status }) => type === 'ApprovalRequired' && status === 'True');

const readyMessage = ({ conditions }: TargetStatus): string =>
  conditions.find(({ type }) => type === 'Ready')?.message ?? 'nobody has looked at it yet.';

/** How many statements are told. */
const shown = 3;

function lossOf({ plan }: TargetStatus, describeLoss: (loss: DataLoss, rows: number | null) => string): string {
  const loss = plan?.loss ?? null;
  if (loss === null) return '';
  if (loss.measured) return loss.tables.length === 0 ? '' : `It would lose ${describeLoss(loss, loss.rows)}.`;
  const told = loss.statements.slice(0, shown).map(({ what, file, line }) => `${what} (${file}:${line})`);
  if (told.length === 0) return '';
  return `It may lose data: ${told.join('; ')}${loss.statements.length > shown ? `; and ${loss.statements.length - shown} more` : ''}.`;
}

function parseRows(text: string): number {
  if (!/^\d{1,15}$/.test(text)) throw new InvalidArgumentError('write a number of rows, e.g. 25; 0: none');
  return Number(text);
}
