import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

import { run, runOrThrow } from '../run.ts';
import { supervise } from '../supervise.ts';
import { programPath } from '../programs.ts';

/**
 * Linux namespaces for a node: what runs in them sees its own network, mounts and processes. All of it ends with the first
 * process, whatever ends that: no pod, no mount, no rule of a firewall, no interface is left on the machine.
 */
export interface Namespaces {
  /** By which the machine reaches the node. It reaches the pods too. */
  readonly address: string;
  /** By which the node and its pods reach the machine. */
  readonly machineAddress: string;
  /** Of the pods, as `198.19.0.0/24`. */
  readonly podSubnet: string;
  /** What is `/var/lib` there, as the machine sees it. */
  readonly varLib: string;
  /** A command in all of them. It is killed with what was started by it. */
  within(command: readonly string[]): readonly string[];
  /** A command in the network alone. */
  withinNetwork(command: readonly string[]): readonly string[];
  /** Kills what runs in them, and removes `dir`. */
  stop(): Promise<void>;
}

const READY_WITHIN_MS = 10_000;

/**
 * The first process. `$1`: the folder that holds what the node writes where it always does, as its programs have more paths than
 * can be set. It tells its number as the machine sees it, and collects processes whose parents are gone.
 */
const FIRST = `
set -e
read -r pid rest < /proc/self/stat
mount --make-rshared /
mount -t tmpfs -o mode=755 tmpfs /run
mount --bind "$1/lib" /var/lib
mount --bind "$1/log" /var/log
mount -t proc proc /proc
ip link set lo up
echo 1 > /proc/sys/net/ipv4/ip_forward
# What one pod sends to another by a Service's address comes back by that address.
[ ! -e /proc/sys/net/bridge/bridge-nf-call-iptables ] || echo 1 > /proc/sys/net/bridge/bridge-nf-call-iptables
echo "$pid" > "$1/first.new"
mv "$1/first.new" "$1/first"
sleep infinity &
wait`;

/** Its parent: $1 and $2 are the script and the folder. unshare itself takes no signal. Once the first process is gone all others are. */
const HOLD = `
unshare --net --mount --pid --fork --kill-child sh -c "$1" sh "$2" &
unshare=$!
trap 'kill -s KILL "$(cat "$2/first" || echo $unshare)"' TERM
wait $unshare
wait $unshare`;

/** Opens them, with a cable between the machine and the node. Everything that is written comes to be in `dir`. */
export async function openNamespaces(dir: string): Promise<Namespaces> {
  for (const folder of ['lib', 'log']) await mkdir(join(dir, folder));
  const logFile = join(dir, 'namespaces.log');
  const env = { ...process.env, PATH: programPath };
  const first = supervise(['sh', '-c', HOLD, 'sh', FIRST, dir], {
    logFile,
    signal: 'TERM',
    env,
    removeAfterwards: dir,
  });
  try {
    const pid = await firstProcess(dir, logFile);
    const within = (command: readonly string[]): readonly string[] => [
      // A signal reaches nsenter alone.
      ...`nsenter --target=${pid} --net --mount --pid setpriv --pdeathsig KILL`.split(' '),
      ...command,
    ];
    const withinNetwork = (command: readonly string[]): readonly string[] => [
      'nsenter',
      `--net=/proc/${pid}/ns/net`,
      ...command,
    ];
    const connected = await connect(pid, withinNetwork, env);
    return { ...connected, varLib: join(dir, 'lib'), within, withinNetwork, stop: () => first.stop() };
  } catch (error) {
    await first.stop();
    throw error;
  }
}

async function firstProcess(dir: string, logFile: string): Promise<number> {
  const deadline = Date.now() + READY_WITHIN_MS;
  while (Date.now() < deadline) {
    const told = await readFile(join(dir, 'first'), 'utf8').catch(() => null);
    if (told !== null) return Number(told);
    await delay(20);
  }
  throw new Error(`no namespaces for a node: ${await readFile(logFile, 'utf8')}`);
}

/**
 * The machine's end is called by its number, the first that is free; it goes with the other end. The addresses are those that are
 * set apart for measuring networks (RFC 2544), which no machine has.
 */
async function connect(
  pid: number,
  withinNetwork: Namespaces['withinNetwork'],
  env: NodeJS.ProcessEnv,
): Promise<Pick<Namespaces, 'address' | 'machineAddress' | 'podSubnet'>> {
  for (let number = 0; number < 256; number++) {
    const [end, other] = [`mtnode${number}`, `netns ${pid}`];
    const made = await run('ip', `link add ${end} type veth peer name eth0 ${other}`.split(' '), { env });
    if (made.code !== 0 && made.stderr.includes('File exists')) continue;
    if (made.code !== 0) throw new Error(`cannot connect a node: ip link add ${end}: ${made.stderr.trim()}`);

    const [machineAddress, address] = [`198.18.${number}.1`, `198.18.${number}.2`];
    const podSubnet = `198.19.${number}.0/24`;
    const ip = (command: string) => runOrThrow('ip', command.split(' '), { env });
    const ipWithin = async (command: string): Promise<void> => {
      const [program = '', ...args] = withinNetwork(['ip', ...command.split(' ')]);
      await runOrThrow(program, args, { env });
    };
    await ip(`address add ${machineAddress}/24 dev ${end}`);
    await ip(`link set ${end} up`);
    await ipWithin(`address add ${address}/24 dev eth0`);
    await ipWithin('link set eth0 up');
    await ip(`route add ${podSubnet} via ${address}`);
    return { address, machineAddress, podSubnet };
  }
  throw new Error('cannot connect a node: 256 others are connected');
}
