/** The metrics of the contract: those of targets (target-series.ts), and prom-client's for everything else. */
import { collectDefaultMetrics, Registry } from 'prom-client';
import { keyText, type HistoryEntry, type MigrationTarget, type TargetKey, type TargetStatus } from '../api/target.ts';
import type { Clock, OperationEvent } from '../rollback/ports.ts';
import type { NotificationEvent } from '../rollback/notification.ts';
import { journalOf } from '../rollback/status.ts';
import {
  definitions,
  registerProcessMetrics,
  type LoopMetrics,
  type MetricDescription,
  type NotificationResult,
} from './process-metrics.ts';
import { targetFacts, unixSeconds, type OperationName, type OperationResult } from './target-facts.ts';
import { escapeLabel, families, type TargetRecord } from './target-series.ts';

export interface Metrics {
  /** What a target's status says now, at each visit and whenever it was saved. `target`: null where it can't be read. */
  observeStatus(key: TargetKey, target: MigrationTarget | null, status: TargetStatus): void;
  /** What an operation tells. A finished step `swap` is how long nobody could connect. */
  observeOperation(key: TargetKey, event: OperationEvent): void;
  /** The database was read just now. */
  observeCheck(key: TargetKey): void;
  /** How many backups the catalogue of a target holds. */
  observeBackups(key: TargetKey, count: number): void;
  /** What became of a notification. */
  observeNotification(event: NotificationEvent, result: NotificationResult): void;
  /** Whether this controller leads; `lease`: its name. Never called: no leader is elected. */
  leads(lease: string, isLeader: boolean): void;
  /** The target is gone, and so are its series. */
  forget(key: TargetKey): void;
  readonly controller: LoopMetrics;
  /** Prometheus' text format, in pieces, letting others run between them. */
  render(): AsyncGenerator<string, void, undefined>;
}

/** Every metric of this project's own, as the documentation lists them. */
export const metricDescriptions: readonly MetricDescription[] = [...families, ...Object.values(definitions)];

export const contentType = Registry.PROMETHEUS_CONTENT_TYPE;

/** Longer than this a scrape keeps nobody else from running. */
const sliceMs = 4;

export function createMetrics(options: { readonly version: string; readonly clock: Clock }): Metrics {
  const { clock } = options;
  const records = new Map<string, TargetRecord & { readonly counted: Set<string>; readonly swapped: Set<string> }>();
  let countsFrom = clock.now().getTime() / 1000;
  const registry = new Registry();
  const own = registerProcessMetrics(registry, options.version);
  collectDefaultMetrics({ register: registry });
  // Gauges that are named like counters.
  for (const kind of ['handles', 'requests', 'resources']) registry.removeSingleMetric(`nodejs_active_${kind}_total`);

  const recordOf = (key: TargetKey) => {
    const id = keyText(key);
    let record = records.get(id);
    if (record === undefined) {
      record = {
        labels: `namespace="${escapeLabel(key.namespace)}",name="${escapeLabel(key.name)}"`,
        facts: null,
        lastCheck: 0,
        backups: null,
        operations: new Map(),
        restoreFallbacks: 0,
        counted: new Set(),
        swapped: new Set(),
      };
      records.set(id, record);
    }
    return record;
  };

  const countOperation = ({ operations }: TargetRecord, counter: `${OperationName}/${OperationResult}`): void =>
    void operations.set(counter, (operations.get(counter) ?? 0) + 1);

  return {
    observeStatus(key, target, status) {
      const record = recordOf(key);
      record.facts = targetFacts(target, status);
      const journal = journalOf(status);
      if (journal?.swapped === true) record.swapped.add(journal.id);
      for (const entry of status.history) {
        // What ended before this process started, or led, was counted by the one before.
        if (record.counted.has(entry.operationId) || unixSeconds(entry.finishedAt) < countsFrom) continue;
        countOperation(record, `${entry.kind}/${entry.result}`);
        if (fellBack(entry, record.swapped)) record.restoreFallbacks += 1;
        const seconds = Math.max(0, unixSeconds(entry.finishedAt) - unixSeconds(entry.startedAt));
        own.operationEnded(entry.kind, entry.result, seconds);
      }
      record.counted.clear();
      for (const { operationId } of status.history) record.counted.add(operationId);
      for (const id of record.swapped) if (id !== status.operation?.id) record.swapped.delete(id);
    },
    observeOperation(key, event) {
      if (event.kind === 'refused') countOperation(recordOf(key), `${event.operation}/refused`);
      if (event.kind === 'downtime') own.wasDown(event.ms / 1000);
      if (event.kind !== 'step') return;
      const { step, ms } = event;
      if (ms === undefined) return;
      if (step === 'swap') own.swapped(ms / 1000);
      else own.stepEnded(step, ms / 1000);
    },
    observeCheck(key) {
      recordOf(key).lastCheck = clock.now().getTime() / 1000;
    },
    observeBackups(key, count) {
      recordOf(key).backups = count;
    },
    observeNotification: (event, result) => own.notified(event, result),
    leads(lease, isLeader) {
      if (isLeader) countsFrom = clock.now().getTime() / 1000;
      own.leads(lease, isLeader);
    },
    forget(key) {
      records.delete(keyText(key));
    },
    controller: own,
    async *render() {
      let sliceStart = performance.now();
      const breathe = async (): Promise<void> => {
        await new Promise((resolve) => setImmediate(resolve));
        sliceStart = performance.now();
      };
      for (const family of families) {
        let text = `# HELP ${family.name} ${family.help}\n# TYPE ${family.name} ${family.type}\n`;
        for (const record of records.values()) {
          if (record.facts === null) continue;
          for (const [labels, value] of family.samples(record.facts, record)) {
            text += `${family.name}{${record.labels}${labels}} ${value}\n`;
          }
          if (performance.now() - sliceStart < sliceMs) continue;
          yield text;
          text = '';
          await breathe();
        }
        if (text !== '') yield text;
      }
      for (const metric of registry.getMetricsAsArray()) {
        yield `${await registry.getSingleMetricAsString(metric.name)}\n`;
        if (performance.now() - sliceStart >= sliceMs) await breathe();
      }
    },
  };
}

/** An operation that should have changed the database by migrations, and ended with a backup. */
const fellBack = ({ kind, reason, operationId }: HistoryEntry, swapped: ReadonlySet<string>): boolean =>
  (kind === 'upgrade' || kind === 'downgrade' || kind === 'switch') &&
  (reason === 'RestoredFromBackup' || swapped.has(operationId));
