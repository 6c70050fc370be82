/** The procedure, with its backups in a bucket of the test's own. */
import type { Major, Scene, SceneOptions } from '../../support/scene.ts';
import { createScene } from '../../support/scene.ts';
import { createBucket, s3Server, type TestBucket, writeSecret } from '../../support/s3.ts';

export interface BucketScene extends Scene {
  readonly bucket: TestBucket;
}

/** `endpoint`: what stands before the server. */
export async function createBucketScene(
  major: Major,
  { endpoint, ...options }: SceneOptions & { readonly endpoint?: string },
): Promise<BucketScene> {
  const server = await s3Server();
  const bucket = await createBucket(server);
  const { s3 } = bucket.storage(endpoint === undefined ? {} : { endpoint });
  const storage = { directory: null, s3 };
  const scene = await createScene(major, {
    ...options,
    spec: { ...options.spec, backup: { storage, ...(options.spec?.['backup'] as object | undefined) } },
  });
  await writeSecret(scene.dir, server);
  return { ...scene, bucket };
}
