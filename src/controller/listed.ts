import { keyOf } from '../api/target.ts';
import type { Declaration } from '../rollback/ports.ts';
import type { Listed } from './controller.ts';

/**
 * A declaration as the controller compares it: what people change of it is in its version, its status is not, so that
 * what the controller writes never makes a key due.
 */
export function listed(declaration: Declaration): Listed {
  if (declaration.kind === 'invalid') {
    return { key: declaration.key, version: JSON.stringify([declaration.generation, declaration.problem]) };
  }
  const { uid, generation, annotations, deletionTimestamp } = declaration.target.metadata;
  return { key: keyOf(declaration.target), version: JSON.stringify([uid, generation, annotations, deletionTimestamp]) };
}
