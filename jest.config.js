// Four suites, apart in what they need: unit (nothing), integration (PostgreSQL, alembic),
// faults (the same, with processes killed), e2e (a Kubernetes API server as well).
const suite = (displayName, testBed = {}) => ({
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
const serversAndKube = { globalSetup: `${support}/global-setup-e2e.mjs`, globalTeardown };

export default {
  projects: [suite('unit'), suite('integration', servers), suite('faults', servers), suite('e2e', serversAndKube)],
  // The servers are shared; more workers than cores only make time-outs.
  maxWorkers: 2,
  testSequencer: `${import.meta.dirname}/test/support/sequencer.mjs`,
  testTimeout: 120_000,
  reporters: ['default', '<rootDir>/test/support/summary-reporter.mjs'],
};
