import type { Engine } from './engine.ts';

/** Why something that we did not end was killed; null: nobody knows. Asked of what the engine remembers of the last minutes. */
export async function whyKilled(
  { docker }: Engine,
  container: { readonly id: string; readonly name: string },
  since: Date,
): Promise<string | null> {
  // What happened this very moment may still be on its way.
  const until = Date.now() / 1000 + 0.2;
  const events = await readEvents(docker, {
    since: Math.floor(since.getTime() / 1000),
    until,
    filters: JSON.stringify({ container: [container.id], event: ['oom', 'stop', 'kill', 'die'] }),
  }).catch(() => '');
  if (events.includes('"oom"'))
    return `the container ${container.name} ran out of memory; give it more: docker update --memory SIZE --memory-swap SIZE ${container.name}`;
  return /"(stop|kill|die)"/.test(events) ? `the container ${container.name} was stopped` : null;
}

async function readEvents(docker: Engine['docker'], options: Record<string, unknown>): Promise<string> {
  const stream = await docker.getEvents(options);
  let text = '';
  for await (const chunk of stream) text += String(chunk);
  return text;
}
