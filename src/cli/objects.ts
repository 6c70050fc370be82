/** Declarations as `-o json` and `-o yaml` give them: as the API server would, so that the same tools read them. Pure. */
import { apiVersion } from '../api/group.ts';
import type { Declaration } from '../rollback/ports.ts';
import { keyOfDeclaration } from '../rollback/declaration.ts';

export function declarationObject(declaration: Declaration): unknown {
  if (declaration.kind === 'target') return declaration.target;
  const { key, generation, problem, status } = declaration;
  return { apiVersion, kind: 'MigrationTarget', metadata: { ...key, generation }, spec: null, status, problem };
}

export const listObject = (declarations: readonly Declaration[]): unknown => ({
  apiVersion: 'v1',
  kind: 'List',
  items: declarations.map(declarationObject),
});

/** As `-o name` gives them, one a line. */
export const namesOf = (declarations: readonly Declaration[]): readonly string[] =>
  declarations.map((declaration) => `migrationtarget/${keyOfDeclaration(declaration).name}`);
