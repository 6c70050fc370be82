/** What a query of Prometheus names, told by Prometheus' own grammar. */
import { parser } from '@prometheus-io/lezer-promql';

export interface Selector {
  /** As it stands in the query: `metric{label="value"}`. */
  readonly text: string;
  readonly metric: string;
  /** Those that it selects by. */
  readonly labels: readonly string[];
}

/** `grouping`: labels that series are grouped or joined by. Throws where the query is none. */
export function namedIn(query: string): {
  readonly selectors: readonly Selector[];
  readonly grouping: readonly string[];
} {
  const selectors: (Selector & { readonly labels: string[] })[] = [];
  const grouping: string[] = [];
  parser.parse(query).iterate({
    enter({ type, from, to, node }) {
      const text = query.slice(from, to);
      if (type.isError) throw new Error(`"${query}" is no query: look at "${query.slice(Math.max(0, from - 20), to)}"`);
      if (type.name === 'VectorSelector') selectors.push({ text, metric: /^\w*/.exec(text)?.[0] ?? '', labels: [] });
      if (type.name !== 'LabelName') return;
      if (node.parent?.name === 'GroupingLabels') grouping.push(text);
      else selectors.at(-1)?.labels.push(text);
    },
  });
  return { selectors, grouping };
}
