/** A LabelSelector, as a query of the API has it. Pure. */
import * as z from 'zod';

export const labelSelector = z.looseObject({
  matchLabels: z.record(z.string(), z.string()).nullish(),
  matchExpressions: z
    .array(z.looseObject({ key: z.string(), operator: z.string(), values: z.array(z.string()).nullish() }))
    .nullish(),
});

export type LabelSelector = z.output<typeof labelSelector>;

export function selectorText({ matchLabels, matchExpressions }: LabelSelector): string {
  const labels = Object.entries(matchLabels ?? {}).map(([key, value]) => `${key}=${value}`);
  const expressions = (matchExpressions ?? []).map(({ key, operator, values }) => {
    const among = `(${(values ?? []).join(',')})`;
    switch (operator) {
      case 'In':
        return `${key} in ${among}`;
      case 'NotIn':
        return `${key} notin ${among}`;
      case 'Exists':
        return key;
      case 'DoesNotExist':
        return `!${key}`;
      default:
        throw new Error(`a label selector has the operator ${operator}, which this version does not know`);
    }
  });
  return [...labels, ...expressions].join(',');
}
