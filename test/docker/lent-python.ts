/** Starts alembic where a container says, tells so, and waits to be killed: node lent-python.ts ENGINE CONTAINER. */
import { createAlembicRunner } from '../../src/adapters/alembic/index.ts';
import { createDockerHost } from '../../src/adapters/docker/index.ts';
import { pythonPlace } from '../../src/main/places.ts';

const [engine, container = ''] = process.argv.slice(2);
const host = createDockerHost(engine);
const places = { docker: () => Promise.resolve(host), jobs: () => Promise.resolve(null) };
const session = await createAlembicRunner({ placeOf: (settings, image) => pythonPlace(places, settings, image) }).start(
  {
    spec: { workingDir: '/app', config: 'alembic.ini', section: 'alembic', python: 'python3', xArgs: {}, env: [] },
    runtime: { docker: { container } },
    versionTable: { schema: 'public', name: 'alembic_version' },
    databaseUrl: 'postgresql://u@h/d',
    operationId: 'killed',
    lockTimeoutSeconds: 1,
    signal: new AbortController().signal,
    env: {},
    copy: null,
    owner: null,
  },
);
await session.graph();
process.stdout.write(`runs${session.where}\n`);
setInterval(() => undefined, 1000);
