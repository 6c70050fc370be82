import { describe, expect, test } from '@jest/globals';
import { notAllowed, permissions, refusalText, type Permission } from '../../../src/rollback/allowed.ts';
import { target } from '../telemetry/targets.ts';

const spec = target({
  database: { urlFrom: { file: '/url' }, adminUrlFrom: { env: 'ADMIN_URL' } },
  alembic: {
    workingDir: '/app',
    env: [
      { name: 'A', value: 'b' },
      { name: 'T', valueFrom: { file: '/t' } },
      { name: 'S', valueFrom: { secretKeyRef: { name: 's', key: 'k' } } },
    ],
  },
}).spec;

describe('what a declaration may make a controller do', () => {
  test('is anything on a laptop', () => {
    expect(notAllowed(spec, { inPod: false, allow: [] })).toEqual([]);
  });

  test.each<[readonly Permission[], readonly string[]]>([
    [
      [],
      [
        'spec.database.urlFrom.file',
        'spec.database.adminUrlFrom.env',
        'spec.alembic.env[1].valueFrom.file',
        'spec.runtime.process',
        'spec.backup.storage.directory',
      ],
    ],
    [
      ['file', 'directory'],
      ['spec.database.adminUrlFrom.env', 'spec.runtime.process'],
    ],
    [
      ['process', 'env', 'docker'],
      ['spec.database.urlFrom.file', 'spec.alembic.env[1].valueFrom.file', 'spec.backup.storage.directory'],
    ],
    [permissions, []],
  ])('in a pod that allows %j is refused: %j', (allow, fields) => {
    expect(notAllowed(spec, { inPod: true, allow }).map(({ field }) => field)).toEqual(fields);
  });

  test('in a pod is no bucket with the credentials of the controller', () => {
    const s3 = { bucket: 'backups' };
    const own = target({ backup: { storage: { s3 } } }).spec;
    expect(notAllowed(own, { inPod: true, allow: ['process'] })).toEqual([
      { permission: 's3', field: 'spec.backup.storage.s3 without secretRef' },
    ]);
    expect(notAllowed(own, { inPod: true, allow: ['process', 's3'] })).toEqual([]);
    const named = target({ backup: { storage: { s3: { ...s3, secretRef: { name: 'backups' } } } } }).spec;
    expect(notAllowed(named, { inPod: true, allow: ['process'] })).toEqual([]);
  });

  test('in a pod is no docker either', () => {
    const docker = target({ runtime: { docker: { container: 'c' } } }).spec;
    expect(notAllowed(docker, { inPod: true, allow: ['directory'] })).toEqual([
      { permission: 'docker', field: 'spec.runtime.docker' },
    ]);
  });

  test('is told with the flag that would allow it, each once', () => {
    expect(refusalText(notAllowed(spec, { inPod: true, allow: ['env'] }))).toMatch(
      /^In a pod spec\.database\.urlFrom\.file, .* would act as the controller.*--allow=file,process,directory /,
    );
  });
});
