/**
 * `npm run build`: the program in dist/, as a few files of JavaScript that hold the libraries too (ADR 16), with whatever
 * else lies in src/ (the Python driver) beside it. `node scripts/build.ts DIR` builds into another folder, and
 * `node scripts/build.ts DIR FILE…` other programs with it, each in a file of its own name.
 */
import { cp, glob, readFile, rm } from 'node:fs/promises';
import { basename, join, relative, resolve } from 'node:path';
import { build, type Plugin } from 'esbuild';
import { writeNotices } from './lib/notices.ts';

const root = join(import.meta.dirname, '..');
const src = join(root, 'src');
const [given = join(root, 'dist'), ...others] = process.argv.slice(2);
const out = resolve(given);
/** What libraries in CommonJS find in their files. */
const commonJs = `import { createRequire } from 'node:module';
const require = createRequire(import.meta.url), { filename: __filename, dirname: __dirname } = import.meta;`;

/** Lazy parts that are worth a file of their own: most runs need none of them, and they are most of what there is to read. */
const apart: ReadonlySet<string> = new Set([
  '../adapters/kubernetes/home.ts',
  '../adapters/docker/index.ts',
  '../s3/index.ts',
  './serve.ts',
]);

await rm(out, { recursive: true, force: true });
const { metafile } = await build({
  absWorkingDir: root,
  entryPoints: Object.fromEntries(
    [join(src, 'main.ts'), ...others].map((file) => [basename(file, '.ts'), resolve(file)]),
  ),
  outdir: out,
  bundle: true,
  platform: 'node',
  target: 'node24',
  format: 'esm',
  splitting: true,
  chunkNames: '[name]-[hash]',
  sourcemap: true,
  sourcesContent: false,
  legalComments: 'none',
  metafile: true,
  // Compiled parts that ssh2 does without where they were not built; npm runs no install scripts of ours.
  external: ['cpu-features', '*.node'],
  banner: { js: commonJs },
  plugins: [ours(), leanKubernetesClient()],
  logLevel: 'warning',
});
for await (const file of glob('**/*.*', { cwd: src, exclude: ['**/*.ts', '**/__pycache__'] }))
  await cp(join(src, file), join(out, file));
await writeNotices(metafile, root, join(out, 'THIRD-PARTY-NOTICES.txt'));

/**
 * Our modules as they are bundled. What is beside one is looked for from where it lies in src/, whichever file of dist/ it
 * became part of. What is imported lazily is evaluated as late as before, but lies in the same file: to find and open
 * another one takes longer than to read on, and one in CommonJS would have no names there. So are Node's own modules, of which
 * nothing is read but what is used: an import statement reads all of a module, parts that load further ones among it.
 */
function ours(): Plugin {
  return {
    name: 'ours',
    setup(esbuild) {
      esbuild.onLoad({ filter: /\/src\/.*\.ts$/ }, async ({ path }) => {
        const place = `new URL(${JSON.stringify(relative(src, path))}, import.meta.url).href`;
        const contents = (await readFile(path, 'utf8'))
          .replaceAll('import.meta.url', place)
          .replaceAll(/^import \{([^}]*)\} from ('node:[^']+');$/gm, (_, names: string, module: string) => {
            const taken = names.replaceAll(/\btype \w+( as \w+)?,?/g, '').replaceAll(' as ', ': ');
            return `const {${taken}} = process.getBuiltinModule(${module});`;
          })
          .replaceAll(/\bimport\('([^']+)'\)/g, (lazy, module: string) =>
            apart.has(module) ? lazy : `Promise.resolve().then(() => require('${module}'))`,
          );
        return { loader: 'ts', contents };
      });
    },
  };
}

/**
 * Of the Kubernetes client a few classes are used, and the models of every API are not: nearly all of it, and 90 MB of memory.
 * They only declare things, which its package.json does not say.
 */
function leanKubernetesClient(): Plugin {
  const folder = /\/node_modules\/@kubernetes\/client-node\//;
  return {
    name: 'lean-kubernetes-client',
    setup(esbuild) {
      esbuild.onResolve({ filter: /^(\.|@kubernetes\/client-node$)/ }, async ({ path, pluginData, ...args }) => {
        if (pluginData === 'asked' || (path.startsWith('.') && !folder.test(args.importer))) return undefined;
        const found = await esbuild.resolve(path, { ...args, pluginData: 'asked' });
        return { ...found, sideEffects: path.endsWith('polyfill.js') };
      });
    },
  };
}
