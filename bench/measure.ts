/** Times things that are compared: one after the other, again and again, so that what else the machine does meets all of them. */

/** What is timed. `prepare` is not. */
export interface Contestant {
  readonly name: string;
  readonly prepare?: () => Promise<void>;
  readonly run: () => Promise<void>;
}

/** Milliseconds of each run, by the contestant's name. */
export type Times = Readonly<Record<string, readonly number[]>>;

/** Lets each run once unmeasured, so that caches are warm, then `runs` times in turn. */
export async function race(contestants: readonly Contestant[], runs: number): Promise<Times> {
  const times: Record<string, number[]> = Object.fromEntries(contestants.map(({ name }) => [name, []]));
  for (let round = 0; round <= runs; round += 1) {
    for (const { name, prepare, run } of contestants) {
      await prepare?.();
      const startedAt = performance.now();
      await run();
      if (round > 0) times[name]?.push(performance.now() - startedAt);
    }
  }
  return times;
}

/** The value below which that share of them lies, e.g. 0.5 for the median; in between, the nearer rank above. */
export function quantile(values: readonly number[] | undefined, share: number): number {
  const sorted = (values ?? []).toSorted((a, b) => a - b);
  const value = sorted[Math.max(0, Math.ceil(sorted.length * share) - 1)];
  if (value === undefined) throw new Error('nothing was measured');
  return value;
}

export const median = (values: readonly number[] | undefined): number => quantile(values, 0.5);

export type Unit = 'ms' | 's' | 'MiB' | '/s' | '';

/** One line of the result. */
export interface Figure {
  readonly name: string;
  readonly value: number;
  readonly unit: Unit;
  /** What it is compared with in the same run. */
  readonly reference: string;
  readonly referenceValue: number;
  /** `value` over `referenceValue`; null: of nothing there is none. */
  readonly ratio: number | null;
  /** At most; null: there is none. */
  readonly goal: { readonly of: 'value' | 'ratio'; readonly atMost: number } | null;
  readonly runs: number;
}

export function comparison(
  name: string,
  { value, unit }: Pick<Figure, 'value' | 'unit'>,
  reference: string,
  referenceValue: number,
  rest: Pick<Figure, 'goal' | 'runs'>,
): Figure {
  const ratio = referenceValue === 0 ? null : value / referenceValue;
  return { name, value, unit, reference, referenceValue, ratio, ...rest };
}

/** Of milliseconds. */
export const figure = (
  name: string,
  ms: number,
  reference: string,
  referenceMs: number,
  rest: Pick<Figure, 'goal' | 'runs'>,
): Figure => comparison(name, { value: ms, unit: 'ms' }, reference, referenceMs, rest);

export const isMet = ({ goal, value, ratio }: Figure): boolean | null =>
  goal === null ? null : (goal.of === 'value' ? value : (ratio ?? 0)) <= goal.atMost;
