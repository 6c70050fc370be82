// The first step of `npm test`, `npm run test:…` and `npm run demo`, on a fresh clone too: installs the npm packages where they are missing or are not
// those of package-lock.json, then goes on in Node 24, which is one of them. Runs on Node 20 and later, with nothing installed.
import { spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const bin = join(root, 'node_modules', '.bin');
const env = { ...process.env, PATH: `${bin}${delimiter}${process.env.PATH ?? ''}` };

const jest = [
  '--experimental-vm-modules',
  '--disable-warning=ExperimentalWarning',
  join(root, 'node_modules/jest/bin/jest.js'),
];

const [name = '', ...args] = process.argv.slice(2);

/** Of jest.config.js; whoever says which, means those. After the files, since jest takes whatever follows for one more. */
const suites = (...names) => [
  ...jest,
  ...args,
  ...(args.includes('--selectProjects') ? [] : ['--selectProjects', ...names]),
];

/** What each command runs in Node 24. */
const COMMANDS = {
  test: suites('unit', 'integration', 'e2e'),
  'test:rehearsal': suites('rehearsal'),
  'test:production': suites('production'),
  'test:faults': suites('faults'),
  'test:docker': suites('docker'),
  'test:cluster': [...jest, '--config', join(root, 'jest.cluster.config.js'), ...args],
  demo: [join(root, 'scripts/demo.ts'), ...args],
};

const command = COMMANDS[name];
if (!command) fail(`usage: node scripts/bootstrap.mjs ${Object.keys(COMMANDS).join('|')} [arguments]`);
if (Number(process.versions.node.split('.')[0]) < 20)
  fail(`Node 20 or later is needed to start; this is ${process.version}`);

const stale = stalePackage();
if (stale) {
  console.error(`installing the npm packages (${stale})`);
  const started = Date.now();
  const code = await run('npm', ['ci', '--no-audit', '--no-fund', '--loglevel=error'], process.env);
  if (code !== 0) fail(`npm ci failed with exit code ${code}: its messages are above`);
  console.error(`installed the npm packages in ${((Date.now() - started) / 1000).toFixed(0)} s`);
}
process.exitCode = await run(node24(), command, env);

/** Why npm has to install, or null. npm itself records what it installed, as the last thing that it does. */
function stalePackage() {
  const record = join(root, 'node_modules', '.package-lock.json');
  if (!existsSync(record)) return 'there are none yet';
  const wanted = readPackages(join(root, 'package-lock.json'));
  const installed = readPackages(record);
  for (const [path, { version, optional, devOptional }] of Object.entries(wanted)) {
    if (path === '' || installed[path]?.version === version) continue;
    // Those for another platform are left out.
    if (!installed[path] && (optional || devOptional)) continue;
    return `${path} is not ${version}`;
  }
  return null;
}

function readPackages(path) {
  return JSON.parse(readFileSync(path, 'utf8')).packages;
}

/** Path of Node 24 or later: of the npm package where there is one for this platform, else the one that runs this. */
function node24() {
  const own = join(bin, 'node');
  if (existsSync(own)) return own;
  if (Number(process.versions.node.split('.')[0]) >= 24) return process.execPath;
  fail(
    `Node 24 or later is needed, and npm has none for ${process.platform} ${process.arch}: install it (https://nodejs.org), as this is ${process.version}`,
  );
}

/** Runs a program on this terminal to its end; resolves with its exit code. It gets the signals that we get (Ctrl-C reaches it by itself). */
function run(program, programArgs, programEnv) {
  return new Promise((resolve, reject) => {
    const child = spawn(program, programArgs, { cwd: root, stdio: 'inherit', env: programEnv });
    const forward = (signal) => (signal === 'SIGINT' && process.stdin.isTTY) || child.kill(signal);
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, forward);
    child.on('error', reject);
    child.on('exit', (code, signal) => {
      for (const each of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.off(each, forward);
      resolve(code ?? (signal === 'SIGINT' ? 130 : 1));
    });
  });
}

function fail(message) {
  console.error(message);
  process.exit(1);
}
