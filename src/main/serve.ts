/** The controller: its loop, the procedure, the log and the metrics, put together. */
import { keyText, type MigrationTarget, type TargetKey } from '../api/target.ts';
import type { Served, ServeOptions } from '../cli/wiring.ts';
import { createController, type Controller } from '../controller/controller.ts';
import { listed } from '../controller/listed.ts';
import { isToBeRead } from '../rollback/errors.ts';
import { notAllowed, refusalText } from '../rollback/allowed.ts';
import { isPending, type BackupObject } from '../rollback/backup-objects.ts';
import { statusOfDeclaration } from '../rollback/declaration.ts';
import { glance } from '../rollback/glance.ts';
import type { BackupManifest } from '../rollback/model.ts';
import { missedNotices, stalledNotice } from '../rollback/notification.ts';
import type { Adapters, BackupStore, Declaration, Ports } from '../rollback/ports.ts';
import { intervalSeconds, reconcile } from '../rollback/reconcile.ts';
import { refusalMessage, refusedStatus } from '../rollback/refused.ts';
import { refuseRequested, takeRequested } from '../rollback/requested-backups.ts';
import { asPart } from '../rollback/sentences.ts';
import { showBackups } from '../rollback/shown-backups.ts';
import { journalOf, statusOf } from '../rollback/status.ts';
import { createLogger, logOperation, targetLogger } from '../telemetry/log.ts';
import { createMetrics } from '../telemetry/metrics.ts';
import { startServer } from '../telemetry/server.ts';
import { alone, createLeadership } from './leadership.ts';
import { openWebhook } from './webhook.ts';
import { ownerOf } from '../rollback/visit.ts';

/** Thrown to have a key tried again with back-off; the status tells why already. */
class TryAgain extends Error {
  override readonly name = 'TryAgain';
}

/** As long as a notification is tried: what is older was delivered, or dropped. */
const toldAgainMs = 15 * 60_000;
/** For what is to be told still when the controller stops. */
const lastWordsMs = 3_000;

/** Of what is shown of backups, and the versions of the objects that show it: others may write those too. */
const shownText = (backups: readonly BackupManifest[], objects: readonly BackupObject[]): string =>
  JSON.stringify([
    backups.map(({ id, verifiedAt }) => [id, verifiedAt]),
    objects.map(({ uid, resourceVersion }) => `${uid} ${resourceVersion}`).toSorted(),
  ]);

export interface Serving extends ServeOptions {
  readonly adapters: Adapters;
  readonly version: string;
}

