import { describe, expect, test } from '@jest/globals';
import type { TargetKey } from '../../../src/api/target.ts';
import { createController, type ControllerOptions, type Result } from '../../../src/controller/controller.ts';
import { fakeTime, settle } from './fake-time.ts';

const a: TargetKey = { namespace: 'n', name: 'a' };
const b: TargetKey = { namespace: 'n', name: 'b' };
const minute = 60_000;

/** A reconcile whose end the test decides. */
interface Call {
  readonly name: string;
  readonly at: number;
  readonly signal: AbortSignal;
  readonly end: (result?: Result) => void;
  readonly fail: (problem: Error) => void;
}

function setUp(overrides: Partial<ControllerOptions> = {}) {
  const time = fakeTime();
  const calls: Call[] = [];
  const errors: { problem: unknown; key: TargetKey | null }[] = [];
  const outcomes: string[] = [];
  const depths: number[] = [];
  const stop = new AbortController();
  let change: (key: TargetKey) => void = () => {
    throw new Error('nobody watches');
  };
  const controller = createController({
    list: () => Promise.resolve([]),
    watch: (onChange) => {
      change = onChange;
      return Promise.resolve();
    },
    reconcile: (key, signal) =>
      new Promise((resolve, reject) => {
        calls.push({ name: key.name, at: time.now(), signal, end: (result = {}) => resolve(result), fail: reject });
      }),
    intervalSeconds: () => null,
    concurrency: 2,
    onError: (problem, key) => errors.push({ problem, key }),
    metrics: { reconciled: (outcome) => outcomes.push(outcome), depth: (keys) => depths.push(keys) },
    timers: time,
    random: () => 1,
    ...overrides,
  });
  const over = controller.run(stop.signal);
  const names = (): string[] => calls.map(({ name }) => name);
  const call = (index: number): Call => {
    const found = calls[index];
    if (found === undefined) throw new Error(`there were ${calls.length} calls`);
    return found;
  };
  return {
    time,
    calls,
    call,
    names,
    errors,
    outcomes,
    depths,
    stop,
    over,
    controller,
    change: (key: TargetKey) => change(key),
  };
}

