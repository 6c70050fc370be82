/** Grafana's dashboards, as far as what they ask Prometheus for. */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';

export interface Asked {
  readonly query: string;
  /** Labels that its legend names. */
  readonly legend: readonly string[];
}

interface Dashboard {
  readonly panels: readonly {
    readonly targets?: readonly { readonly expr: string; readonly legendFormat?: string }[];
  }[];
  readonly templating: { readonly list: readonly { readonly query: string | { readonly query: string } }[] };
}

/** Every query of every dashboard of a folder, also those of their variables, as Grafana asks it with these values. */
export async function askedBy(folder: string, values: Readonly<Record<string, string>>): Promise<readonly Asked[]> {
  const files = (await readdir(folder)).filter((name) => name.endsWith('.json'));
  const dashboards = await Promise.all(
    files.map(async (name) => JSON.parse(await readFile(join(folder, name), 'utf8')) as Dashboard),
  );
  return dashboards.flatMap(askedByOne).map(({ query, legend }) => ({
    query: query.replaceAll(/\$(\w+)/g, (variable, name: string) => values[name] ?? variable),
    legend,
  }));
}

const askedByOne = ({ panels, templating }: Dashboard): readonly Asked[] => [
  ...panels
    .flatMap(({ targets = [] }) => targets)
    .map(({ expr, legendFormat = '' }) => ({
      query: expr,
      legend: [...legendFormat.matchAll(/\{\{(\w+)\}\}/g)].map(([, label = '']) => label),
    })),
  // The source of data is a variable too, and has a text.
  ...templating.list
    .map(({ query }) => query)
    .filter((query) => typeof query === 'object')
    .map(({ query }) => ({ query: query.replace(/^label_values\((.*), (\w+)\)$/, 'group by ($2) ($1)'), legend: [] })),
];
