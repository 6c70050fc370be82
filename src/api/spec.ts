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

const containerName = (description: string) =>
  z
    .string()
    .min(1)
    .max(253)
    .regex(/^[A-Za-z0-9][A-Za-z0-9_.-]*$/, 'write the name of a container as docker ps shows it')
    .describe(description);

const runtime = withRules(
  z.strictObject({
    process: z.strictObject({}).describe('As processes beside the controller. Refused in a pod.').optional(),
    docker: z
      .strictObject({
        container: containerName(
          'The container of the application, which has alembic and the migrations. Where it does not run, alembic runs in a container made like it.',
        ),
        databaseContainer: containerName(
          'The container of the database, whose pg_dump, pg_restore and psql are used. Left out: they are found beside the controller.',
        ).optional(),
      })
      .describe('In the containers of a Docker host, as DOCKER_HOST says. Refused in a pod.')
      .optional(),
    kubernetes: withRules(
      z.strictObject({
        deployment: z
          .strictObject({
            name: text(253, 'The name of the Deployment, in the namespace of the target.'),
            container: text(63, 'The container; left out: the first.').optional(),
          })
          .describe(
            'The Deployment of the application: alembic runs as its container does, with the same image, environment, volumes, service account and pull secrets.',
          )
          .optional(),
        image: text(512, 'The image that has alembic and the migrations; left out: that of the Deployment.').optional(),
        template: z
          .looseObject({})
          .describe(
            'What else the pod of alembic’s Job needs: a PodTemplateSpec, laid over what comes from the Deployment. Its one container, whatever it is called, is alembic’s.',
          )
          .meta({ 'x-kubernetes-preserve-unknown-fields': true })
          .optional(),
      }),
      [
        {
          message: 'write deployment, image, or both, e.g. kubernetes: {deployment: {name: ops-center}}',
          holds: (value) => value.deployment !== undefined || value.image !== undefined,
          cel: 'has(self.deployment) || has(self.image)',
        },
      ],
    )
      .describe(
        'Alembic runs in Jobs of the cluster, in the namespace of the target: deployment, image, or both. PostgreSQL’s tools are those beside the controller: dumps pass through no pod’s log.',
      )
      .optional(),
  }),
  [
    exactlyOne(
      ['process', 'docker', 'kubernetes'],
      'write exactly one of process, docker and kubernetes, e.g. runtime: {process: {}}',
    ),
  ],
).describe('Where alembic and the PostgreSQL tools run: exactly one.');

const isContainer = ({ kind }: { readonly kind: string }): boolean => kind === 'Container';

