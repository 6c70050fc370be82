/** What Linux takes of variables: with more it starts no program, and tells nobody, so that the pod ends with exit code 1. Pure. */
import * as z from 'zod';
import { stalled } from '../../rollback/errors.ts';
import { grouped } from '../../rollback/numbers.ts';

/** MAX_ARG_STRLEN: of `NAME=value`, with the zero at its end. */
const mostOfOne = 128 * 1024;
/** A quarter of the stack that a program may have, which is 8 MiB where nothing else is said. */
const mostOfAll = 2 * 1024 * 1024;

/** What comes from a Secret or a ConfigMap is not known here. */
const literal = z.object({ name: z.string(), value: z.string() });

/** `env`: a container's. Throws JobNotStarted, with names and sizes alone: a value may be a secret. */
export function assertStartable(env: readonly unknown[]): void {
  // Of two that have the same name the later one counts.
  const sizes = new Map<string, number>();
  for (const variable of env) {
    const { data } = literal.safeParse(variable);
    if (data !== undefined) sizes.set(data.name, Buffer.byteLength(`${data.name}=${data.value}`) + 1);
  }
  const sum = [...sizes.values()].reduce((so, bytes) => so + bytes, 0);
  const [largest] = [...sizes].toSorted(([, one], [, other]) => other - one);
  if (largest === undefined) return;
  const [name, bytes] = largest;
  if (bytes > mostOfOne)
    throw tooLarge(
      `The variable ${name} has ${grouped(bytes)} bytes, and Linux starts no program with one of more than ${grouped(mostOfOne)}`,
    );
  if (sum > mostOfAll)
    throw tooLarge(
      `The ${sizes.size} variables have ${grouped(sum)} bytes, and Linux starts no program with more than ${grouped(mostOfAll)}; the largest is ${name}, with ${grouped(bytes)}`,
    );
}

const tooLarge = (what: string) =>
  stalled(
    'JobNotStarted',
    `No Job is made. ${what}. Shorten it in the Deployment or in spec.runtime.kubernetes.template, or mount it as a file; then: migration-target reconcile NAME`,
  );
