# syntax=docker/dockerfile:1
# docker build .                       the gateway; DATABASE_URL names the database
# docker build --target embedded .     with its own PostgreSQL, for one machine

FROM python:3.13-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/neuroroute
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY migrations ./migrations
COPY neuroroute ./neuroroute
RUN /opt/neuroroute/bin/pip install '.[otel]'

FROM build AS build-embedded
RUN /opt/neuroroute/bin/pip install '.[embedded,otel]'

FROM python:3.13-slim AS base
ENV PATH=/opt/neuroroute/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 NODE_ENV=production NEUROROUTE_DATA_DIR=/data
RUN useradd --system --uid 10001 --home-dir /data --no-create-home --shell /usr/sbin/nologin neuroroute \
    && install --directory --owner=neuroroute --group=neuroroute --mode=0700 /data
USER 10001
VOLUME /data
EXPOSE 3000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as u; u.urlopen('http://127.0.0.1:' + os.environ.get('PORT', '3000') + '/health/ready', timeout=2)"]
ENTRYPOINT ["neuroroute"]
CMD ["serve"]

FROM base AS embedded
COPY --from=build-embedded /opt/neuroroute /opt/neuroroute

FROM base AS gateway
COPY --from=build /opt/neuroroute /opt/neuroroute
