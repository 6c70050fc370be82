/**
 * `npm run bench [-- --json] [-- --runs N] [-- --sources] [-- operation reading ready scale]`: measures what
 * docs/benchmarks.md describes, on the built program, or with `--sources` on what a clone runs; exit code 1: a goal was missed.
 */
import { availableParallelism, cpus, loadavg } from 'node:os';
import { parseArgs } from 'node:util';
import { isMet, type Figure } from './measure.ts';
import { measureOperation } from './operation.ts';
import { measureReading } from './reading.ts';
import { measureReady } from './ready.ts';
import { measureRehearsal } from './rehearsal.ts';
import { measureScale } from './scale.ts';
import { progress, setStage, type Stage } from './stage.ts';

const benches: Readonly<Record<string, (stage: Stage, runs: number) => Promise<readonly Figure[]>>> = {
  operation: measureOperation,
  reading: measureReading,
  ready: measureReady,
  rehearsal: measureRehearsal,
};

/** Asked for by name alone: it takes many minutes. */
const longBenches: typeof benches = { scale: measureScale };

const { values, positionals } = parseArgs({
  options: {
    json: { type: 'boolean', default: false },
    runs: { type: 'string', default: '9' },
    sources: { type: 'boolean', default: false },
  },
  allowPositionals: true,
});
const runs = Number(values.runs);
if (!Number.isInteger(runs) || runs < 1) throw new Error(`--runs ${values.runs}: write a number from 1`);
const chosen = positionals.length === 0 ? Object.keys(benches) : positionals;

const figures: Figure[] = [];
{
  await using stage = await setStage({ sources: values.sources });
  for (const name of chosen) {
    const bench = benches[name] ?? longBenches[name];
    if (bench === undefined)
      throw new Error(`there is no bench ${name}; there are ${Object.keys({ ...benches, ...longBenches }).join(', ')}`);
    progress(`measuring: ${name}`);
    figures.push(...(await bench(stage, runs)));
  }
}
const machine = {
  cores: availableParallelism(),
  processor: cpus()[0]?.model ?? 'unknown',
  node: process.version,
  load: loadavg()[0]?.toFixed(1),
};
if (figures.some((each) => isMet(each) === false)) process.exitCode = 1;
process.stdout.write(values.json ? `${JSON.stringify({ machine, figures }, null, 2)}\n` : table());

function table(): string {
  const rows = figures.map((each) => [
    each.name,
    inUnit(each.value, each),
    each.reference,
    inUnit(each.referenceValue, each),
    each.ratio?.toFixed(2) ?? '',
    goalOf(each),
    String(each.runs),
  ]);
  const head = ['what', 'measured', 'compared with', 'measured', 'ratio', 'goal', 'runs'];
  const widths = head.map((title, column) => Math.max(title.length, ...rows.map((row) => row[column]?.length ?? 0)));
  const line = (cells: readonly string[]): string =>
    cells
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join('  ')
      .trimEnd();
  const { cores, processor, node, load } = machine;
  return `${[head, ...rows].map(line).join('\n')}\n\n${cores} cores of ${processor}, Node.js ${node}, load ${load}\n`;
}

function inUnit(value: number, { unit }: Figure): string {
  const digits = unit === 's' || unit === '/s' ? 1 : 0;
  return `${value.toFixed(digits)} ${unit}`.trim();
}

function goalOf(each: Figure): string {
  if (each.goal === null) return '';
  const { of, atMost } = each.goal;
  return `${of === 'value' ? inUnit(atMost, each) : atMost.toFixed(2)}${isMet(each) === true ? '' : ' (missed)'}`;
}
