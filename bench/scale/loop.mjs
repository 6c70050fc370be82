/**
 * Loaded into our controller by `--import`: how long its event loop was kept from its turn at the longest since it
 * listens, and how much of that its thread computed itself; the rest other programs had the processor. Written to the
 * file that BENCH_LOOP names.
 */
import { subscribe } from 'node:diagnostics_channel';
import { writeFileSync } from 'node:fs';

const tickMs = 10;
const longest = { wallMs: 0, processorMs: 0 };

subscribe('tracing:net.server.listen:asyncEnd', () => {
  let at = performance.now();
  let used = process.threadCpuUsage();
  setInterval(() => {
    const now = performance.now();
    const { user, system } = process.threadCpuUsage(used);
    const [wallMs, processorMs] = [now - at, (user + system) / 1000];
    if (wallMs > longest.wallMs || processorMs > longest.processorMs) {
      longest.wallMs = Math.max(wallMs, longest.wallMs);
      longest.processorMs = Math.max(processorMs, longest.processorMs);
      writeFileSync(process.env.BENCH_LOOP, JSON.stringify(longest));
    }
    at = performance.now();
    used = process.threadCpuUsage();
  }, tickMs).unref();
});
