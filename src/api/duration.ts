import * as z from 'zod';
import { withRules } from './schema.ts';

const secondsIn = { s: 1, m: 60, h: 3600, d: 86400 } as const;

/** Seven digits a part keep the sum below what a `Date` can hold. */
const pattern = /^([0-9]{1,7}(s|m|h|d))+$/;

/** A length of time in YAML, e.g. `90s`, `5m`, `1h30m`, `7d`. It stays a string; `seconds` reads it. */
export const duration = (description: string): z.ZodString =>
  z.string().min(2).max(16).regex(pattern, 'write a duration such as 30s, 5m, 1h30m or 7d').describe(description);

/** A duration that is longer than none: an interval of zero would never rest. */
export const positiveDuration = (description: string): z.ZodString =>
  withRules(duration(description), [
    {
      message: 'write a duration longer than zero, e.g. 30s, 5m or 1h30m',
      holds: (value) => /[1-9]/.test(value),
      cel: "self.matches('[1-9]')",
    },
  ]);

/** The seconds of a duration, e.g. 5400 for `1h30m`. Throws a RangeError for what is no duration. */
export function seconds(value: string): number {
  if (!pattern.test(value)) throw new RangeError(`"${value}" is not a duration: write e.g. 30s, 5m, 24h or 7d`);
  return Array.from(value.matchAll(/([0-9]+)([smhd])/g)).reduce(
    (sum, [, count, unit]) => sum + Number(count) * secondsIn[unit as keyof typeof secondsIn],
    0,
  );
}
