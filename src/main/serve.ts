/** The controller: its loop, the procedure, the log and the metrics, put together. */
import { keyText, type MigrationTarget, type TargetKey } from '../api/target.ts';
import type { ServeOptions } from '../cli/wiring.ts';
import { createController, type Controller } from '../controller/controller.ts';
import { listed } from '../controller/listed.ts';
import { notAllowed, refusalText } from '../rollback/allowed.ts';
import { isPending, type BackupObject, type UnsupportedObjects } from '../rollback/backup-objects.ts';
import type { BackupStore, Declaration, Ports } from '../rollback/ports.ts';
import { intervalSeconds, reconcile } from '../rollback/reconcile.ts';
import { refusedStatus } from '../rollback/refused.ts';
import { refuseRequested, takeRequested } from '../rollback/requested-backups.ts';
import { showBackups } from '../rollback/shown-backups.ts';
import { journalOf, statusOf } from '../rollback/status.ts';
import { createLogger, logOperation, targetLogger, type Logger } from '../telemetry/log.ts';
import { createMetrics } from '../telemetry/metrics.ts';
import { startServer } from '../telemetry/server.ts';

/** Thrown to have a key tried again with back-off; the status tells why already. */
class TryAgain extends Error {
  override readonly name = 'TryAgain';
}

export interface Served extends ServeOptions {
  readonly adapters: Pick<Ports, 'databases' | 'alembic' | 'backups' | 'clock'>;
  readonly version: string;
}

