/**
 * How the two ends of a volume talk: HTTP/2 over the standard streams of the agent, which has in it what this needs:
 * several requests at a time, each with a flow control of its own, and an end that is told from a cut.
 *
 * | request | does |
 * |---|---|
 * | `GET /objects?begin=…[&flat]` | lists, as JSON |
 * | `GET /sizes/KEY` | its bytes, as JSON |
 * | `GET /objects/KEY` | its content |
 * | `PUT /objects/KEY` | writes; its trailer says how many bytes that were: without it, it was cut |
 * | `DELETE /objects/KEY` | removes |
 * | `DELETE /unfinished?begin=…` | removes what died while it was being written |
 * | `GET /free` | free bytes, as JSON |
 *
 * 404: there is none. 409: why not, as JSON.
 */
import * as z from 'zod';

export const bytesTrailer = 'x-bytes';
/** Instead of a number: what was to be written has failed. */
export const cutShort = 'cut';

/** More than what is usual: there may be an API server, and a long way, in between. */
export const streamWindow = 1024 * 1024;
export const sessionWindow = 4 * streamWindow;

/** Who has heard nothing for so long is alone. */
export const silenceMs = 120_000;
export const pingMs = 15_000;

export const objectList = z.array(z.object({ key: z.string(), bytes: z.number(), at: z.number() }));

export const size = z.object({ bytes: z.number() });

export const free = z.object({ bytes: z.number().nullable() });

/** Why it was not done. `code`: the operating system's, or `NoFile`. */
export const refusal = z.object({ code: z.string(), message: z.string(), freeBytes: z.number().nullable() });

export type Refusal = z.output<typeof refusal>;

export const pathOf = (kind: 'objects' | 'sizes', key: string): string => `/${kind}/${encodeURIComponent(key)}`;
