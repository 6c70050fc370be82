/** The program as npm installs it, built once for a run: what users start, in a third of the time that the sources take. */
import { cp } from 'node:fs/promises';
import { join } from 'node:path';

import { runOrThrow } from '../../scripts/lib/run.ts';

const root = join(import.meta.dirname, '../..');
/** Programs of the tests that are most of the product. */
const others = ['crash-runner', 'in-pod'].map((name) => join(import.meta.dirname, `${name}.ts`));
const variable = 'MIGRATION_TARGET_BUILT';

/** Builds it into a folder; workers started from now on know where. */
export async function buildProgram(folder: string): Promise<void> {
  await runOrThrow(process.execPath, [join(root, 'scripts/build.ts'), join(folder, 'dist'), ...others]);
  for (const part of ['bin', 'package.json']) await cp(join(root, part), join(folder, part), { recursive: true });
  process.env[variable] = folder;
}

const built = process.env[variable] ?? '';

/** The same, as a clone runs it. */
export const sources = join(root, 'bin/migration-target');
export const program = join(built, 'bin/migration-target');
/** What is in the root of a pod lies in a folder: see in-pod.ts. */
export const programInPod = join(built, 'dist/in-pod.js');
/** See crash-runner.ts. */
export const crashRunner = join(built, 'dist/crash-runner.js');
