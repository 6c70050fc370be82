/** The alerts as Prometheus itself reads them, where no operator does: the spec of the PrometheusRule. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Document, parseDocument } from 'yaml';

export const alertsFile = 'examples/docker-host/prometheus/alerts.yaml';

const source = 'manifests/components/prometheus/prometheusrule.yaml';

export function alertsYaml(): string {
  const rule = parseDocument(readFileSync(join(import.meta.dirname, '../..', source), 'utf8'));
  const alerts = new Document(rule.get('spec'));
  alerts.commentBefore = ` Generated from ${source}: change it there, then run: npm run generate`;
  return alerts.toString({ lineWidth: 120 });
}