const application = withRules(
  z.strictObject({
    during: z
      .enum(['Stop', 'Keep'])
      .describe(
        'What happens to the workloads while the database changes. Stop: they are stopped once nothing is left to ask, and started again when the database is verified, or as it was before. Keep: they run on, which is refused for what loses data.',
      )
      .default('Stop'),
    after: z
      .enum(['Restart', 'None'])
      .describe(
        'What happens to the workloads once the database has changed. Restart: they are started, or restarted where they were kept running. None: they are left as they are, stopped where they were stopped. Where the database is as it was before, they are started again in any case.',
      )
      .default('Restart'),
    workloads: z
      .array(
        z.strictObject({
          kind: z
            .enum(['Container', 'Deployment', 'StatefulSet', 'CronJob'])
            .describe('Container for docker; Deployment, StatefulSet or CronJob for kubernetes.'),
          name: text(253, 'The name of the workload, e.g. of the container.'),
        }),
      )
      .max(32)
      .describe(
        'What writes to the database: containers, or workloads of the cluster in the namespace of the target. In a project of Docker Compose, services that are to restart with one of them (depends_on with restart: true) are stopped and started with it.',
      )
      .default([]),
    healthCheck: z
      .strictObject({
        url: z
          .string()
          .min(1)
          .max(2048)
          .regex(/^https?:\/\//, 'write a URL that begins with http:// or https://')
          .describe('Must answer with 2xx, to the controller.'),
        timeout: positiveDuration('How long it is tried.').default('60s'),
      })
      .describe(
        'Asked once the database has changed and the workloads were started, and until it was answered well once. What workloads say themselves is waited for too.',
      )
      .optional(),
  }),
  [
    {
      message: 'write workloads of one place: containers of a Docker host, or workloads of a cluster',
      holds: ({ workloads }) => new Set(workloads.map(isContainer)).size < 2,
      cel: "!has(self.workloads) || self.workloads.all(w, w.kind == 'Container') || self.workloads.all(w, w.kind != 'Container')",
    },
  ],
).describe('The application that uses the database: stopped, started again, and asked how it is.');

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
        path: z
          .string()
          .min(1)
          .max(1024)
          .regex(
            /^\/?([A-Za-z0-9_][A-Za-z0-9_.-]*(\/|$))*$/,
            'write a path of letters, digits, "_", "." and "-", e.g. /production; a "." or "-" begins no name in it',
          )
          .describe('The folder in the volume.')
          .default('/'),
      })
      .describe(
        'A volume of the cluster, which the controller need not mount: a Job of its own image does, for as long as the backups are needed. Dumps are streamed there and back.',
      )
      .optional(),
    s3: z
      .strictObject({
        bucket: z
          .string()
          .min(3)
          .max(63)
          .regex(/^[a-z0-9][a-z0-9.-]*[a-z0-9]$/, 'write the name of a bucket: lower case, digits, "." and "-"')
          .describe('The bucket, which has to exist.'),
        prefix: z
          .string()
          .min(1)
          .max(512)
          .regex(/^[A-Za-z0-9_./-]+$/, 'write letters, digits, "_", ".", "-" and "/", e.g. backups/production')
          .describe('A folder in the bucket. Left out: all of it. Several targets may share one.')
          .optional(),
        endpoint: z
          .string()
          .min(1)
          .max(512)
          .regex(/^https?:\/\/[^\s@'"`$;&|]+$/, 'write a URL that begins with http:// or https://, without a password')
          .describe(
            'The URL of the service, where it is not Amazon’s. The bucket is then a part of the path, not of the name of the host.',
          )
          .optional(),
        region: z
          .string()
          .min(1)
          .max(63)
          .regex(/^[A-Za-z0-9-]+$/, 'write a region, e.g. eu-central-1')
          .describe(
            'The region. Left out: us-east-1 where there is an endpoint, else that of the controller’s surroundings.',
          )
          .optional(),
        secretRef: z
          .strictObject({ name: secretName.describe('The name of the Secret.') })
          .describe(
            'A Secret with the keys accessKeyId and secretAccessKey, and sessionToken where they are temporary. Left out: the controller’s own credentials, which is refused in a pod.',
          )
          .optional(),
        serverSideEncryption: z
          .enum(['AES256', 'aws:kms'])
          .describe(
            'What the service is told to encrypt with. Left out: it is told nothing, and does as the bucket is set up.',
          )
          .optional(),
        kmsKeyId: text(2048, 'The key for aws:kms. Left out: the account’s own.').optional(),
      })
      .describe(
        'A bucket of S3 or of a service compatible with it. Dumps are streamed there and back over one connection, and no disk holds them.',
      )
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
      .enum(['Always', 'Never'])
      .describe(
        'Always: before the database is touched, the change, the way back and the change again run on a copy of it, and what would be lost is measured. Never: what may be lost is judged by reading the migrations alone.',
      )
      .default('Always'),
    rehearsalServer: z
      .strictObject({
        urlFrom: valueSource.describe(
          'The URL of a maintenance database on that server, as a role that may create databases there and give them to the roles that the live database names.',
        ),
      })
      .describe(
        'Another server of the same major version, which the copies are made on instead. It has to have the same roles. Left out: the live server.',
      )
      .optional(),
    downgrade: z.enum(['Allow', 'Forbid']).describe('May the database go to an older revision?').default('Allow'),
    restore: z
      .enum(['Allow', 'Forbid'])
      .describe(
        'May a backup at the desired revision be restored where nothing else leads there? Going back to the origin, from the backup of just before, always may.',
      )
      .default('Allow'),
    dataLoss: z
      .enum(['RequireApproval', 'Allow', 'Forbid'])
      .describe(
        'What happens where data would be lost. RequireApproval: it waits until a person approves that very plan. Forbid: it is refused. What can’t be judged counts as loss.',
      )
      .default('RequireApproval'),
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
      .describe(
        'Kubernetes: the service account, in the namespace of the target, that the controller acts as: it reads Secrets and makes Jobs with its rights and no others. Left out: with its own.',
      )
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
        'runtime.kubernetes has no containers of a Docker host: write application.workloads of kind Deployment, StatefulSet or CronJob',
      holds: ({ runtime: { kubernetes }, application: declared }) =>
        kubernetes === undefined || declared === undefined || !declared.workloads.some(isContainer),
      cel: "!(has(self.runtime.kubernetes) && has(self.application) && has(self.application.workloads) && self.application.workloads.exists(w, w.kind == 'Container'))",
    },
    {
      message: 'runtime.docker has no workloads of a cluster: write application.workloads of kind Container',
      holds: ({ runtime: { docker }, application: declared }) =>
        docker === undefined || declared === undefined || declared.workloads.every(isContainer),
      cel: "!(has(self.runtime.docker) && has(self.application) && has(self.application.workloads) && self.application.workloads.exists(w, w.kind != 'Container'))",
    },
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
