/** What a person declares of a database: `spec` of a MigrationTarget. */
import * as z from 'zod';
import { duration, positiveDuration } from './duration.ts';
import { headRevision, revision } from './revision.ts';
import { exactlyOne, listByName, listSet, path, text, withRules, type DeepReadonly } from './schema.ts';
import { envVar, secretName, valueSource, variableName } from './values.ts';

/** PostgreSQL cuts longer names silently, so they are refused. */
const identifier = (description: string): z.ZodString => text(63, description);

const database = z
  .strictObject({
    urlFrom: valueSource.describe(
      'The URL of the database as the application connects to it, e.g. postgresql://user:password@host:5432/name. Alembic runs as this role, so that ownership stays right.',
    ),
    adminUrlFrom: valueSource
      .describe(
        'A URL of the same database as a role that may do more: it dumps, restores, swaps and ends sessions. Left out: the role of urlFrom does.',
      )
      .optional(),
    maintenanceDatabase: identifier(
      'Another database of the same server, which is connected to for locking, creating and renaming.',
    ).default('postgres'),
    versionTable: identifier('The name of alembic’s version table.').default('alembic_version'),
    versionTableSchema: identifier('The schema that alembic’s version table is in.').default('public'),
    lockTimeout: positiveDuration(
      'How long a statement may wait for a lock that another session holds, before the change is given up; it is tried three times in all.',
    ).default('5s'),
  })
  .describe('Which database, and how it is reached.');

const databaseUrl = withRules(
  z.strictObject({
    env: variableName
      .describe('The environment variable in which env.py looks for the URL, e.g. DATABASE_URL.')
      .optional(),
    option: text(
      253,
      'The option of alembic’s configuration in which env.py looks for the URL, e.g. sqlalchemy.url.',
    ).optional(),
    driver: z
      .string()
      .min(1)
      .max(63)
      .regex(
        /^[a-z0-9]+(\+[a-z0-9_]+)?$/,
        'write a scheme such as postgresql, postgresql+psycopg or postgresql+asyncpg',
      )
      .describe(
        'The scheme of the URL as SQLAlchemy spells it, e.g. postgresql+asyncpg. TLS parameters are translated for the driver.',
      )
      .default('postgresql'),
  }),
  [exactlyOne(['env', 'option'], 'write exactly one of env and option')],
).describe(
  'How env.py is handed the URL of spec.database. Left out: env.py finds its own, and must reach the same database, which is checked.',
);

const pythonReference = z
  .string()
  .min(1)
  .max(253)
  .regex(/^[A-Za-z_][A-Za-z0-9_.]*(:[A-Za-z_][A-Za-z0-9_.]*(\(\))?)?$/, 'write package.module:name');

const alembic = withRules(
  z.strictObject({
    workingDir: path('The folder that alembic is run in, with the configuration file in it, e.g. /app.'),
    config: path('The configuration file, relative to workingDir: alembic.ini, or pyproject.toml.').default(
      'alembic.ini',
    ),
    section: text(63, 'The section of the configuration file.').default('alembic'),
    python: path(
      'The interpreter that alembic is installed for: a command, or a path (a relative one with a slash in it starts at workingDir).',
    ).default('python3'),
    xArgs: z
      .record(z.string().max(63), z.string().max(1024))
      .describe('What env.py gets as -x NAME=VALUE.')
      .meta({ maxProperties: 32 })
      .default({}),
    env: listByName(z.array(envVar).max(64)).describe('Variables of the environment that alembic runs in.').default([]),
    databaseUrl: databaseUrl.optional(),
    flaskApp: pythonReference
      .describe('Flask-Migrate: the application, e.g. "app:create_app", whose context is entered around alembic.')
      .optional(),
    context: pythonReference
      .describe('A context manager of the application’s, e.g. "app.migrate:ctx", that is entered around alembic.')
      .optional(),
  }),
  [
    {
      message: 'write flaskApp or context, not both: a context can enter the application’s context itself',
      holds: (value) => value.flaskApp === undefined || value.context === undefined,
      cel: '!(has(self.flaskApp) && has(self.context))',
    },
  ],
).describe('Where the migrations are, and how alembic is run.');

