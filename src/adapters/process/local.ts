import { spawn, type ChildProcessWithoutNullStreams } from 'node:child_process';
import { once } from 'node:events';
import { stat } from 'node:fs/promises';
import { NotLaunched, type Child, type Ending, type Launcher, type Program } from './launcher.ts';
import { createPrivateFiles } from './private-files.ts';

/** What is left of a group that has ended may hold its pipes open for ever: so long is waited for them to close. */
const patienceMs = 1_000;

export interface LocalOptions {
  /** What every program gets; nothing else is inherited. */
  readonly environment: Readonly<Record<string, string>>;
  /**
   * In a session of its own: a Ctrl-C at the terminal is for the controller, which decides; and what the program starts
   * is ended with it.
   */
  readonly group: boolean;
}

/** Starts programs on this machine. */
export function localLauncher({ environment, group }: LocalOptions): Launcher {
  return {
    async launch(program) {
      await assertFolder(program.cwd);
      const files = createPrivateFiles();
      try {
        const paths: Record<string, string> = {};
        for (const [name, content] of Object.entries(program.files ?? {})) paths[name] = await files.add(content);
        const child = spawn(program.program, [...program.args], {
          env: { ...environment, ...program.env, ...paths },
          stdio: ['pipe', 'pipe', 'pipe', ...files.descriptors],
          detached: group,
          ...(program.cwd === undefined ? {} : { cwd: program.cwd }),
          // The first three are pipes; the types only know that of a list of exactly three.
        }) as ChildProcessWithoutNullStreams;
        const started = await begun(child, group);
        if (files.neededUntil === 'started') await files[Symbol.asyncDispose]();
        else void started.ended.then(() => files[Symbol.asyncDispose]());
        return started;
      } catch (error) {
        await files[Symbol.asyncDispose]();
        throw error;
      }
    },
  };
}

async function begun(child: ChildProcessWithoutNullStreams, group: boolean): Promise<Child> {
  // A child that ends before it has read everything closes its end; its exit status is what tells why.
  child.stdin.on('error', () => undefined);
  const ended = ending(child, group);
  await once(child, 'spawn').catch((error: unknown) => {
    throw new NotLaunched('program', (error as NodeJS.ErrnoException).code ?? String(error), { cause: error });
  });
  return { stdin: child.stdin, stdout: child.stdout, stderr: child.stderr, ended, kill: killer(child, group) };
}

/** `spawn` tells the same of a missing folder as of a missing program. */
async function assertFolder(cwd: Program['cwd']): Promise<void> {
  if (cwd === undefined) return;
  const found = await stat(cwd).catch((error: unknown) => {
    throw new NotLaunched('folder', (error as NodeJS.ErrnoException).code ?? String(error), { cause: error });
  });
  if (!found.isDirectory()) throw new NotLaunched('folder', 'it is no folder');
}

function killer(child: ChildProcessWithoutNullStreams, group: boolean): Child['kill'] {
  return (signal) => {
    if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
    if (group) killGroup(child.pid, signal);
    else child.kill(signal);
  };
}

function killGroup(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(-pid, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

/** Resolves with how it ended, once all that it wrote has been read. */
function ending(child: ChildProcessWithoutNullStreams, group: boolean): Promise<Ending> {
  return new Promise((resolve) => {
    let patience: NodeJS.Timeout | undefined;
    const settle = (): void => {
      clearTimeout(patience);
      const { exitCode: code, signalCode: signal } = child;
      resolve({
        code,
        signal,
        lost: null,
        how: signal === null ? `ended with exit code ${code}` : `was killed by ${signal}`,
      });
    };
    child.once('close', settle);
    if (!group) return;
    child.once('exit', () => {
      // What it started must not go on alone, and would hold the pipes open.
      if (child.pid !== undefined) killGroup(child.pid, 'SIGKILL');
      patience = setTimeout(() => {
        child.stdout.destroy();
        child.stderr.destroy();
        settle();
      }, patienceMs);
    });
  });
}