export async function serve({
  home,
  election,
  watches,
  listen,
  workers,
  surroundings,
  signal,
  adapters,
  version,
}: Serving): Promise<Served> {
  const logger = createLogger({ level: process.env['LOG_LEVEL'] });
  using _ = warningsTo((warning) => logger.warn({ err: warning }, warning.message));
  const metrics = createMetrics({ version, clock: adapters.clock });
  const intervals = new Map<string, number>();
  const { backupObjects: objects, approvalObjects } = home;
  const webhook = await openWebhook(version, {
    delivered: ({ event }) => metrics.observeNotification(event, 'delivered'),
    failed: ({ target, event }, because) =>
      targetLogger(logger, target).warn(
        { event },
        `The notification was not delivered: ${because}. It is tried again.`,
      ),
    dropped: ({ target, event, id }, because) => {
      metrics.observeNotification(event, 'dropped');
      targetLogger(logger, target).error({ event, notification: id }, `The notification was dropped: ${because}.`);
    },
  });
  let beganAt = adapters.clock.now();
  /** Those whose last minutes before this process were told. */
  const visited = new Set<string>();
  /** The catalogue of each target whose last visit came to its end, as it was shown then. */
  const shown = new Map<string, string>();
  const ports: Ports = {
    ...adapters,
    ...(webhook === null ? {} : { notifier: webhook }),
    home,
    observe(key, operationId, event) {
      logOperation(logger, key, operationId, event);
      metrics.observeOperation(key, event);
    },
  };

  /** Whatever is saved of a target its metrics say at once: an operation may go on for hours. */
  const portsOf = (target: MigrationTarget): Ports => ({
    ...ports,
    home: {
      ...home,
      async saveStatus(key, status, replaces) {
        await home.saveStatus(key, status, replaces);
        metrics.observeStatus(key, target, status);
      },
    },
  });

  /** In earnest only where a glance does not tell that all is as it was. */
  async function visit(key: TargetKey, stopping: AbortSignal): Promise<'visited' | 'gone'> {
    const id = keyText(key);
    if (await isStillInSync(key, shown.get(id), stopping)) return 'visited';
    shown.delete(id);
    const declaration = await home.get(key);
    if (declaration === null) {
      await forget(key);
      return 'gone';
    }
    await visitInEarnest(key, declaration, stopping);
    return 'visited';
  }

  async function forget(key: TargetKey): Promise<void> {
    intervals.delete(keyText(key));
    metrics.forget(key);
    await adapters.backups.letGo(key);
    await tellRequests(key, null);
  }

  /** Asks nothing of the home. Where it can't be told, or whatever is wrong, a visit in earnest finds it. */
  async function isStillInSync(key: TargetKey, before: string | undefined, stopping: AbortSignal): Promise<boolean> {
    if (home.known === undefined || before === undefined || objects?.of(key).some(isPending) === true) return false;
    const target = home.known.target(key);
    if (target === null) return false;
    const backups = await glance(target, ports, home.known, stopping).catch((problem: unknown) => {
      targetLogger(logger, key).debug({ err: problem }, 'It is looked at anew');
      return null;
    });
    if (backups === null || shownText(backups, objects?.of(key) ?? []) !== before) return false;
    metrics.observeStatus(key, target, statusOf(target));
    metrics.observeCheck(key);
    metrics.observeBackups(key, backups.length);
    return true;
  }

  async function visitInEarnest(key: TargetKey, declaration: Declaration, stopping: AbortSignal): Promise<void> {
    tellUntold(key, declaration);
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
    const isDone = await takeRequested(key, portsOf(target), objects, stopping);
    const now = await home.get(key);
    if (now?.kind === 'target') await carryOut(now.target, key, stopping);
    if (!isDone) throw new TryAgain('A backup that is asked for could not be taken yet.');
  }

  /** Once: what happened shortly before this process began to work, whoever did it may have died before it was told. */
  function tellUntold(key: TargetKey, declaration: Declaration): void {
    const isOver = adapters.clock.now().getTime() - beganAt.getTime() > toldAgainMs;
    // By then it is too old to be told, and this process has told what happened since.
    if (isOver) visited.clear();
    if (isOver || webhook === null || visited.has(keyText(key))) return;
    visited.add(keyText(key));
    const status = statusOfDeclaration(declaration);
    const since = new Date(beganAt.getTime() - toldAgainMs);
    if (status !== null) for (const notice of missedNotices(key, status, since)) webhook.notify(notice);
  }

  async function carryOut(target: MigrationTarget, key: TargetKey, stopping: AbortSignal): Promise<void> {
    metrics.observeStatus(key, target, statusOf(target));
    const { outcome, status, again } = await reconcile(target, portsOf(target), { kind: 'reconcile' }, stopping);
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

  /** Says in each approval of a target whether it counts. Returns when the next one expires. */
  async function tellApprovals(key: TargetKey): Promise<Date | null> {
    if (approvalObjects === undefined || !approvalObjects.has(key)) return null;
    const declaration = await home.get(key);
    if (declaration === null) return approvalObjects.tell(key, null);
    const status = statusOfDeclaration(declaration);
    return approvalObjects.tell(key, { digest: status?.plan?.digest ?? null });
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
    refusal: { readonly reason: 'InvalidSpec' | 'NotAllowed'; readonly message: string },
  ): Promise<void> {
    const target = declaration.kind === 'target' ? declaration.target : null;
    const before = declaration.kind === 'target' ? statusOf(declaration.target) : declaration.status;
    const generation = declaration.kind === 'target' ? declaration.target.metadata.generation : declaration.generation;
    const { reason } = refusal;
    const message = refusalMessage(before, refusal.message);
    const status = refusedStatus(before, {
      generation,
      isRehearsing: declaration.kind === 'target' && declaration.target.spec.policy.rehearsal === 'Always',
      applicationDeclared: target?.spec.application !== undefined,
      reason,
      message,
      now: adapters.clock.now(),
    });
    if (JSON.stringify(status.conditions) !== JSON.stringify(before?.conditions)) {
      await home.saveStatus(key, status, before);
      await home.record(key, { type: 'Warning', reason, message });
      webhook?.notify(stalledNotice(key, status, { reason, message, at: adapters.clock.now().toISOString() }));
      targetLogger(logger, key).error({ reason }, message);
    }
    metrics.observeStatus(key, target, status);
  }

  async function readCatalogue(target: MigrationTarget, key: TargetKey): Promise<void> {
    let catalogue: Awaited<ReturnType<BackupStore['list']>>;
    try {
      catalogue = await (
        await adapters.backups.open(target.spec.backup.storage, ownerOf(target), home)
      ).list({ mayBeOld: true });
    } catch (error) {
      // The reconcile itself went well: a figure that can't be told is no reason to repeat it.
      targetLogger(logger, key).warn({ err: error }, 'The backups could not be counted');
      return;
    }
    metrics.observeBackups(key, catalogue.backups.length);
    if (objects !== undefined) await showBackups(target, catalogue, objects, adapters.clock);
    // What is broken a glance does not see, nor that it is gone.
    if (catalogue.broken.length === 0) shown.set(keyText(key), shownText(catalogue.backups, objects?.of(key) ?? []));
  }

  const controller: Controller = createController({
    list: home.heads ?? (async () => (await home.list()).map(listed)),
    watch: async (onChange, onError, stopping) => {
      // It goes on all the same.
      const onProblem = (problem: Error): void =>
        isToBeRead(problem) ? logger.warn(problem.message) : onError(problem);
      // A backup that is asked for makes its target due.
      const onRequest = (object: BackupObject): void => (isPending(object) ? onChange(object.target) : undefined);
      await Promise.all([
        objects?.watch(onRequest, onProblem, stopping),
        // What it waits for may be there now.
        approvalObjects?.watch(onChange, onProblem, stopping),
        home.watch(onChange, onProblem, stopping),
      ]);
    },
    reconcile: async (key, stopping) => {
      let isGone = false;
      try {
        isGone = (await visit(key, stopping)) === 'gone';
      } catch (problem) {
        // The plan that approvals are held against may be another one all the same.
        await tellApprovals(key).catch((untold: unknown) =>
          targetLogger(logger, key).warn({ err: untold }, 'The approvals could not be told what became of them'),
        );
        throw problem;
      }
      const expiry = await tellApprovals(key);
      const interval = intervals.get(keyText(key));
      if (expiry === null || interval === undefined) return { isGone };
      const seconds = (expiry.getTime() - adapters.clock.now().getTime()) / 1000;
      return seconds < interval ? { requeueAfterSeconds: Math.max(seconds, 0) + 1 } : {};
    },
    intervalSeconds: (key) => intervals.get(keyText(key)) ?? null,
    concurrency: workers,
    onError(problem, key) {
      const log = key === null ? logger : targetLogger(logger, key);
      if (problem instanceof TryAgain) log.warn(`${asPart(problem.message)}. It is tried again.`);
      else log.error({ err: problem }, problem instanceof Error ? problem.message : String(problem));
    },
    metrics: metrics.controller,
  });
  const store = election === null ? undefined : home.lease?.(election.lease);
  const leadership =
    election === null || store === undefined
      ? alone
      : createLeadership(election, { store, clock: adapters.clock, logger, metrics });
  const server = await startServer({
    listen,
    metrics,
    // Who stands by is as ready as can be: a rollout, and whoever drains a node, need not wait for it to lead.
    readiness: () => (leadership.standsBy() ? { ready: true } : controller.readiness()),
    onProblem: (problem) => logger.warn({ err: problem }, 'A request could not be answered'),
  });
  logger.info({ version, home: home.kind, watches, workers, listen: server.url }, `Started; ${server.url}/metrics`);
  let isDeposed = false;
  try {
    const served = await leadership.run(signal, work);
    ({ isDeposed } = served);
    return served;
  } finally {
    // Another may lead by now: nothing is waited for.
    if (!isDeposed) await Promise.all([server.close(), webhook?.close(lastWordsMs)]);
  }

  async function work(until: AbortSignal): Promise<readonly string[]> {
    beganAt = adapters.clock.now();
    const { unfinished } = await controller.run(until);
    logger.info(
      { unfinished: unfinished.map(keyText) },
      unfinished.length === 0
        ? 'Stopped; whatever was interrupted between two steps is journalled, and the next start goes on with it'
        : 'Stopped; what was not finished is journalled, and the next start goes on with it',
    );
    return unfinished.map(keyText);
  }
}

/** Node writes warnings as text, but the lines of this log are read by programs. */
function warningsTo(log: (warning: Error) => void): Disposable {
  const before = process.listeners('warning');
  process.removeAllListeners('warning').on('warning', log);
  return {
    [Symbol.dispose]() {
      process.off('warning', log);
      for (const listener of before) process.on('warning', listener);
    },
  };
}
