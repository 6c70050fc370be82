/**
 * Numbers every call that the procedure makes of its ports, and can stop the process at one of them: before it is
 * made, or while it is under way. The real adapters do the work; this only counts.
 */
import type { Ports } from '../../src/rollback/ports.ts';

/** A call of a port, e.g. `database.swap`, and the step of the operation that made it. */
export interface Call {
  readonly number: number;
  readonly port: string;
  readonly method: string;
  readonly step: string;
}

export type Moment = 'before' | 'during';

export interface Killpoints {
  readonly ports: Ports;
  readonly calls: readonly Call[];
}

/** Only these have effects, or start a process that may: reads can be cut off anywhere without a trace. */
const effects = new Set([
  'hold',
  'saveStatus',
  'release',
  'saveReport',
  'lock',
  'endOperationSessions',
  'createDatabase',
  'dropDatabase',
  'dump',
  'restoreInto',
  'analyze',
  'canonicalSchema',
  'stamp',
  'swap',
  'reopen',
  'commit',
  'recordSchema',
  'recordRestore',
  'removeLeftovers',
  'migrate',
]);

/** What a port hands out is known by a method that no other has. */
const marks: Readonly<Record<string, string>> = {
  swap: 'database',
  assertHeld: 'lock',
  newId: 'store',
  dumpDirectory: 'draft',
  migrate: 'alembic',
};

/** `reached` is called at each numbered call, before it is made and once it is under way. */
export function withKillpoints(ports: Ports, reached: (call: Call, moment: Moment) => void): Killpoints {
  const calls: Call[] = [];
  let step = 'check';

  const count = <T extends object>(port: string, object: T): T =>
    new Proxy(object, {
      get(target, property): unknown {
        const value: unknown = Reflect.get(target, property, target);
        if (typeof value !== 'function') return value;
        const method = String(property);
        return (...args: unknown[]): unknown => {
          if (!effects.has(method)) return wrap(value.apply(target, args));
          const call = { number: calls.length + 1, port, method, step };
          calls.push(call);
          reached(call, 'before');
          if (method === 'migrate')
            return value.call(target, args[0], (event: { kind: string }) => {
              if (event.kind === 'started') reached(call, 'during');
              (args[1] as (event: unknown) => void)(event);
            });
          const result: unknown = value.apply(target, args);
          if (result instanceof Promise) setImmediate(() => reached(call, 'during'));
          return wrap(result);
        };
      },
    });
  const wrap = (result: unknown): unknown => (result instanceof Promise ? result.then(wrapObject) : wrapObject(result));
  const wrapObject = (value: unknown): unknown => {
    if (typeof value !== 'object' || value === null) return value;
    const port = Object.entries(marks).find(([method]) => method in value);
    return port === undefined ? value : count(port[1], value);
  };
  return {
    calls,
    ports: {
      ...ports,
      databases: count('databases', ports.databases),
      alembic: count('runner', ports.alembic),
      backups: count('stores', ports.backups),
      home: count('home', ports.home),
      observe: (key, id, event) => {
        if (event.kind === 'step' && event.state === 'started') step = event.step;
        ports.observe(key, id, event);
      },
    },
  };
}
