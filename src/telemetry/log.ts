/** The controller's log: JSON lines on stderr. */
import { pino, type DestinationStream, type Logger } from 'pino';
import type { TargetKey } from '../api/target.ts';
import type { OperationEvent } from '../rollback/ports.ts';
import { redact } from '../rollback/redact.ts';

export type { Logger } from 'pino';

const levels = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const;

/** Fields whose value is a secret, whatever it looks like. */
const secretFields = ['password', 'url', 'adminUrl', 'databaseUrl', 'token', 'authorization'];

/**
 * Lines like `{"level":"info","time":"2026-01-31T12:00:00.000Z","namespace":"a","target":"b","operation":"c","msg":"…"}`.
 * `level`: as in the variable LOG_LEVEL; throws where it is none.
 */
export function createLogger(options: {
  readonly level?: string | undefined;
  readonly destination?: DestinationStream;
}): Logger {
  const level = options.level ?? 'info';
  if (!levels.some((known) => known === level)) {
    throw new Error(`LOG_LEVEL is "${level}", which is no level: set it to one of ${levels.join(', ')}`);
  }
  return pino(
    {
      level,
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      redact: { paths: secretFields.flatMap((field) => [field, `*.${field}`]), censor: '***' },
      hooks: { streamWrite: redact },
    },
    // Written at once: the last lines before a crash are those that matter, and there are few.
    options.destination ?? pino.destination({ dest: 2, sync: true }),
  );
}

/** Each line of the child names the target. */
export const targetLogger = (logger: Logger, key: TargetKey): Logger =>
  logger.child({ namespace: key.namespace, target: key.name });

/** Writes what an operation tells; each line names the target and the operation. */
export function logOperation(logger: Logger, key: TargetKey, operationId: string, event: OperationEvent): void {
  const log = targetLogger(logger, key).child({ operation: operationId });
  switch (event.kind) {
    case 'step': {
      const { step, state, ms, message } = event;
      const text = `${step} ${state}${message === undefined ? '' : `: ${message}`}`;
      const fields = ms === undefined ? { step, state } : { step, state, ms };
      if (state === 'failed') log.error(fields, text);
      else if (state === 'skipped') log.debug(fields, text);
      else log.info(fields, text);
      return;
    }
    case 'progress': {
      const { step, done, total, what } = event;
      log.debug({ step, done, total }, `${what}: ${done}${total === null ? '' : ` of ${total}`}`);
      return;
    }
    case 'migration':
      logMigration(log, event.event, event.copy === true);
      return;
    case 'downtime':
      log.info({ ms: event.ms }, `the application was down for ${event.ms} ms`);
      return;
    case 'refused':
      log.warn({ reason: event.reason }, `${event.operation} refused: ${event.reason}`);
      return;
    case 'note':
      log[event.level](event.message);
  }
}

function logMigration(
  log: Logger,
  event: Extract<OperationEvent, { kind: 'migration' }>['event'],
  copy: boolean,
): void {
  switch (event.kind) {
    case 'started':
    case 'finished': {
      const { kind, step, index, total } = event;
      const fields = { revision: step.revision, direction: step.direction, index, total, copy };
      const text = `${step.direction === 'up' ? 'upgrade' : 'downgrade'} of ${step.revision} ${kind}${copy ? ' on a copy' : ''}`;
      log.info(kind === 'finished' ? { ...fields, ms: event.ms } : fields, text);
      return;
    }
    case 'output':
      log.info({ source: 'alembic', copy }, event.line);
  }
}
