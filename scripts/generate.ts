/**
 * Writes what is derived from src/api, from the command line's help and from manifests/: the CustomResourceDefinitions, the
 * references, the manifests as one file, and the alerts for a Prometheus without an operator.
 * `--check` writes nothing, and exits with 1 where a file is stale.
 */
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { alertsFile, alertsYaml } from './generate/alerts.ts';
import { cliReference, cliReferenceFile } from './generate/cli.ts';
import { crdFile, crdsFile, crdsKustomization, crdYaml } from './generate/crd.ts';
import { installFile, installYaml } from './generate/install.ts';
import { kinds } from './generate/kinds.ts';
import { referenceFile, referenceMarkdown } from './generate/reference.ts';

const root = join(import.meta.dirname, '..');

const crds = new Map([
  ...kinds.map((kind) => [crdFile(kind), crdYaml(kind)] as const),
  [crdsFile, crdsKustomization(kinds)] as const,
]);
const files = new Map([
  ...crds,
  [installFile, installYaml(root, crds)] as const,
  [referenceFile, referenceMarkdown(kinds)] as const,
  [cliReferenceFile, cliReference()] as const,
  [alertsFile, alertsYaml()] as const,
]);

async function isStale([file, content]: readonly [string, string]): Promise<boolean> {
  try {
    return (await readFile(join(root, file), 'utf8')) !== content;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return true;
    throw error;
  }
}

const entries = [...files];
const states = await Promise.all(entries.map(isStale));
const stale = entries.filter((_, index) => states[index]);

if (process.argv.includes('--check')) {
  for (const [file] of stale) console.error(`${file} is stale. To write it again: npm run generate`);
  process.exitCode = stale.length > 0 ? 1 : 0;
} else {
  for (const [file, content] of stale) {
    await mkdir(dirname(join(root, file)), { recursive: true });
    await writeFile(join(root, file), content);
    console.log(`written: ${file}`);
  }
}
