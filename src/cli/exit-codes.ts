/** What the program ends with, whatever the command. */
export const exitCodes = {
  done: 0,
  /** Anything that went wrong, and what was typed wrongly. */
  error: 1,
  /** `plan --exit-code`: something would be done. */
  changes: 2,
  approvalNeeded: 3,
  /** A human is needed. */
  stalled: 4,
  timedOut: 5,
  /** Stopped by Ctrl-C, at a point that the next start goes on from. */
  interrupted: 130,
} as const;

export type ExitCode = (typeof exitCodes)[keyof typeof exitCodes];
