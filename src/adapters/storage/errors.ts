import { isNativeError } from 'node:util/types';

/** The code of an operating system's error (`ENOSPC`…), or null for any other. */
export function errorCode(error: unknown): string | null {
  if (!isNativeError(error) || !('syscall' in error) || !('code' in error)) return null;
  return typeof error.code === 'string' ? error.code : null;
}
