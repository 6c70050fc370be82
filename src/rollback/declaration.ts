/** What a home tells of a declaration, whether it can be read or not. */
import { keyOf, type TargetKey, type TargetStatus } from '../api/target.ts';
import type { Declaration } from './ports.ts';

export const keyOfDeclaration = (declaration: Declaration): TargetKey =>
  declaration.kind === 'target' ? keyOf(declaration.target) : declaration.key;

/** null: none was saved, or it can't be read. */
export const statusOfDeclaration = (declaration: Declaration): TargetStatus | null =>
  (declaration.kind === 'target' ? declaration.target.status : declaration.status) ?? null;