export async function serve({
  home,
  listen,
  workers,
  surroundings,
  signal,
  adapters,
  version,
}: Served): Promise<{ readonly unfinished: readonly string[] }> {
  const logger = createLogger({ level: process.env['LOG_LEVEL'] });
  const metrics = createMetrics({ version, clock: adapters.clock });
  const intervals = new Map<string, number>();
  const { backupObjects: objects, unsupported } = home;
  const ports: Ports = {
    ...adapters,
    home,
    observe(key, operationId, event) {
      logOperation(logger, key, operationId, event);
      metrics.observeOperation(key, operationId, event);
    },
  };

  async function visit(key: TargetKey, stopping: AbortSignal): Promise<void> {
    const declaration = await home.get(key);
    if (declaration === null) {
      intervals.delete(keyText(key));
      metrics.forget(key);
      return tellRequests(key, null);
    }
    // A declaration that is going must not be held up by what is wrong with it, unless something is half done.
    const isGoing = declaration.kind === 'target' && declaration.target.metadata.deletionTimestamp !== null;
    const refusal = isGoing ? null : refusalOf(declaration);
    if (refusal !== null) {
      await tellRequests(key, refusal);
      return refuse(key, declaration, refusal);
    }
    if (declaration.kind === 'invalid') return;
    const { target } = declaration;
    intervals.set(keyText(key), intervalSeconds(target));
    if (objects === undefined || !objects.of(key).some(isPending)) return carryOut(target, key, stopping);
    if (isGoing) {
      await tellRequests(key, {
        reason: 'TargetNotFound',
        message: `MigrationTarget ${keyText(key)} is being deleted.`,
      });
      return carryOut(target, key, stopping);
    }
    // An operation that was interrupted comes first; then what is asked for, of the database as it is; then what is declared.
    if (journalOf(statusOf(target)) !== null) await carryOut(target, key, stopping);
    const isDone = await takeRequested(key, ports, objects, stopping);
    const now = await home.get(key);
    if (now?.kind === 'target') await carryOut(now.target, key, stopping);
    if (!isDone) throw new TryAgain('A backup that is asked for could not be taken yet.');
  }

  async function carryOut(target: MigrationTarget, key: TargetKey, stopping: AbortSignal): Promise<void> {
    const { outcome, status, again } = await reconcile(target, ports, { kind: 'reconcile' }, stopping);
    metrics.observeStatus(key, target, status);
    if (outcome.kind !== 'retrying') metrics.observeCheck(key);
    const log = targetLogger(logger, key).child({
      outcome: outcome.kind,
      operation: status.history[0]?.operationId ?? null,
    });
    const isNew = status.history[0]?.operationId !== statusOf(target).history[0]?.operationId;
    if (outcome.kind === 'stalled') log.error(outcome.message);
    else if (isNew) log.info(outcome.message);
    else log.debug(outcome.message);
    await readCatalogue(target, key);
    if (again) throw new TryAgain(outcome.message);
  }

  /** Objects that ask for a backup of what none is taken of; null: it is not declared. */
  async function tellRequests(key: TargetKey, refusal: Parameters<typeof refuseRequested>[1]): Promise<void> {
    if (objects !== undefined) await refuseRequested(key, refusal, objects, adapters.clock);
  }

  function refusalOf(
    declaration: Declaration,
  ): { readonly reason: 'InvalidSpec' | 'NotAllowed'; readonly message: string } | null {
    if (declaration.kind === 'invalid') return { reason: 'InvalidSpec', message: declaration.problem };
    const refused = notAllowed(declaration.target.spec, surroundings);
    return refused.length === 0 ? null : { reason: 'NotAllowed', message: refusalText(refused) };
  }

  async function refuse(
    key: TargetKey,
    declaration: Declaration,
    { reason, message }: { readonly reason: 'InvalidSpec' | 'NotAllowed'; readonly message: string },
  ): Promise<void> {
    const target = declaration.kind === 'target' ? declaration.target : null;
    const before = declaration.kind === 'target' ? statusOf(declaration.target) : declaration.status;
    const generation = declaration.kind === 'target' ? declaration.target.metadata.generation : declaration.generation;
    const status = refusedStatus(before, {
      generation,
      applicationDeclared: target?.spec.application !== undefined,
      reason,
      message,
      now: adapters.clock.now(),
    });
    if (JSON.stringify(status.conditions) !== JSON.stringify(before?.conditions)) {
      await home.saveStatus(key, status, before);
      await home.record(key, { type: 'Warning', reason, message });
      targetLogger(logger, key).error({ reason }, message);
    }
    metrics.observeStatus(key, target, status);
  }

  async function readCatalogue(target: MigrationTarget, key: TargetKey): Promise<void> {
    if (target.spec.backup.storage.directory === undefined) return;
    let catalogue: Awaited<ReturnType<BackupStore['list']>>;
    try {
      catalogue = await (await adapters.backups.open(target.spec.backup.storage, key)).list();
    } catch (error) {
      // The reconcile itself went well: a figure that can't be told is no reason to repeat it.
      targetLogger(logger, key).warn({ err: error }, 'The backups could not be counted');
      return;
    }
    metrics.observeBackups(key, catalogue.backups.length);
    if (objects !== undefined) await showBackups(target, catalogue, objects, adapters.clock);
  }

  const controller: Controller = createController({
    list: async () => (await home.list()).map(listed),
    watch: async (onChange, onProblem, stopping) => {
      // A backup that is asked for makes its target due.
      const onRequest = (object: BackupObject): void => (isPending(object) ? onChange(object.target) : undefined);
      await Promise.all([objects?.watch(onRequest, onProblem, stopping), home.watch(onChange, onProblem, stopping)]);
    },
    reconcile: async (key, stopping) => {
      await visit(key, stopping);
      return {};
    },
    intervalSeconds: (key) => intervals.get(keyText(key)) ?? null,
    concurrency: workers,
    onError(problem, key) {
      const log = key === null ? logger : targetLogger(logger, key);
      if (problem instanceof TryAgain) log.warn(`${problem.message} It is tried again.`);
      else log.error({ err: problem }, problem instanceof Error ? problem.message : String(problem));
    },
    metrics: metrics.controller,
  });
  const refusing = unsupported === undefined ? null : createRefusing(unsupported, logger);
  const server = await startServer({
    listen,
    metrics,
    readiness: () => controller.readiness(),
    onProblem: (problem) => logger.warn({ err: problem }, 'A request could not be answered'),
  });
  logger.info({ version, home: home.kind, workers, listen: server.url }, `Started; ${server.url}/metrics`);
  try {
    const [{ unfinished }] = await Promise.all([controller.run(signal), refusing?.run(signal)]);
    logger.info(
      { unfinished: unfinished.map(keyText) },
      unfinished.length === 0
        ? 'Stopped; whatever was interrupted between two steps is journalled, and the next start goes on with it'
        : 'Stopped; what was not finished is journalled, and the next start goes on with it',
    );
    return { unfinished: unfinished.map(keyText) };
  } finally {
    await server.close();
  }
}

/** Says of each object that nothing acts on that it is so. */
function createRefusing(unsupported: UnsupportedObjects, logger: Logger): Controller {
  return createController({
    list: async () => (await unsupported.list()).map((key) => ({ key, version: '' })),
    watch: (onChange, onProblem, stopping) => unsupported.watch(onChange, onProblem, stopping),
    reconcile: async (key) => {
      await unsupported.refuse(key);
      return {};
    },
    intervalSeconds: () => null,
    concurrency: 1,
    onError: (problem) => logger.error({ err: problem }, problem instanceof Error ? problem.message : String(problem)),
    metrics: { reconciled: () => {}, depth: () => {} },
  });
}
