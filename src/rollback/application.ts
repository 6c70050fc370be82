/** What is due to the application of an operation, told from the declaration and the journal alone. Pure. */
import type { MigrationTarget, TargetSpec, TargetStatus } from '../api/target.ts';
import type { ApplicationRecord, LogLine, Operation } from './model.ts';

type Declared = NonNullable<TargetSpec['application']>;

/** What is stopped, and is neither started again nor left so yet. */
export const isStopped = ({ application }: Pick<Operation, 'application'>): boolean =>
  application?.stoppedAt != null && application.resumedAt === null;

/** Before the change, or a restore, where that is declared; once. */
export const isToBeStopped = ({ spec }: MigrationTarget, { plan, application }: Operation): boolean =>
  plan.kind !== 'backup' &&
  application === null &&
  spec.application?.during === 'Stop' &&
  spec.application.workloads.length > 0;

/** Whether the database is another than the operation found. */
export const hasChanged = ({ swapped, begun, failure }: Operation): boolean => swapped || (begun && failure === null);

/** Whether it is where the operation was to take it; a way back to the origin is not that. */
export const hasArrived = (operation: Operation): boolean =>
  hasChanged(operation) && operation.restore?.goal !== 'origin';

/** Nothing was done to it, or to these, yet. */
export const untouched = (workloads: ApplicationRecord['workloads'] = []): ApplicationRecord => ({
  workloads,
  stoppedAt: null,
  resumedAt: null,
  downMs: null,
  health: null,
  log: [],
});

/** Names of those that ran. */
export const ranBefore = ({ workloads }: Pick<ApplicationRecord, 'workloads'>): readonly string[] =>
  workloads.filter(({ running }) => running).map(({ name }) => name);

/** Whatever was stopped is seen to, however the operation ended; what ran on only where the database changed. */
export function isResumeDue({ spec }: MigrationTarget, operation: Operation): boolean {
  if (isStopped(operation)) return true;
  const { application } = spec;
  return application !== undefined && hasChanged(operation) && (isRestarted(application) || isAsked(application));
}

/** Only what was stopped can be left stopped: as it was before, it is started in any case. */
export const isLeft = (declared: Declared | undefined, operation: Operation): boolean =>
  declared?.after === 'None' && hasArrived(operation);

export const isRestarted = ({ after, workloads }: Declared): boolean => after === 'Restart' && workloads.length > 0;

/** Whether anything is declared that can say how it is. */
export const isAsked = ({ healthCheck, workloads }: Declared): boolean =>
  healthCheck !== undefined || workloads.length > 0;

/** For the status: while it is stopped, and what it said when it was asked. */
export function applicationStatus(
  { metadata, spec }: MigrationTarget,
  operation: Operation,
  now: Date,
): TargetStatus['application'] | undefined {
  const { application } = operation;
  if (application === null) return undefined;
  const about = { generation: metadata.generation, at: now.toISOString(), log: null };
  const names = ranBefore(application);
  const are = `${names.length === 0 ? 'Nothing' : names.join(', ')} ${names.length > 1 ? 'are' : 'is'} stopped`;
  if (application.health !== null) {
    const { healthy, message } = application.health;
    const log = healthy ? '' : describeLog(application).trim();
    return { ...about, state: healthy ? 'healthy' : 'unhealthy', message, log: log === '' ? null : log };
  }
  if (application.stoppedAt === null) return undefined;
  if (isStopped(operation))
    return {
      ...about,
      state: 'stopped',
      message: `${are} since ${application.stoppedAt}, until the database is verified.`,
    };
  return isLeft(spec.application, operation)
    ? { ...about, state: 'stopped', message: `${are}, and left so, as spec.application.after: None says.` }
    : undefined;
}

const errorWord = /\b(?:errors?|exception|traceback|fatal|panic|critical|failed|failure)\b/i;
/** e.g. `sqlalchemy.exc.ProgrammingError`. */
const errorClass = /[a-z](?:Error|Exception)\b/;

/** Whether a line of a log tells of an error, as far as its words say so. */
export const isError = ({ text }: LogLine): boolean => errorWord.test(text) || errorClass.test(text);

/** e.g. ` Its last lines: ✗ ops-center-direct: sqlalchemy.exc.ProgrammingError: …`: errors first, where there are any. */
export function describeLog({ log }: Pick<ApplicationRecord, 'log'>): string {
  const errors = log.filter(isError);
  const shown = (errors.length === 0 ? log : errors).slice(-3);
  if (shown.length === 0) return '';
  const mark = errors.length === 0 ? '' : '✗ ';
  return ` Its last ${errors.length === 0 ? 'lines' : 'errors'}: ${shown.map(({ workload, text }) => `${mark}${workload}: ${text}`).join(' | ')}.`;
}
