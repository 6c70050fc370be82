/** The controller: its loop, the procedure, the log and the metrics, put together. */
import { keyText, type MigrationTarget, type TargetKey } from '../api/target.ts';
import type { ServeOptions } from '../cli/wiring.ts';
import { createController, type Controller } from '../controller/controller.ts';
import { listed } from '../controller/listed.ts';
import { notAllowed, refusalText } from '../rollback/allowed.ts';
import type { Declaration, Ports } from '../rollback/ports.ts';
import { intervalSeconds, reconcile } from '../rollback/reconcile.ts';
import { refusedStatus } from '../rollback/refused.ts';
import { statusOf } from '../rollback/status.ts';
import { createLogger, logOperation, targetLogger } from '../telemetry/log.ts';
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
      return metrics.forget(key);
    }
    // A declaration that is going must not be held up by what is wrong with it, unless something is half done.
    const isGoing = declaration.kind === 'target' && declaration.target.metadata.deletionTimestamp !== null;
    const refusal = isGoing ? null : refusalOf(declaration);
    if (refusal !== null) return refuse(key, declaration, refusal);
    if (declaration.kind === 'invalid') return;
    const { target } = declaration;
    intervals.set(keyText(key), intervalSeconds(target));
    const { outcome, status, again } = await reconcile(target, ports, { kind: 'reconcile' }, stopping);
    metrics.observeStatus(key, target, status);
    if (outcome.kind !== 'retrying') metrics.observeCheck(key);
    await countBackups(target, key);
    const log = targetLogger(logger, key).child({
      outcome: outcome.kind,
      operation: status.history[0]?.operationId ?? null,
    });
    if (outcome.kind === 'stalled') log.error(outcome.message);
    else log.debug(outcome.message);
    if (again) throw new TryAgain(outcome.message);
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

  async function countBackups(target: MigrationTarget, key: TargetKey): Promise<void> {
    if (target.spec.backup.storage.directory === undefined) return;
    try {
      const store = await adapters.backups.open(target.spec.backup.storage, key);
      metrics.observeBackups(key, (await store.list()).backups.length);
    } catch (error) {
      // The reconcile itself went well: a figure that can't be told is no reason to repeat it.
      targetLogger(logger, key).warn({ err: error }, 'The backups could not be counted');
    }
  }

  const controller: Controller = createController({
    list: async () => (await home.list()).map(listed),
    watch: (onChange, onProblem, stopping) => home.watch(onChange, onProblem, stopping),
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
  const server = await startServer({
    listen,
    metrics,
    readiness: () => controller.readiness(),
    onProblem: (problem) => logger.warn({ err: problem }, 'A request could not be answered'),
  });
  logger.info({ version, home: home.kind, workers, listen: server.url }, `Started; ${server.url}/metrics`);
  try {
    const { unfinished } = await controller.run(signal);
    logger.info(
      { unfinished: unfinished.map(keyText) },
      unfinished.length === 0
        ? 'Stopped; nothing is left half done'
        : 'Stopped; what was not finished is journalled, and the next start goes on with it',
    );
    return { unfinished: unfinished.map(keyText) };
  } finally {
    await server.close();
  }
}
