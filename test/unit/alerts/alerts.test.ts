/**
 * The alerts: their rules by Prometheus' own tool, on the series beside this file, and their runbooks, whose commands
 * are typed into the program as far as its own parser.
 */
import { readdir, readFile } from 'node:fs/promises';
import { basename } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { parse } from 'yaml';
import { reasons } from '../../../src/api/reasons.ts';
import { createProgram } from '../../../src/cli/program.ts';
import { promtool } from '../../support/promtool.ts';

interface Alert {
  readonly alert: string;
  readonly expr: string;
  readonly keep_firing_for?: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
}
interface SeriesFile {
  readonly tests: readonly {
    readonly alert_rule_test: readonly { readonly alertname: string; readonly exp_alerts: readonly unknown[] }[];
  }[];
}

const rulesFile = 'examples/docker-host/prometheus/alerts.yaml';
const runbookBase = 'https://migrationtarget.dev/docs/runbooks/';
const namesIn = async (folder: string, ending: string): Promise<readonly string[]> =>
  (await readdir(folder))
    .filter((file) => file.endsWith(ending))
    .map((file) => basename(file, ending))
    .toSorted();

const { groups } = parse(await readFile(rulesFile, 'utf8')) as { readonly groups: readonly { rules: Alert[] }[] };
const alerts = groups.flatMap(({ rules }) => rules);
const names = alerts.map(({ alert }) => alert);

/** A word as a shell reads it; quotes only around whole words. */
const wordsOf = (command: string): readonly string[] =>
  [...command.matchAll(/'([^']*)'|"([^"]*)"|\S+/g)].map(([word, single, double]) => single ?? double ?? word);

/** Throws where the program knows no such command, option or argument. */
async function type(command: string): Promise<void> {
  const program = createProgram('migration-target', '0.0.0', async () => {});
  for (const one of [program, ...program.commands]) {
    one.exitOverride().configureOutput({ writeErr: () => undefined });
  }
  await program.parseAsync(wordsOf(command).slice(1), { from: 'user' });
}

test('the rules are rules, and each alert has series to be tried on, and a runbook; and no other has', async () => {
  expect(promtool(['check', 'rules', rulesFile])?.status ?? 0).toBe(0);
  // It names the rules' file, which is looked at as well.
  expect(promtool(['check', 'config', 'examples/docker-host/prometheus/prometheus.yml'])?.status ?? 0).toBe(0);
  expect(await namesIn('test/unit/alerts', '.yaml')).toEqual(names.toSorted());
  expect(await namesIn('docs/runbooks', '.md')).toEqual(names.toSorted());
});

test('docs/alerting.md lists every alert with its severity, and no other', async () => {
  const rows = (await readFile('docs/alerting.md', 'utf8')).matchAll(/^\| \[(\w+)\]\((.+?)\) \| (\w+) \|/gm);
  expect([...rows].map(([, alert, runbook, severity]) => [alert, runbook, severity])).toEqual(
    alerts.map(({ alert, labels }) => [alert, `runbooks/${alert}.md`, labels['severity']]),
  );
});

describe.each(alerts)('$alert', ({ alert, expr, keep_firing_for: kept, labels, annotations }) => {
  test('fires where it should, and does not where it should not', async () => {
    const series = `test/unit/alerts/${alert}.yaml`;
    const { tests } = parse(await readFile(series, 'utf8'), { merge: true }) as SeriesFile;
    const cases = tests.flatMap((one) => one.alert_rule_test);
    expect(new Set(cases.map(({ alertname }) => alertname))).toEqual(new Set([alert]));
    expect(cases.some(({ exp_alerts }) => exp_alerts.length > 0)).toBe(true);
    expect(cases.some(({ exp_alerts }) => exp_alerts.length === 0)).toBe(true);
    const judged = promtool(['test', 'rules', series]);
    if (judged?.status !== 0 && judged !== null) throw new Error(judged.output);
  });

  test('says how bad it is, of what, which command is next, and where to read on', () => {
    expect(['critical', 'warning']).toContain(labels['severity']);
    expect(annotations['description']).toMatch(/migration-target -n |kubectl /);
    expect(annotations['runbook_url']).toBe(`${runbookBase}${alert}.md`);
    if (alert === 'MigrationTargetControllerDown') return;
    for (const text of [annotations['summary'], annotations['description']])
      expect(text).toContain('{{ $labels.namespace }}/{{ $labels.name }}');
    // A suspended target is left alone, and a controller that is started anew ends no alert.
    expect(expr).toContain('migrationtarget_suspended');
    expect(kept).toBe('5m');
  });

  test('names commands that there are, in its description and in its runbook', async () => {
    const said = (annotations['description'] ?? '')
      .replaceAll('{{ $labels.namespace }}', 'ops-center')
      .replaceAll('{{ $labels.name }}', 'unicorn-db')
      .matchAll(/migration-target -n \S+ [a-z]+ [a-z-]+/g);
    const runbook = await readFile(`docs/runbooks/${alert}.md`, 'utf8');
    const shown = runbook.matchAll(/(?<=^ *|`)migration-target -[^`#\n…]+(?=[`#\n])/gm);
    const commands = [...said, ...shown].map(([command]) => command.trim());
    expect(commands.length).toBeGreaterThan(0);
    for (const command of commands) await expect(type(command).then(() => command)).resolves.toBe(command);
  });

  test('has a runbook that says what it means, what it does to others, how to look, and what to do', async () => {
    const runbook = await readFile(`docs/runbooks/${alert}.md`, 'utf8');
    const titles = [...runbook.matchAll(/^#+ .*$/gm)].map(([title]) => title);
    expect(titles).toEqual([`# ${alert}`, '## Meaning', '## Impact', '## Diagnosis', '## What to do']);
    expect(runbook.toLowerCase()).toContain(`**${labels['severity']}`);
    const named = [...runbook.matchAll(/`([A-Z][a-z]+(?:[A-Z][a-z]+)+)`/g)].map(([, reason = '']) => reason);
    const others = new Set(['BackupReady', 'OOMKilled', 'RequireApproval', 'CrashLoopBackOff']);
    expect(named.filter((name) => !(name in reasons) && !others.has(name))).toEqual([]);
  });
});

test('every reason for which a target stalls, or is tried again, is in a runbook', async () => {
  const source = await readFile('src/api/reasons.ts', 'utf8');
  const troubles = source.slice(source.indexOf('  // Reconciling'), source.indexOf('  // BackupReady,'));
  const runbooks = await Promise.all(names.map((name) => readFile(`docs/runbooks/${name}.md`, 'utf8')));
  // What has an alert of its own, what is under way, and what no target has.
  const others = new Set([
    'BackupFailed',
    'Flapping',
    'Progressing',
    'Recovering',
    'OperationInterrupted',
    'TargetNotFound',
  ]);
  const told = new Set(runbooks.flatMap((text) => [...text.matchAll(/`(\w+)`/g)].map(([, word = '']) => word)));
  const known = [...troubles.matchAll(/^ {2}(\w+):/gm)].map(([, reason = '']) => reason);
  expect(known.length).toBeGreaterThan(50);
  expect(known.filter((reason) => !others.has(reason) && !told.has(reason))).toEqual([]);
});
