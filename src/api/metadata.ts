/** What Kubernetes knows of every object, as far as it matters here. */
import * as z from 'zod';

/** A name that is safe in a path, a label and a Lease. */
export const dnsName = z
  .string()
  .min(1)
  .max(63)
  .regex(
    /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/,
    'write lower-case letters, digits, "-" and ".", e.g. unicorn-db',
  );

const strings = z.record(z.string(), z.string());

/** What the API server adds is let through and left out; anything else is refused, since it is misspelt. */
export const objectMetadata = z
  .strictObject({
    name: dnsName.describe('The name of the object.'),
    namespace: dnsName.describe('The namespace of the object.').default('default'),
    uid: z.string().default(''),
    generation: z.int().default(0),
    annotations: strings.default({}),
    deletionTimestamp: z.string().nullable().default(null),
    finalizers: z.array(z.string()).default([]),
    labels: strings.optional(),
    generateName: z.unknown().optional(),
    selfLink: z.unknown().optional(),
    resourceVersion: z.unknown().optional(),
    creationTimestamp: z.unknown().optional(),
    deletionGracePeriodSeconds: z.unknown().optional(),
    ownerReferences: z.unknown().optional(),
    managedFields: z.unknown().optional(),
  })
  .transform(({ name, namespace, uid, generation, annotations, deletionTimestamp, finalizers }) => ({
    name,
    namespace,
    uid,
    generation,
    annotations,
    deletionTimestamp,
    finalizers,
  }));
