# Any image with Python 3.11 or newer and its venv will do, such as one made from Debian.
ARG BASE=python:3.13-slim-trixie

FROM ${BASE} AS build

# What the wheel is built with has its version and hashes in the lock, as all that it needs.
# The locks are whole: so pip has nothing to resolve, and `pip check` has to agree.
WORKDIR /src
COPY requirements-run.lock requirements-build.lock ./
RUN python3 -m venv /build \
    && /build/bin/pip install --no-cache-dir --no-deps --require-hashes \
        -r requirements-build.lock \
    && python3 -m venv /opt/jarvis-recorder \
    && /opt/jarvis-recorder/bin/pip install --no-cache-dir --no-deps --require-hashes \
        -r requirements-run.lock
COPY pyproject.toml README.md LICENSE ./
COPY deploy ./deploy
COPY jarvis_recorder ./jarvis_recorder
RUN /build/bin/pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /wheel . \
    && /opt/jarvis-recorder/bin/pip install --no-cache-dir --no-deps /wheel/*.whl \
    && /opt/jarvis-recorder/bin/pip check \
    && /opt/jarvis-recorder/bin/pip uninstall --yes pip


FROM ${BASE}

# A volume begins as the directory it is mounted on: so these belong to the user from the start.
RUN groupadd --gid 10001 jarvis-recorder \
    && useradd --uid 10001 --gid 10001 --home-dir /var/lib/jarvis-recorder --no-create-home \
        --shell /usr/sbin/nologin jarvis-recorder \
    && install --directory --mode 0700 --owner 10001 --group 10001 \
        /var/lib/jarvis-recorder /provisioned /provisioned/recorder /provisioned/gateway
COPY --from=build /opt/jarvis-recorder /opt/jarvis-recorder

ENV PATH=/opt/jarvis-recorder/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    STATE_DIRECTORY=/var/lib/jarvis-recorder \
    JARVIS_RECORDER_HTTP__LISTEN=0.0.0.0:9464 \
    JARVIS_RECORDER_GATEWAY__LISTEN=0.0.0.0:8080
USER 10001:10001
WORKDIR /var/lib/jarvis-recorder
VOLUME ["/var/lib/jarvis-recorder"]
EXPOSE 8080 9464
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["jarvis-recorder", "health"]
ENTRYPOINT ["jarvis-recorder"]
CMD ["run"]
