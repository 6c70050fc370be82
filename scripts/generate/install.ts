/**
 * manifests/install.yaml: what `kubectl kustomize manifests` makes, for those who apply one file. Put together here so that
 * neither kubectl nor a cluster is needed for it; a test holds the two to be the same.
 */
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { parse, parseAllDocuments, type Document } from 'yaml';
import * as z from 'zod';

export const installFile = 'manifests/install.yaml';

/** What is used of kustomize there. Strict, so that nothing is left out of the file unnoticed. */
const kustomization = z.strictObject({
  apiVersion: z.string(),
  kind: z.enum(['Kustomization', 'Component']),
  resources: z.array(z.string()).default([]),
  components: z.array(z.string()).default([]),
  labels: z
    .array(z.strictObject({ pairs: z.record(z.string(), z.string()), includeTemplates: z.literal(true) }))
    .default([]),
});

/** `generated`: files that need not be on disk yet, by their path from the root. */
export function installYaml(root: string, generated: ReadonlyMap<string, string>): string {
  const read = (path: string): string => generated.get(path) ?? readFileSync(join(root, path), 'utf8');
  const isFile = (path: string): boolean => generated.has(path) || statSync(join(root, path)).isFile();

  function build(dir: string, given: readonly Document[]): readonly Document[] {
    const name = readdirSync(join(root, dir)).find((file) => /^kustomization(\.yaml)?$/i.test(file));
    if (name === undefined) throw new Error(`${dir} has no kustomization.yaml`);
    const parsed = kustomization.safeParse(parse(read(join(dir, name))));
    if (!parsed.success) {
      throw new Error(
        `${join(dir, name)} uses what ${installFile} is not made of: ${z.prettifyError(parsed.error)}. Keep that to an overlay, or teach scripts/generate/install.ts`,
      );
    }
    const { resources, components, labels } = parsed.data;
    const own = resources
      .map((path) => join(dir, path))
      .flatMap((path) => (isFile(path) ? parseAllDocuments(read(path)) : build(path, [])));
    let all: readonly Document[] = [...given, ...own];
    for (const component of components) all = build(join(dir, component), all);
    for (const { pairs } of labels) for (const document of all) label(document, pairs);
    return all;
  }

  const header = '# Generated from manifests/: change it there, then run: npm run generate\n';
  return (
    header +
    build('manifests', [])
      .map((document) => document.toString({ lineWidth: 120, directives: false, flowCollectionPadding: false }))
      .join('---\n')
  );
}

function label(document: Document, pairs: Readonly<Record<string, string>>): void {
  const places = [['metadata'], ...(document.hasIn(['spec', 'template']) ? [['spec', 'template', 'metadata']] : [])];
  for (const place of places)
    for (const [key, value] of Object.entries(pairs)) document.setIn([...place, 'labels', key], value);
}
