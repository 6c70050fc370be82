/** The metrics that no target has as a label: durations, and the loop in controller-runtime's own terms. */
import { Counter, Gauge, Histogram, type Registry } from 'prom-client';
import { operationSteps } from '../rollback/model.ts';
import { notificationEvents, type NotificationEvent } from '../rollback/notification.ts';
import { operations, results, type OperationName, type OperationResult } from './target-facts.ts';

export interface MetricDescription {
  readonly name: string;
  readonly type: 'gauge' | 'counter' | 'histogram';
  readonly help: string;
  readonly labelNames: readonly string[];
}

export const definitions = {
  build: {
    name: 'migrationtarget_build_info',
    type: 'gauge',
    help: 'Always 1; the labels say what runs.',
    labelNames: ['version', 'node_version'],
  },
  operation: {
    name: 'migrationtarget_operation_duration_seconds',
    type: 'histogram',
    help: 'How long operations took.',
    labelNames: ['operation', 'result'],
  },
  step: {
    name: 'migrationtarget_step_duration_seconds',
    type: 'histogram',
    help: 'How long the steps of operations took.',
    labelNames: ['step'],
  },
  swap: {
    name: 'migrationtarget_swap_seconds',
    type: 'histogram',
    help: 'How long nobody could connect while a restored database was swapped in.',
    labelNames: [],
  },
  notifications: {
    name: 'migrationtarget_notifications_total',
    type: 'counter',
    help: 'Notifications to the webhook that were delivered, or dropped.',
    labelNames: ['event', 'result'],
  },
  downtime: {
    name: 'migrationtarget_downtime_seconds',
    type: 'histogram',
    help: 'How long applications were down for a change, from their stop until they were healthy again.',
    labelNames: [],
  },
  reconciles: {
    name: 'controller_runtime_reconcile_total',
    type: 'counter',
    help: 'Total number of reconciliations per controller.',
    labelNames: ['controller', 'result'],
  },
  reconcileErrors: {
    name: 'controller_runtime_reconcile_errors_total',
    type: 'counter',
    help: 'Total number of reconciliation errors per controller.',
    labelNames: ['controller'],
  },
  reconcileTime: {
    name: 'controller_runtime_reconcile_time_seconds',
    type: 'histogram',
    help: 'Length of time per reconciliation per controller.',
    labelNames: ['controller'],
  },
  depth: {
    name: 'workqueue_depth',
    type: 'gauge',
    help: 'Current depth of workqueue.',
    labelNames: ['name', 'controller'],
  },
  leader: {
    name: 'leader_election_master_status',
    type: 'gauge',
    help: '1 where this controller leads, 0 where it stands by; name: the Lease. Absent where no leader is elected.',
    labelNames: ['name'],
  },
} as const satisfies Record<string, MetricDescription>;

const operationBuckets = [1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200];
const stepBuckets = [0.01, 0.05, 0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600];
const swapBuckets = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 30];
const downtimeBuckets = [1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600, 7200];
/** controller-runtime's own. */
const reconcileBuckets = [
  0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6, 0.7, 0.8, 0.9, 1, 1.25, 1.5, 1.75, 2,
  2.5, 3, 3.5, 4, 4.5, 5, 6, 7, 8, 9, 10, 15, 20, 25, 30, 40, 50, 60,
];
const reconcileResults = ['success', 'requeue', 'requeue_after', 'error'];
/** What upstream's labels `controller` and `name` say: the kind, in lower case. */
const controller = 'migrationtarget';

/** What the controller's loop tells, in the terms of controller-runtime. */
export interface LoopMetrics {
  reconciled(result: 'success' | 'requeue_after' | 'error', seconds: number): void;
  depth(keys: number): void;
}

export interface ProcessMetrics extends LoopMetrics {
  /** `lease`: as `--lease-name` says it. Never called: no leader is elected. */
  leads(lease: string, isLeader: boolean): void;
  operationEnded(operation: OperationName, result: OperationResult, seconds: number): void;
  stepEnded(step: string, seconds: number): void;
  swapped(seconds: number): void;
  notified(event: NotificationEvent, result: NotificationResult): void;
  wasDown(seconds: number): void;
}

export type NotificationResult = 'delivered' | 'dropped';

/** Counters and histograms start at 0, so that the first increase is seen as one. */
export function registerProcessMetrics(registry: Registry, version: string): ProcessMetrics {
  const registers = [registry];
  const build = new Gauge({ ...definitions.build, registers });
  const operation = new Histogram({ ...definitions.operation, buckets: operationBuckets, registers });
  const step = new Histogram({ ...definitions.step, buckets: stepBuckets, registers });
  const swap = new Histogram({ ...definitions.swap, buckets: swapBuckets, registers });
  const notifications = new Counter({ ...definitions.notifications, registers });
  const downtime = new Histogram({ ...definitions.downtime, buckets: downtimeBuckets, registers });
  const reconciles = new Counter({ ...definitions.reconciles, registers });
  const reconcileErrors = new Counter({ ...definitions.reconcileErrors, registers });
  const reconcileTime = new Histogram({ ...definitions.reconcileTime, buckets: reconcileBuckets, registers });
  let waiting = 0;
  // Set when it is scraped: it changes thousands of times in one go.
  registry.registerMetric(
    new Gauge({
      ...definitions.depth,
      registers: [],
      collect() {
        this.set({ name: controller, controller }, waiting);
      },
    }),
  );
  const leader = new Gauge({ ...definitions.leader, registers });

  build.set({ version, node_version: process.versions.node }, 1);
  for (const name of operations) for (const result of results) operation.zero({ operation: name, result });
  for (const name of operationSteps) step.zero({ step: name });
  for (const event of notificationEvents)
    for (const result of ['delivered', 'dropped']) notifications.inc({ event, result }, 0);
  for (const result of reconcileResults) reconciles.inc({ controller, result }, 0);
  reconcileErrors.inc({ controller }, 0);
  reconcileTime.zero({ controller });

  return {
    operationEnded: (name, result, seconds) => operation.observe({ operation: name, result }, seconds),
    stepEnded: (name, seconds) => step.observe({ step: name }, seconds),
    swapped: (seconds) => swap.observe(seconds),
    notified: (event, result) => notifications.inc({ event, result }),
    wasDown: (seconds) => downtime.observe(seconds),
    reconciled(result, seconds) {
      reconciles.inc({ controller, result });
      if (result === 'error') reconcileErrors.inc({ controller });
      reconcileTime.observe({ controller }, seconds);
    },
    depth: (keys) => void (waiting = keys),
    leads: (name, isLeader) => leader.set({ name }, isLeader ? 1 : 0),
  };
}
