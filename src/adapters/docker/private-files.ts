/**
 * Secrets for a program in a container. Arguments and environment of what runs there can be read by all who may use the
 * engine, and a file in the container would outlive a crash. So they go over standard input, to a shell that puts each
 * into a file in memory which has lost its name before a byte is in it, and then becomes the program: descriptors, and
 * with them the files, end with it.
 */
import type { Program } from '../process/launcher.ts';

/** "$1": names of variables; the rest is the program. Each name is followed on stdin by a number of lines, and those. */
const script = `
for dir in /dev/shm /run /tmp; do [ -d "$dir" ] && [ -w "$dir" ] && break; done
umask 077
fd=3
for name in $1; do
  path=$dir/migration-target-$$-$fd
  set -C
  : > "$path" || exit 125
  set +C
  eval "exec $fd<>\\"\\$path\\""
  rm -f "$path"
  IFS= read -r lines || exit 125
  while [ "$lines" -gt 0 ]; do
    IFS= read -r line
    printf '%s\\n' "$line" >&$fd
    lines=$((lines - 1))
  done
  export "$name=/dev/fd/$fd"
  fd=$((fd + 1))
done
shift
exec "$@"`;

export interface Wrapped {
  readonly command: readonly string[];
  /** What the program's own input comes after. */
  readonly preamble: string;
}

export function wrapped({ program, args, files }: Program): Wrapped {
  const contents = Object.entries(files ?? {});
  if (contents.length === 0) return { command: [program, ...args], preamble: '' };
  const preamble = contents
    .map(([, content]) => {
      const lines = content.replace(/\n$/, '').split('\n');
      return `${lines.length}\n${lines.join('\n')}\n`;
    })
    .join('');
  return { command: ['sh', '-c', script, 'sh', contents.map(([name]) => name).join(' '), program, ...args], preamble };
}
