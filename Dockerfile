# syntax=docker/dockerfile:1
# docker build .                       the gateway; DATABASE_URL names the database
# docker build --target embedded .     with its own PostgreSQL, for one machine
# Runs as user 10001 with a read-only root filesystem; it writes to /data and /tmp alone.

ARG PYTHON_IMAGE=python:3.13-slim-trixie

FROM ${PYTHON_IMAGE} AS tools
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
# pip stays in the first environment; the second one, which the image carries, has none
RUN python3 -m venv /opt/tools && python3 -m venv --without-pip /opt/neuroroute
WORKDIR /src
COPY deploy/locks ./deploy/locks
RUN /opt/tools/bin/pip install --require-hashes --only-binary :all: --requirement deploy/locks/build.lock

FROM tools AS build
RUN /opt/tools/bin/pip --python /opt/neuroroute/bin/python install \
    --require-hashes --only-binary :all: --requirement deploy/locks/gateway.lock
COPY pyproject.toml README.md LICENSE ./
COPY migrations ./migrations
COPY neuroroute ./neuroroute
COPY deploy/sbom.py ./deploy/sbom.py
RUN /opt/tools/bin/hatchling build --target wheel --directory /wheels \
    && /opt/tools/bin/pip --python /opt/neuroroute/bin/python install --no-deps --no-index /wheels/*.whl \
    && /opt/neuroroute/bin/python deploy/sbom.py >/opt/neuroroute/sbom.cdx.json

FROM build AS build-embedded
RUN /opt/tools/bin/pip --python /opt/neuroroute/bin/python install \
    --require-hashes --only-binary :all: --requirement deploy/locks/embedded.lock \
    && /opt/neuroroute/bin/python deploy/sbom.py >/opt/neuroroute/sbom.cdx.json

FROM ${PYTHON_IMAGE} AS base
ARG PYTHON_IMAGE
ARG VERSION=0.0.0
ARG REVISION=unknown
ARG CREATED=unknown
ARG SOURCE=unknown
LABEL org.opencontainers.image.title="NeuroRoute" \
    org.opencontainers.image.description="An OpenAI-compatible gateway that sends each LLM request to the model that suits it best" \
    org.opencontainers.image.licenses="MIT" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}" \
    org.opencontainers.image.created="${CREATED}" \
    org.opencontainers.image.source="${SOURCE}" \
    org.opencontainers.image.base.name="${PYTHON_IMAGE}" \
    dev.neuroroute.sbom="/opt/neuroroute/sbom.cdx.json" \
    dev.neuroroute.sbom.format="CycloneDX 1.6, JSON"
ENV PATH=/opt/neuroroute/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    NODE_ENV=production NEUROROUTE_DATA_DIR=/data HOME=/data
RUN groupadd --system --gid 10001 neuroroute \
    && useradd --system --uid 10001 --gid 10001 --home-dir /data --no-create-home --shell /usr/sbin/nologin neuroroute \
    && install --directory --owner=10001 --group=10001 --mode=0700 /data
WORKDIR /data
USER 10001:10001
VOLUME ["/data"]
EXPOSE 3000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as u; u.urlopen('http://127.0.0.1:' + os.environ.get('PORT', '3000') + '/health/ready', timeout=2)"]
ENTRYPOINT ["neuroroute"]
CMD ["serve"]

FROM base AS embedded
COPY --from=build-embedded /opt/neuroroute /opt/neuroroute

# the last one is what `docker build .` makes
FROM base AS gateway
COPY --from=build /opt/neuroroute /opt/neuroroute
