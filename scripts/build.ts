/**
 * `npm run build`: src/ as JavaScript in dist/, with whatever else lies in src/ (the Python driver) beside it.
 * `node scripts/build.ts DIR` builds into another folder.
 */
import { execFile } from 'node:child_process';
import { cp, rm } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';

const root = join(import.meta.dirname, '..');
const src = join(root, 'src');
const out = resolve(process.argv[2] ?? join(root, 'dist'));
const isCopied = (path: string): boolean => !path.endsWith('.ts') && !path.endsWith('__pycache__');

await rm(out, { recursive: true, force: true });
try {
  const tsc = join(root, 'node_modules/.bin/tsc');
  await promisify(execFile)(tsc, ['-p', join(root, 'tsconfig.build.json'), '--outDir', out]);
} catch (error) {
  console.error((error as { stdout?: string }).stdout ?? error);
  process.exit(1);
}
await cp(src, out, { recursive: true, filter: isCopied });
