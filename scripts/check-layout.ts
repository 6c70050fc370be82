/**
 * Holds the layout of src/: an import leads to a lower rank, or stays within its own folder.
 * `node scripts/check-layout.ts [SRC]` exits with 1 and names each import that does not. Types count too.
 */
import { glob, readFile } from 'node:fs/promises';
import { dirname, join, relative, resolve } from 'node:path';

/** Arrows point down: main → cli, controller, adapters, telemetry → rollback → api. */
const ranks: Readonly<Record<string, number>> = {
  main: 3,
  cli: 2,
  controller: 2,
  adapters: 2,
  telemetry: 2,
  rollback: 1,
  api: 0,
};

const imports = /(?:\bfrom|\bimport)\s*\(?\s*['"](\.{1,2}\/[^'"]+)['"]/g;

const src = resolve(process.argv[2] ?? join(import.meta.dirname, '../src'));
const problems: string[] = [];

for await (const file of glob('**/*.ts', { cwd: src })) {
  const content = await readFile(join(src, file), 'utf8');
  for (const [, specifier = ''] of content.matchAll(imports)) {
    const target = relative(src, resolve(dirname(join(src, file)), specifier));
    const problem = judge(partOf(file), partOf(target));
    if (problem !== null) problems.push(`src/${file}: imports ${specifier}: ${problem}`);
  }
}
for (const problem of problems.toSorted()) console.error(problem);
if (problems.length > 0) process.exitCode = 1;

/** The folder of src/ that a file lies in, or the file itself where it lies in none. */
function partOf(file: string): string {
  const [first = ''] = file.split('/');
  return first.replace(/\.ts$/, '');
}

function judge(from: string, to: string): string | null {
  if (from === to) return null;
  const [above, below] = [ranks[from], ranks[to]];
  if (above === undefined)
    return `${from} has no place in the layout: move it into one of ${Object.keys(ranks).join(', ')}`;
  if (below === undefined) return `${to} has no place in the layout, or lies outside src/`;
  return above > below
    ? null
    : `${from} must not know of ${to}: main → cli, controller, adapters, telemetry → rollback → api`;
}
