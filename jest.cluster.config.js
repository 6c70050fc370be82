// Apart from `npm test`, since it needs root: a whole Kubernetes cluster.
import { run, suite } from './jest.config.js';

const support = '<rootDir>/test/support';

export default {
  ...run,
  projects: [
    suite('cluster', {
      globalSetup: `${support}/global-setup-cluster.mjs`,
      globalTeardown: `${support}/global-teardown.mjs`,
    }),
  ],
  // One file at a time: installing and uninstalling is of the whole cluster, and its node has this machine's processors.
  maxWorkers: 1,
  testTimeout: 300_000,
};
