import { availableParallelism } from 'node:os';

// The main job: unit (needs nothing), integration (PostgreSQL, alembic), e2e (a Kubernetes API server as well). What is built on it:
// rehearsal (changes that are tried and approved before), production (buckets and volumes, applications, several controllers, GitOps,
// alerts). And apart in what they need: faults (processes are killed at each step), docker (engines for containers), and cluster in
// jest.cluster.config.js. Which of them a command runs is in scripts/bootstrap.mjs.
export const suite = (displayName, testBed = {}) => ({
  displayName,
  ...testBed,
  testMatch: [`<rootDir>/test/${displayName}/**/*.test.ts`],
  testEnvironment: '<rootDir>/test/support/environment.mjs',
  extensionsToTreatAsEsm: ['.ts'],
  transform: { '^.+\\.ts$': '<rootDir>/test/support/strip-types.mjs' },
});

const support = '<rootDir>/test/support';
const globalTeardown = `${support}/global-teardown.mjs`;
const servers = { globalSetup: `${support}/global-setup.mjs`, globalTeardown };
const serversAndEngines = { globalSetup: `${support}/global-setup-docker.mjs`, globalTeardown };
const serversAndKube = { globalSetup: `${support}/global-setup-e2e.mjs`, globalTeardown };

/** What is said of a run, whichever suites it has. */
export const run = {
  // A test waits most of the time, for one process after another: two workers leave two cores a fifth of the time to nobody.
  maxWorkers: Math.max(3, availableParallelism()),
  testSequencer: `${import.meta.dirname}/test/support/sequencer.mjs`,
  testTimeout: 120_000,
  reporters: ['default', '<rootDir>/test/support/summary-reporter.mjs'],
};

export default {
  ...run,
  projects: [
    suite('unit'),
    suite('integration', servers),
    suite('e2e', serversAndKube),
    suite('rehearsal', serversAndKube),
    suite('production', serversAndKube),
    suite('faults', servers),
    suite('docker', serversAndEngines),
  ],
};
