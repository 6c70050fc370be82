/** A real terminal: the program at the end of a pseudo-terminal, and somebody who types. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { python } from './alembic.ts';

/** Runs a command on a terminal of its own, types once the text was shown, and copies what is shown. */
const script = `
import fcntl, os, pty, struct, sys, termios
awaited, keys, command = sys.argv[1].encode(), sys.argv[2].encode(), sys.argv[3:]
pid, terminal = pty.fork()
if pid == 0:
    fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack('HHHH', 40, 120, 0, 0))
    os.execvp(command[0], command)
shown = b''
while True:
    try:
        chunk = os.read(terminal, 65536)
    except OSError:
        break
    if not chunk:
        break
    shown += chunk
    sys.stdout.buffer.write(chunk)
    sys.stdout.flush()
    if keys and awaited in shown:
        os.write(terminal, keys)
        keys = b''
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
`;

export const ctrlC = '\u0003';

/** Resolves with all that was shown, escape sequences too, and the exit code. */
export async function onTerminal(
  command: readonly string[],
  options: { readonly env: NodeJS.ProcessEnv; readonly awaits?: string; readonly types?: string },
): Promise<{ readonly code: number | null; readonly shown: string }> {
  const { env, awaits = '', types = '' } = options;
  const args = ['-c', script, awaits, types, ...command];
  const child = spawn(await python(), args, {
    env: { ...env, TERM: 'xterm-256color' },
    stdio: ['ignore', 'pipe', 'inherit'],
    timeout: 30_000,
  });
  let shown = '';
  child.stdout.on('data', (chunk: Buffer) => (shown += chunk.toString()));
  const [code] = (await once(child, 'close')) as [number | null];
  return { code, shown };
}
