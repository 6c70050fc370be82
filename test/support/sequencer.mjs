// The order of the test files: what takes longest first, so that no worker is left alone with it at the end. By kind, since a
// fresh clone knows no durations: killed processes, then containers, API servers, databases (the larger file first), then the pure parts.
import { statSync } from 'node:fs';

const kinds = ['faults', 'docker', 'production', 'e2e', 'rehearsal', 'integration', 'unit'];

export default class LongestFirst {
  sort(tests) {
    const rank = ({ context }) => kinds.indexOf(context.config.displayName.name);
    const sizes = new Map(tests.map((test) => [test, statSync(test.path).size]));
    return [...tests].sort((a, b) => rank(a) - rank(b) || sizes.get(b) - sizes.get(a));
  }

  // Nothing is remembered from run to run.
  cacheResults() {}
}
