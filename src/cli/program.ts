/** The program as commander knows it: options that all commands take, and one file for each command. */
import { Command, CommanderError, Option } from 'commander';
import { addApply } from './commands/apply.ts';
import { addApprove } from './commands/approve.ts';
import { addBackup } from './commands/backup.ts';
import { addBackups } from './commands/backups.ts';
import { addCheck } from './commands/check.ts';
import { addDoctor } from './commands/doctor.ts';
import { addHistory } from './commands/history.ts';
import { addIdentify } from './commands/identify.ts';
import { addPlan } from './commands/plan.ts';
import { addReconcile } from './commands/reconcile.ts';
import { addRestore } from './commands/restore.ts';
import { addResume } from './commands/resume.ts';
import { addRun } from './commands/run.ts';
import { addServeVolume } from './commands/serve-volume.ts';
import { addStatus } from './commands/status.ts';
import { addSuspend } from './commands/suspend.ts';
import { addWait } from './commands/wait.ts';
import { addWatch } from './commands/watch.ts';
import { exitCodes, type ExitCode } from './exit-codes.ts';
import { programName } from './invocation.ts';
import { createInvoke, type Invoke } from './invoke.ts';
import { formats } from './output.ts';
import type { Wiring } from './wiring.ts';

const description =
  'Takes a PostgreSQL database to the alembic revision that is declared for it, backwards too, and never loses what it was not told to lose.';

const exitCodesHelp = `
Exit codes:
  0 done   1 error or usage   2 the plan has changes (plan --exit-code)   3 approval needed
  4 stalled: a human is needed   5 timed out   130 interrupted (safely)

Where the targets are:
  --dir DIR, or the variable MIGRATION_TARGET_DIR: a folder with targets/*.yaml, secrets/NAME/KEY, state/
  else a Kubernetes cluster: --kubeconfig, KUBECONFIG, ~/.kube/config, or the pod's own`;

/** `invoke` is what each command's action calls. */
export function createProgram(name: string, version: string, invoke: Invoke): Command {
  const program = new Command(name)
    .description(description)
    .version(version, '-V, --version', 'show the version')
    .helpOption('-h, --help', 'show help')
    .option('--dir <DIR>', 'the folder with the targets (variable: MIGRATION_TARGET_DIR)')
    .option('--kubeconfig <FILE>', 'the kubeconfig of the cluster with the targets')
    .option('--context <NAME>', 'the context of the kubeconfig')
    .option('-n, --namespace <NAMESPACE>', 'the namespace of the targets')
    .option('-A, --all-namespaces', 'targets of all namespaces')
    .addOption(new Option('-o, --output <FORMAT>', 'how the answer is written; left out: for people').choices(formats))
    .option('--no-color', 'no colours (also: the variable NO_COLOR); without a terminal there are none')
    .addHelpText('after', exitCodesHelp)
    .configureHelp({ showGlobalOptions: true, sortSubcommands: false });
  addPlan(program, invoke);
  addApply(program, invoke);
  addRun(program, invoke);
  addStatus(program, invoke);
  addHistory(program, invoke);
  addWatch(program, invoke);
  addWait(program, invoke);
  addBackup(program, invoke);
  addBackups(program, invoke);
  addRestore(program, invoke);
  addApprove(program, invoke);
  addSuspend(program, invoke);
  addResume(program, invoke);
  addReconcile(program, invoke);
  addDoctor(program, invoke);
  addIdentify(program, invoke);
  addCheck(program, invoke);
  addServeVolume(program, invoke);
  pointToHelp(program, name);
  return program;
}

/** After what was mistyped: each command to its own. */
function pointToHelp(command: Command, typed: string): void {
  command.showHelpAfterError(`To see how: ${typed} --help`);
  for (const below of command.commands) pointToHelp(below, `${typed} ${below.name()}`);
}

/** Runs what was typed; `argv` as in `process.argv`. Never rejects: what went wrong was told, and is in the exit code. */
export async function runProgram(wiring: Wiring, argv: readonly string[]): Promise<ExitCode> {
  // Whoever reads may go away (`… | head`): an operation that is under way goes on all the same.
  for (const stream of [process.stdout, process.stderr]) stream.on('error', ignoreBrokenPipe);
  let exitCode: ExitCode = exitCodes.done;
  const invoke = createInvoke(wiring, (code) => {
    exitCode = code;
  });
  const program = createProgram(programName(argv[1], process.env), wiring.version, invoke);
  inheritExit(program);
  try {
    await program.parseAsync([...argv]);
    return exitCode;
  } catch (thrown) {
    if (thrown instanceof CommanderError) return thrown.exitCode === 0 ? exitCodes.done : exitCodes.error;
    throw thrown;
  }
}

function ignoreBrokenPipe(error: NodeJS.ErrnoException): void {
  if (error.code !== 'EPIPE') throw error;
}

/** Commander ends the process by itself unless it is told, for each command, not to. */
function inheritExit(command: Command): void {
  command.exitOverride();
  for (const below of command.commands) inheritExit(below);
}
