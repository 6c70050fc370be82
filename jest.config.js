// Four suites, apart in what they need: unit (nothing), integration (PostgreSQL, alembic),
// faults (the same, with processes killed), e2e (a Kubernetes API server as well).
const suite = (displayName) => ({
  displayName,
  testMatch: [`<rootDir>/test/${displayName}/**/*.test.ts`],
  testEnvironment: 'node',
  extensionsToTreatAsEsm: ['.ts'],
  transform: { '^.+\\.ts$': ['@swc/jest', { jsc: { target: 'es2024', parser: { syntax: 'typescript' } }, module: { type: 'es6' } }] },
});

export default {
  projects: ['unit', 'integration', 'faults', 'e2e'].map(suite),
  testTimeout: 120_000,
};
