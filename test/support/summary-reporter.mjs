/** Ends a run with one plain line, `412 passed, 0 failed`; and where nobody looks (`CI`), a skipped test is a failure. */
export default class SummaryReporter {
  #skipped = 0;
  #filtered;

  constructor(globalConfig) {
    this.#filtered = Boolean(globalConfig.testNamePattern);
  }

  onRunComplete(_contexts, results) {
    this.#skipped = results.numPendingTests + results.numTodoTests;
    // A file that cannot be loaded has no tests that could fail.
    const failed = results.numFailedTests + results.numRuntimeErrorTestSuites;
    const line = `${results.numPassedTests} passed, ${failed} failed${this.#skipped ? `, ${this.#skipped} skipped` : ''}`;
    // Jest's own summary comes after those of the reporters that are named.
    process.on('exit', () => console.log(line));
  }

  getLastError() {
    if (process.env.CI && this.#skipped && !this.#filtered)
      return new Error(`${this.#skipped} tests were skipped, which CI allows of none`);
  }
}
