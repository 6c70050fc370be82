/** The licences of the libraries that a build holds. */
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Metafile } from 'esbuild';

const isLicence = (name: string): boolean => /^(licen[cs]e|copying|notice)/i.test(name);

/** Writes name, version, licence and the licence's text of each package that the build took a file from. */
export async function writeNotices({ inputs }: Metafile, root: string, file: string): Promise<void> {
  const folders = Object.keys(inputs).map((input) => /^.*node_modules\/(?:@[^/]+\/)?[^/]+/.exec(input)?.[0]);
  const packages = [...new Set(folders.filter((folder) => folder !== undefined))].toSorted();
  const notices = await Promise.all(packages.map((folder) => notice(join(root, folder))));
  await writeFile(file, notices.join(`\n${'-'.repeat(80)}\n\n`));
}

async function notice(folder: string): Promise<string> {
  const { name, version, license } = JSON.parse(await readFile(join(folder, 'package.json'), 'utf8')) as {
    readonly name: string;
    readonly version: string;
    readonly license?: string;
  };
  const files = (await readdir(folder)).filter(isLicence).toSorted();
  if (license === undefined && files.length === 0)
    throw new Error(`${folder} has no licence: look whether ${name} may be shipped in dist/`);
  const texts = await Promise.all(files.map((file) => readFile(join(folder, file), 'utf8')));
  return [`${name} ${version}${license === undefined ? '' : ` (${license})`}\n`, ...texts].join('\n');
}
