/** For long work in one go: lets everything else run in between. */

/** Longer than this nobody is kept from running. */
const sliceMs = 4;

/** Returns what is to be awaited between two pieces of the work; mostly it returns at once. */
export function breathing(): () => Promise<void> {
  let startedAt = performance.now();
  return async () => {
    if (performance.now() - startedAt < sliceMs) return;
    await new Promise((resolve) => setImmediate(resolve));
    startedAt = performance.now();
  };
}
