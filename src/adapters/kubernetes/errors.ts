/** What goes wrong with calls of the Kubernetes API, and what it means to an operation. */
import * as z from 'zod';
import { Failure, retry, stalled } from '../../rollback/errors.ts';

/** The API server's `Status`, as far as it explains a refusal. */
const statusBody = z.object({
  message: z.string().default(''),
  reason: z.string().default(''),
  details: z
    .object({
      kind: z.string().default(''),
      causes: z
        .array(
          z.object({ reason: z.string().default(''), message: z.string().default(''), field: z.string().default('') }),
        )
        .default([]),
    })
    .nullish(),
});

export interface ApiCause {
  readonly reason: string;
  readonly message: string;
  readonly field: string;
}

/** The server answered, and it was no success. */
export class ApiError extends Error {
  override readonly name = 'ApiError';
  /** HTTP's. */
  readonly status: number;
  /** Kubernetes', e.g. `NotFound`, `Conflict`, `Expired`. */
  readonly reason: string;
  /** The server's own words. */
  readonly says: string;
  readonly causes: readonly ApiCause[];

  constructor(what: string, status: number, body: z.output<typeof statusBody>) {
    super(`${what}: ${body.message === '' ? `HTTP ${status}` : body.message}`);
    this.status = status;
    this.reason = body.reason;
    this.says = body.message;
    this.causes = body.details?.causes ?? [];
  }

  static of(call: { readonly method: string; readonly path: string }, status: number, text: string): ApiError {
    return new ApiError(`${call.method} ${call.path}`, status, parseStatus(text));
  }
}

/** No answer, or none in time. */
export class ApiUnreachable extends Error {
  override readonly name = 'ApiUnreachable';

  constructor(server: string, cause: unknown) {
    super(`The Kubernetes API server ${server} does not answer: ${rootText(cause)}. Look: kubectl cluster-info`, {
      cause,
    });
  }
}

function parseStatus(text: string): z.output<typeof statusBody> {
  try {
    return statusBody.parse(JSON.parse(text));
  } catch {
    // A proxy's page, or the plain text of an authentication filter, is no Status: its beginning has to do.
    return { message: text.slice(0, 200), reason: '' };
  }
}

/** `fetch failed` says nothing; what it was caused by does. */
function rootText(thrown: unknown): string {
  if (!(thrown instanceof Error)) return String(thrown);
  if (thrown.cause instanceof Error) return rootText(thrown.cause);
  const [first] = thrown instanceof AggregateError ? (thrown.errors as readonly unknown[]) : [];
  return first === undefined ? thrown.message : rootText(first);
}

export const isStatus = (thrown: unknown, status: number): thrown is ApiError =>
  thrown instanceof ApiError && thrown.status === status;

/** The object is not there. Where the kind is not known to the cluster, its answer has no reason. */
export const isNotFound = (thrown: unknown): thrown is ApiError =>
  isStatus(thrown, 404) && thrown.reason === 'NotFound';

/** In RBAC's own words: an admission refusal has others in the same code. */
export const isMissingRight = ({ status, says }: ApiError): boolean =>
  status === 403 && / cannot [a-z]+ resource /.test(says);

/** What an operation makes of it: what passes is tried again, a missing right needs a person; the rest is unexpected. */
export function asHomeFailure(thrown: unknown): unknown {
  if (thrown instanceof Failure) return thrown;
  if (thrown instanceof ApiUnreachable) return retry('HomeUnavailable', thrown.message, thrown);
  if (!(thrown instanceof ApiError)) return thrown;
  if (thrown.status === 429 || thrown.status >= 500)
    return retry('HomeUnavailable', `The Kubernetes API can't serve now: ${thrown.message}`, thrown);
  if (thrown.status === 401)
    return retry(
      'HomeUnavailable',
      `The Kubernetes API refuses the credentials: ${thrown.message}. Look: kubectl auth whoami`,
      thrown,
    );
  if (thrown.status === 403)
    return stalled(
      'NotAllowed',
      `A right is missing in the cluster: ${thrown.says}. Grant it (manifests/ and examples/kubernetes/ops-center/tenant.yaml have all of them); look: kubectl auth can-i --list`,
      thrown,
    );
  if (thrown.status === 404 && !isNotFound(thrown)) {
    return new Error('The cluster does not know the kind MigrationTarget. Install it: kubectl apply -f crds/', {
      cause: thrown,
    });
  }
  return thrown;
}