const runtime = withRules(
  z.strictObject({
    process: z.strictObject({}).describe('As processes beside the controller. Refused in a pod.').optional(),
    docker: z
      .strictObject({
        container: text(253, 'The container of the application, which has alembic and the migrations.'),
        databaseContainer: text(253, 'The container of the database, which has pg_dump and pg_restore.').optional(),
      })
      .describe('In the containers of a Docker host. Not supported yet.')
      .optional(),
    kubernetes: z
      .strictObject({
        image: text(512, 'The image that has alembic and the migrations.').optional(),
        template: z
          .looseObject({})
          .describe('What else the pod of the Job needs: a PodTemplateSpec.')
          .meta({ 'x-kubernetes-preserve-unknown-fields': true })
          .optional(),
      })
      .describe('In Jobs of the cluster. Not supported yet.')
      .optional(),
  }),
  [
    exactlyOne(
      ['process', 'docker', 'kubernetes'],
      'write exactly one of process, docker and kubernetes, e.g. runtime: {process: {}}',
    ),
  ],
).describe('Where alembic and the PostgreSQL tools run: exactly one.');

const application = z
  .strictObject({
    during: z
      .enum(['Stop', 'Keep'])
      .describe('What happens to the workloads while the database changes. Keep is refused for what loses data.')
      .default('Stop'),
    after: z.enum(['Restart', 'None']).describe('What happens to the workloads afterwards.').default('Restart'),
    workloads: z
      .array(
        z.strictObject({
          kind: z
            .enum(['Container', 'Deployment', 'StatefulSet', 'CronJob'])
            .describe('Container for docker; Deployment, StatefulSet or CronJob for kubernetes.'),
          name: text(253, 'The name of the workload.'),
        }),
      )
      .max(32)
      .describe('What writes to the database.')
      .default([]),
    healthCheck: z
      .strictObject({
        url: z
          .string()
          .min(1)
          .max(2048)
          .regex(/^https?:\/\//, 'write a URL that begins with http:// or https://')
          .describe('Must answer with 2xx.'),
        timeout: positiveDuration('How long it is tried.').default('60s'),
      })
      .describe('Asked after the workloads were started.')
      .optional(),
  })
  .describe('The application that uses the database. Not supported yet.');

const storage = withRules(
  z.strictObject({
    directory: z
      .strictObject({
        path: z
          .string()
          .min(1)
          .max(1024)
          .regex(/^\/[^\0]*$/, 'write an absolute path, e.g. /var/backups/database')
          .describe('The folder: an absolute path. A missing one is created.'),
      })
      .describe('A folder that the controller reaches. Refused in a pod.')
      .optional(),
    persistentVolumeClaim: z
      .strictObject({
        claimName: secretName.describe('The name of the claim, in the namespace of the target.'),
        path: path('The folder in the volume.').default('/'),
      })
      .describe('A volume of the cluster. Not supported yet.')
      .optional(),
    s3: z
      .strictObject({
        bucket: text(63, 'The bucket.'),
        prefix: text(512, 'What the keys begin with.').optional(),
        endpoint: text(512, 'The URL of the service, where it is not Amazon’s.').optional(),
        region: text(63, 'The region.').optional(),
        secretRef: z
          .strictObject({ name: secretName.describe('The name of the Secret.') })
          .describe('A Secret with the keys accessKeyId and secretAccessKey.')
          .optional(),
      })
      .describe('A bucket. Not supported yet.')
      .optional(),
  }),
  [
    exactlyOne(
      ['directory', 'persistentVolumeClaim', 's3'],
      'write exactly one of directory, persistentVolumeClaim and s3, e.g. storage: {directory: {path: /var/backups/database}}',
    ),
  ],
).describe('Where backups are kept: exactly one.');

const backup = z
  .strictObject({
    storage,
    retention: z
      .strictObject({
        minAge: duration('A backup, and a database put aside by a restore, is kept at least this long.').default('24h'),
        minCount: z.int().min(0).max(10_000).describe('At least this many of the newest backups are kept.').default(3),
      })
      .describe('A backup is kept while either holds; one that a fallback could still need is never removed.')
      .prefault({}),
    maxAge: positiveDuration(
      'A backup is taken when the newest is older than this. Left out: only before changes and when asked for.',
    ).optional(),
  })
  .describe('Backups: one is taken, and verified, before every change.');

const policy = z
  .strictObject({
    rehearsal: z
      .enum(['Never'])
      .describe('Whether a change is rehearsed on a copy first. This version knows only Never.')
      .default('Never'),
    rehearsalServer: z
      .strictObject({ urlFrom: valueSource.describe('The URL of a maintenance database on that server.') })
      .describe('Another server of the same major version, for rehearsals. Not supported yet.')
      .optional(),
    downgrade: z.enum(['Allow', 'Forbid']).describe('May the database go to an older revision?').default('Allow'),
    restore: z
      .enum(['Allow', 'Forbid'])
      .describe(
        'May a backup at the desired revision be restored where nothing else leads there? Going back to the origin, from the backup of just before, always may.',
      )
      .default('Allow'),
    dataLoss: z
      .enum(['Allow', 'Forbid'])
      .describe('What may lose data is refused with Forbid; what can’t be judged counts as loss.')
      .default('Forbid'),
    drift: z
      .enum(['Report', 'Correct'])
      .describe('What happens when somebody else moves the revision after it was reached.')
      .default('Report'),
  })
  .describe('What may happen without asking.');

const verify = z
  .strictObject({
    queries: listByName(
      z
        .array(
          z.strictObject({
            name: text(63, 'What reports call the query.'),
            sql: text(4096, 'The query: run in a read-only transaction; the first column of the first row counts.'),
            expect: z.string().max(1024).describe('The expected result as PostgreSQL prints it; true is "t".'),
          }),
        )
        .max(64),
    )
      .describe('Queries that must hold after every change.')
      .default([]),
  })
  .describe('What must hold after a change, beyond revision, schema and row counts.');

export const targetSpec = withRules(
  z.strictObject({
    revision: revision.optional(),
    revisions: listSet(z.array(headRevision).min(1).max(32))
      .describe('Instead of revision, where the database should be at several heads: the ids of all of them.')
      .optional(),
    suspend: z
      .boolean()
      .describe('With true nothing is done, and an operation under way is not begun again.')
      .default(false),
    interval: positiveDuration('How often the database is read though nothing was declared anew.').default('5m'),
    timeout: positiveDuration(
      'How long an operation may take. A change or a restore under way is never interrupted.',
    ).default('30m'),
    serviceAccountName: secretName
      .describe('Kubernetes: the service account that the controller acts as. Not supported yet.')
      .optional(),
    database,
    alembic,
    runtime,
    application: application.optional(),
    backup,
    policy: policy.prefault({}),
    verify: verify.prefault({}),
    restoreFrom: z
      .strictObject({
        backup: z
          .string()
          .min(1)
          .max(128)
          .regex(/^[A-Za-z0-9][A-Za-z0-9._-]*$/, 'write the id of a backup as "migration-target backups NAME" lists it')
          .describe(
            'The id of a backup in the catalogue (migration-target backups NAME). One without a version table is taken to be at the declared revision.',
          ),
      })
      .describe('A backup to restore, once for each backup and database, before the declared revision is gone for.')
      .optional(),
  }),
  [
    exactlyOne(['revision', 'revisions'], 'write exactly one of revision and revisions, e.g. revision: "4f1c2d9ab0e7"'),
    {
      message:
        'policy.restore: Forbid forbids what restoreFrom asks for: write restore: Allow, or leave restoreFrom out',
      holds: (value) => value.restoreFrom === undefined || value.policy.restore !== 'Forbid',
      cel: "!(has(self.restoreFrom) && self.policy.restore == 'Forbid')",
    },
  ],
).describe('What is declared of the database.');

/** `spec` with all defaults applied. Durations stay strings: `seconds` (duration.ts) reads them. */
export type TargetSpec = DeepReadonly<z.output<typeof targetSpec>>;
