import type { Reason } from '../api/reasons.ts';

/**
 * Why an operation can't go on, in the terms of the API. `stalled`: a human is needed, nothing is retried.
 * `retry`: it passes by itself, and is tried again with back-off.
 */
export type FailureKind = 'stalled' | 'retry';

/** What happened, to which object, why, and the next command, in one message; never a secret. */
export class Failure extends Error {
  override readonly name = 'Failure';
  readonly reason: Reason;
  readonly kind: FailureKind;

  constructor(kind: FailureKind, reason: Reason, message: string, options?: ErrorOptions) {
    super(message, options);
    this.kind = kind;
    this.reason = reason;
  }
}

export const stalled = (reason: Reason, message: string, cause?: unknown): Failure =>
  new Failure('stalled', reason, message, { cause });

export const retry = (reason: Reason, message: string, cause?: unknown): Failure =>
  new Failure('retry', reason, message, { cause });

/** In the middle of an operation: a password that is being rotated is right again once the Secret has the new one. */
export function whileUnderWay(failure: Failure): Failure {
  if (failure.reason !== 'AuthenticationFailed' || failure.kind === 'retry') return failure;
  const message = failure.message.replace(/, then: migration-target reconcile NAME$/, '.');
  return retry(failure.reason, `${message} It is tried again by itself.`, failure);
}

/** What happened, as part of a sentence. Whether it is tried again is for whoever waits for it to say. */
export const withoutRetry = (message: string): string =>
  message.replace(/[.;] it is tried again by itself\b.*$/is, '').replace(/[.\s]+$/, '');

/** A plan that was made of scripts that are others by now. */
export const changedSincePlanned = (workingDir: string): Failure =>
  retry(
    'MigrationsChanged',
    `The migrations of ${workingDir} changed since they were planned; nothing was changed. It is planned again.`,
  );

/** Thrown to be read, so that its message says all: a Failure, or a plain Error. TypeErrors and their kin were not meant to happen. */
export const isToBeRead = (thrown: unknown): thrown is Error =>
  thrown instanceof Failure
    ? thrown.reason !== 'InternalError'
    : thrown instanceof Error && Object.getPrototypeOf(thrown) === Error.prototype && !('code' in thrown);

/** Whatever was thrown, as a Failure: what is not one is unexpected, and stops with a reason. */
export function asFailure(thrown: unknown): Failure {
  if (thrown instanceof Failure) return thrown;
  const message = thrown instanceof Error ? thrown.message : String(thrown);
  return stalled(
    'InternalError',
    `${message}. Read the controller's log, then: migration-target reconcile NAME`,
    thrown,
  );
}