describe('the controller', () => {
  test('runs different keys side by side, never more than its concurrency', async () => {
    const it = setUp({ concurrency: 2 });
    for (const name of ['a', 'b', 'c']) it.change({ namespace: 'n', name });
    expect(it.names()).toEqual(['a', 'b']);
    expect(it.depths.at(-1)).toBe(1);
    it.call(1).end();
    await settle();
    expect(it.names()).toEqual(['a', 'b', 'c']);
    expect(it.depths.at(-1)).toBe(0);
  });

  test('never runs a key twice at a time, and runs it once more if it changed meanwhile', async () => {
    const it = setUp();
    it.change(a);
    it.change(a);
    it.change(a);
    await it.time.advance(minute);
    expect(it.names()).toEqual(['a']);
    it.call(0).end();
    await settle();
    expect(it.names()).toEqual(['a', 'a']);
    it.call(1).end();
    await it.time.advance(minute);
    expect(it.names()).toEqual(['a', 'a']);
  });

  test('tells keys of the same name in different namespaces apart', () => {
    const it = setUp();
    it.change(a);
    it.change({ namespace: 'm', name: 'a' });
    expect(it.names()).toEqual(['a', 'a']);
  });

  test('waits longer after each failure, only for the key that fails, and starts anew after a success', async () => {
    const it = setUp();
    it.change(a);
    it.change(b);
    it.call(1).end({ requeueAfterSeconds: 4 });
    it.call(0).fail(new Error('no'));
    await it.time.advance(1_000);
    it.call(2).fail(new Error('no'));
    await it.time.advance(2_000);
    it.call(3).fail(new Error('no'));
    await it.time.advance(4_000);
    expect(it.calls.map(({ name, at }) => `${name} ${at}`)).toEqual([
      'a 0',
      'b 0',
      'a 1000',
      'a 3000',
      'b 4000',
      'a 7000',
    ]);
    it.call(5).end({ requeueAfterSeconds: 10 });
    await it.time.advance(10_000);
    it.call(6).fail(new Error('no'));
    await it.time.advance(1_000);
    expect(it.calls.slice(6).map(({ name, at }) => `${name} ${at}`)).toEqual(['a 17000', 'a 18000']);
    expect(it.errors.map(({ key }) => key?.name)).toEqual(['a', 'a', 'a', 'a']);
  });

  test('looks again after the seconds that a reconcile asks for', async () => {
    const it = setUp();
    it.change(a);
    it.call(0).end({ requeueAfterSeconds: 30 });
    await it.time.advance(29_999);
    expect(it.names()).toEqual(['a']);
    await it.time.advance(1);
    expect(it.names()).toEqual(['a', 'a']);
    expect(it.outcomes).toEqual(['requeue_after']);
  });

  test('looks again after the interval where a reconcile asks for nothing', async () => {
    const it = setUp({ intervalSeconds: (key) => (key.name === 'a' ? 60 : null) });
    it.change(a);
    it.change(b);
    it.call(0).end();
    it.call(1).end();
    await it.time.advance(minute);
    expect(it.names()).toEqual(['a', 'b', 'a']);
    expect(it.outcomes).toEqual(['success', 'success']);
  });

  test('runs a key at once when it changes, though it was to wait, and does not run it again for the old wait', async () => {
    const it = setUp();
    it.change(a);
    it.call(0).end({ requeueAfterSeconds: 60 });
    await it.time.advance(10_000);
    it.change(a);
    expect(it.calls.map(({ at }) => at)).toEqual([0, 10_000]);
    it.call(1).end();
    await it.time.advance(2 * minute);
    expect(it.calls).toHaveLength(2);
  });

  test('finds by relisting what the watch missed: new keys, changed ones, vanished ones, and no others', async () => {
    const lists = [
      [
        { key: a, version: '1' },
        { key: b, version: '1' },
      ],
      [
        { key: a, version: '1' },
        { key: b, version: '2' },
      ],
      [{ key: a, version: '1' }],
    ];
    const it = setUp({
      list: () => Promise.resolve(lists.shift() ?? [{ key: a, version: '1' }]),
      relistSeconds: 60,
      intervalSeconds: () => 3_600,
    });
    await settle();
    expect(it.names()).toEqual(['a', 'b']);
    for (const { end } of it.calls) end();
    await it.time.advance(minute);
    expect(it.names()).toEqual(['a', 'b', 'b']);
    it.call(2).end();
    await it.time.advance(minute);
    expect(it.names()).toEqual(['a', 'b', 'b', 'b']);
    it.call(3).end();
    await it.time.advance(5 * minute);
    expect(it.calls).toHaveLength(4);
  });

  test('finds by relisting what was gone when it looked, and was put back as it was before the watch saw that', async () => {
    const it = setUp({ list: () => Promise.resolve([{ key: a, version: '1' }]), relistSeconds: 60 });
    await settle();
    it.call(0).end({ isGone: true });
    await it.time.advance(minute);
    expect(it.names()).toEqual(['a', 'a']);
    it.call(1).end();
    await it.time.advance(5 * minute);
    expect(it.calls).toHaveLength(2);
  });

  test('tries again, and says so, where it can not list or watch; it is ready when both went through', async () => {
    let failures = 2;
    const it = setUp({
      list: () => (failures-- > 0 ? Promise.reject(new Error('refused')) : Promise.resolve([{ key: a, version: '1' }])),
    });
    await settle();
    expect(it.controller.readiness()).toEqual({ ready: false, because: 'the declarations were not read yet' });
    await it.time.advance(10_000);
    expect(it.errors.map(({ key }) => key)).toEqual([null, null]);
    expect(it.names()).toEqual(['a']);
    expect(it.controller.readiness()).toEqual({ ready: true });
  });

  test('is no longer ready where the declarations can not be read for long', async () => {
    let broken = false;
    const it = setUp({
      list: () => (broken ? Promise.reject(new Error('refused')) : Promise.resolve([])),
      relistSeconds: 60,
    });
    await settle();
    expect(it.controller.readiness()).toEqual({ ready: true });
    broken = true;
    await it.time.advance(10 * minute);
    expect(it.controller.readiness()).toEqual({ ready: false, because: 'the declarations were last read 600 s ago' });
  });

  test('stops gracefully: begins nothing, tells what runs, and waits for it', async () => {
    const it = setUp({ concurrency: 1 });
    await settle();
    it.change(a);
    it.change(b);
    expect(it.call(0).signal.aborted).toBe(false);
    expect(it.time.pending).toBe(1);
    it.stop.abort();
    it.change(b);
    expect(it.call(0).signal.aborted).toBe(true);
    expect(it.controller.readiness()).toEqual({ ready: false, because: 'stopping' });
    let stopped = false;
    void it.over.then(() => (stopped = true));
    await it.time.advance(1_000);
    expect(stopped).toBe(false);
    it.call(0).end({ requeueAfterSeconds: 1 });
    await it.time.advance(minute);
    expect(await it.over).toEqual({ unfinished: [] });
    expect(it.names()).toEqual(['a']);
    expect(it.time.pending).toBe(0);
  });

  test('does not wait for ever: it names what did not end in time', async () => {
    const it = setUp({ stopSeconds: 25 });
    it.change(a);
    it.change(b);
    it.stop.abort();
    await settle();
    it.call(0).end();
    await it.time.advance(25_000);
    expect(await it.over).toEqual({ unfinished: [b] });
  });

  test('stops though the watch never came up', async () => {
    const it = setUp({ watch: () => new Promise(() => {}) });
    it.stop.abort();
    expect(await it.over).toEqual({ unfinished: [] });
  });
});
