# The controller as a container, for a Docker host or a cluster: see docs/docker-host.md, docs/kubernetes.md.
#
#   docker build --tag migration-target .
#
# Both base images can be said, by digest too: --build-arg RUNTIME_IMAGE=node:24-trixie-slim@sha256:…
# The one that it runs in needs Node 24 and nothing else: no shell, no npm, neither Python nor PostgreSQL's tools, which are
# those of the containers that it works in.
ARG BUILD_IMAGE=node:24-trixie-slim
ARG RUNTIME_IMAGE=node:24-trixie-slim

FROM ${BUILD_IMAGE} AS build
WORKDIR /build
# First what changes seldom, so that an edit of src/ does not install again.
COPY package.json package-lock.json .npmrc ./
RUN npm ci --ignore-scripts --no-audit --no-fund
COPY tsconfig.json LICENSE ./
COPY scripts scripts
COPY src src
# What is built holds the libraries; Node itself is the base image's.
RUN npm run build \
  && mkdir -p /made/home/state /made/home/approvals /made/home/targets /made/home/secrets /made/backups/database

FROM ${RUNTIME_IMAGE} AS runtime
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="migration-target" \
  org.opencontainers.image.description="Takes a PostgreSQL database to its declared alembic revision, backwards too." \
  org.opencontainers.image.licenses="Apache-2.0" \
  org.opencontainers.image.version="${VERSION}" \
  org.opencontainers.image.revision="${REVISION}"
WORKDIR /opt/migration-target
COPY LICENSE package.json ./
COPY bin bin
COPY --from=build /build/dist dist
# A volume takes the owner of the folder that it covers.
COPY --from=build --chown=10001:10001 /made/home /etc/migration-target
COPY --from=build --chown=10001:10001 /made/backups /var/backups
ENV PATH=/opt/migration-target/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
  NODE_ENV=production \
  MIGRATION_TARGET_CACHE=/tmp/migration-target
USER 10001:10001
EXPOSE 9464
# Ready: what is declared was read, and is still being read.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 CMD ["node", "-e", "require('node:http').get('http://127.0.0.1:9464/readyz', ({ statusCode }) => process.exit(statusCode === 200 ? 0 : 1)).on('error', () => process.exit(1))"]
# What is new is mostly short-lived: Node would keep a hundred megabytes more for it.
ENTRYPOINT ["node", "--max-semi-space-size=4", "/opt/migration-target/bin/migration-target"]
CMD ["run", "--listen", ":9464"]
