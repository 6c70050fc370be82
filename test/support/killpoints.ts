/**
 * Counts every call that the procedure makes of its ports, and can stop the process at one of them: before it is
 * made, or while it is under way. The real adapters do the work; this only counts.
 */
import { readFileSync } from 'node:fs';

import type { MigrationEvent, Ports } from '../../src/rollback/ports.ts';

/** A call of a port, e.g. `database.swap`, and the step of the operation that made it. */
export interface Call {
  /** `database.dropDatabase 2`: the second of them. Some go on side by side, so the order of all is not the same each time. */
  readonly id: string;
  readonly method: string;
  readonly step: string;
  readonly lasts: 'briefly' | 'a while' | 'with children';
}

export type Moment = 'before' | 'during';

export interface Killpoints {
  readonly ports: Ports;
  readonly calls: readonly Call[];
}

/** Only these have effects, or start a process that may: reads can be cut off anywhere without a trace. */
const effects: Readonly<Record<string, Call['lasts']>> = {
  hold: 'briefly',
  saveStatus: 'briefly',
  release: 'briefly',
  saveReport: 'briefly',
  lock: 'briefly',
  endOperationSessions: 'briefly',
  recordSchema: 'briefly',
  recordRestore: 'briefly',
  recordRehearsed: 'briefly',
  useApproval: 'briefly',
  stamp: 'briefly',
  recordScripts: 'briefly',
  'workloads.stop': 'a while',
  'workloads.start': 'a while',
  reopen: 'briefly',
  createDatabase: 'a while',
  copyDatabase: 'a while',
  dropDatabase: 'a while',
  swap: 'a while',
  commit: 'a while',
  removeLeftovers: 'a while',
  dump: 'with children',
  restoreInto: 'with children',
  canonicalSchema: 'with children',
  migrate: 'with children',
};

/** What a port hands out is known by a method that no other has. */
const marks: Readonly<Record<string, string>> = {
  swap: 'database',
  assertHeld: 'lock',
  newId: 'store',
  discard: 'draft',
  migrate: 'alembic',
};

/** `reached` is called at each call with an effect, before it is made and once it is under way. */
export function withKillpoints(ports: Ports, reached: (call: Call, moment: Moment) => void): Killpoints {
  const calls: Call[] = [];
  const counts = new Map<string, number>();
  let step = 'check';

  const count = <T extends object>(port: string, object: T): T =>
    new Proxy(object, {
      get(target, property): unknown {
        const value: unknown = Reflect.get(target, property, target);
        if (typeof value !== 'function') return value;
        const method = String(property);
        return (...args: unknown[]): unknown => {
          const lasts = effects[method] ?? effects[`${port}.${method}`];
          if (lasts === undefined) return wrap(value.apply(target, args));
          const name = `${port}.${method}`;
          const nth = (counts.get(name) ?? 0) + 1;
          counts.set(name, nth);
          const call = { id: `${name} ${nth}`, method, step, lasts };
          calls.push(call);
          reached(call, 'before');
          if (method === 'migrate')
            return value.call(target, args[0], (event: MigrationEvent) => {
              // The last one: what the others committed is then neither here nor there.
              if (event.kind === 'started' && event.index === event.total - 1) reached(call, 'during');
              (args[1] as (event: unknown) => void)(event);
            });
          const result: unknown = value.apply(target, args);
          if (lasts === 'with children') whenToolRuns(() => reached(call, 'during'));
          else setImmediate(() => reached(call, 'during'));
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
      workloads: (owner) => count('workloads', ports.workloads(owner)),
      observe: (key, id, event) => {
        if (event.kind === 'step' && event.state === 'started') step = event.step;
        ports.observe(key, id, event);
      },
    },
  };
}

const tools = new Set(['pg_dump', 'pg_restore', 'psql']);

/** Looks at this process's children until one of them is a tool of PostgreSQL's; ends with the process. */
function whenToolRuns(then: () => void): void {
  const look = (): void => {
    const children = readFileSync(`/proc/self/task/${process.pid}/children`, 'utf8')
      .split(' ')
      .filter((pid) => pid !== '');
    if (children.some((pid) => tools.has(nameOf(pid)))) then();
    else setTimeout(look, 1).unref();
  };
  look();
}

function nameOf(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/comm`, 'utf8').trim();
  } catch {
    return ''; // it has ended
  }
}
