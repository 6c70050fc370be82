/**
 * How a program is started, wherever that is: on this machine (local.ts), or in a container (adapters/docker). What talks
 * to the program afterwards is the same everywhere.
 */
import type { Readable, Writable } from 'node:stream';
import type { Failure } from '../../rollback/errors.ts';

export interface Program {
  /** A path, or a name to be looked for where the program runs. No shell is asked. */
  readonly program: string;
  readonly args: readonly string[];
  readonly cwd?: string;
  /** Beside what the place itself gives to every program. Not for secrets: others may be able to see it. */
  readonly env: Readonly<Record<string, string>>;
  /** Variables that name a file each, with this content, which no other program can read and which goes with the program. */
  readonly files?: Readonly<Record<string, string>>;
}

export interface Ending {
  /** null where a signal ended it, or where it was lost. */
  readonly code: number | null;
  readonly signal: string | null;
  /** e.g. `ended with exit code 3`, `was killed by SIGKILL (the container … ran out of memory)`. */
  readonly how: string;
  /** Where nobody can tell any more how it ended: why, e.g. that the Docker Engine does not answer. */
  readonly lost: Failure | null;
}

/** A program that runs; its standard streams are the caller's to connect. */
export interface Child {
  readonly stdin: Writable;
  readonly stdout: Readable;
  readonly stderr: Readable;
  /** Resolves when it has ended, and all that it wrote was handed over. Never rejects. */
  readonly ended: Promise<Ending>;
  /** To the program and all that it started, where the launcher says so; nothing happens where it has ended. */
  kill(signal: 'SIGTERM' | 'SIGKILL'): void;
}

export interface Launcher {
  /** Throws NotLaunched, and a Failure where the place itself can't be used. */
  launch(program: Program): Promise<Child>;
}

/** The program did not begin to run: nothing has happened. */
export class NotLaunched extends Error {
  override readonly name = 'NotLaunched';
  /** What is missing, or can't be used. */
  readonly missing: 'folder' | 'program';
  /** As part of a sentence, e.g. `ENOENT`. */
  readonly why: string;

  constructor(missing: 'folder' | 'program', why: string, options?: ErrorOptions) {
    super(`the ${missing} can't be used: ${why}`, options);
    this.missing = missing;
    this.why = why;
  }
}
