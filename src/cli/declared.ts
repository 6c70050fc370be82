/** The target that a command is about: from a file (`-f`), or by its name in the home. */
import { keyOf, type MigrationTarget } from '../api/target.ts';
import type { Declaration } from '../rollback/ports.ts';
import { targetOf, type Context } from './context.ts';
import { readDeclaration, withRevisions } from './declaration-file.ts';
import { Problem } from './problem.ts';

/** What would be declared; nothing is written yet. */
export interface Declared {
  readonly target: MigrationTarget;
  /** What to write into the home; null: it stands there already. */
  readonly text: string | null;
}

export async function readDeclared(
  context: Context,
  name: string | undefined,
  file: string | undefined,
): Promise<Declared> {
  return file === undefined ? { target: await context.target(name), text: null } : byFile(context, name, file);
}

/** The same with other revisions, as absolute ids: what was typed is never written down. */
export async function withDesired(
  context: Context,
  { target, text }: Declared,
  revisions: readonly string[],
): Promise<Declared> {
  const source = text ?? (await context.sourceOf(keyOf(target)));
  if (source === null) {
    throw new Problem(
      `apply ${target.metadata.name}`,
      `There is no file here to write the revision into. Say which: ${context.command('apply -f FILE --revision REVISION')}`,
    );
  }
  const changed = withRevisions(source, revisions);
  return { target: targetOf(await foresee(context, changed)), text: changed };
}

/** As `kubectl apply --dry-run`: what is wrong with it, or the target that it would be. */
async function foresee(context: Context, text: string): Promise<Declaration> {
  return (await context.home()).apply(await asDocument(context, text), { dryRun: true });
}

/** Writes it into the home, which then holds it. */
export async function declare(context: Context, { target, text }: Declared): Promise<MigrationTarget> {
  const home = await context.home();
  if (text === null) return targetOf((await home.get(keyOf(target))) ?? { kind: 'target', target });
  return targetOf(await home.apply(await asDocument(context, text), { dryRun: false }));
}

/** The directory home keeps the text as it is, with its comments; a cluster takes an object. */
async function asDocument(context: Context, text: string): Promise<unknown> {
  if ((await context.home()).kind === 'directory') return text;
  const { parse } = await import('yaml');
  try {
    return parse(text) as unknown;
  } catch (error) {
    throw new Problem(
      'InvalidSpec',
      `The file is not YAML: ${error instanceof Error ? (error.message.split('\n')[0] ?? '') : String(error)}`,
      undefined,
      { cause: error },
    );
  }
}

async function byFile(context: Context, name: string | undefined, file: string): Promise<Declared> {
  const text = await readDeclaration(file);
  const target = targetOf(await foresee(context, text));
  if (name !== undefined && name !== target.metadata.name) {
    throw new Problem(
      `Not ${name}`,
      `${file} declares ${target.metadata.name}. Leave the name out, or say -f with the file of ${name}.`,
    );
  }
  return { target, text };
}
