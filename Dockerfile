# One image for every process of Headrace: `docker build -t headrace .`, then `docker run headrace service builds`.
ARG PYTHON_IMAGE=python:3.13-slim

FROM ${PYTHON_IMAGE} AS build
# Packages can be installed from another index (UV_DEFAULT_INDEX; PIP_INDEX_URL for uv itself), or, with UV_NO_INDEX=1
# and PIP_NO_INDEX=1, from wheels in the folder ./wheels. The hashes of the lock file are always verified.
ARG PIP_INDEX_URL
ARG PIP_NO_INDEX
ARG UV_DEFAULT_INDEX
ARG UV_NO_INDEX
# npm packages of the web console can come from another registry.
ARG NPM_CONFIG_REGISTRY
ENV PIP_FIND_LINKS=/source/wheels UV_FIND_LINKS=/source/wheels PIP_DISABLE_PIP_VERSION_CHECK=1 \
    UV_NO_CACHE=1 UV_COMPILE_BYTECODE=1 UV_PYTHON_DOWNLOADS=never UV_CONSTRAINT=requirements.txt
WORKDIR /source
COPY pyproject.toml requirements.txt README.md ./
COPY pyproject.toml wheel[s] wheels/
RUN sed -n '/^uv==/,/# via/p' requirements.txt > uv.txt \
    && python -m venv /tools \
    && /tools/bin/pip install --quiet --no-cache-dir --require-hashes -r uv.txt \
    && /tools/bin/uv venv /opt/headrace \
    && /tools/bin/uv pip install --python /opt/headrace --require-hashes -r pyproject.toml --extra server
COPY agent agent
COPY client client
COPY contracts contracts
COPY gateway gateway
COPY infra infra
COPY libs libs
COPY services services
COPY web web
# Node.js is a wheel in /tools, and is not part of the final image. No wheel of Headrace is built without the console.
RUN /tools/bin/python -m infra.web build --required \
    && /tools/bin/uv build --quiet --wheel --require-hashes --build-constraints requirements.txt --out-dir dist \
    && /tools/bin/uv pip install --python /opt/headrace --no-deps dist/*.whl

FROM ${PYTHON_IMAGE}
# git and ssh for the planner and the agent; iproute2 keeps containers of jobs from private networks; tini reaps orphans
# of jobs and forwards signals.
# hadolint ignore=DL3008
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends git iproute2 openssh-client tini \
    && python -m pip uninstall --quiet --yes --root-user-action=ignore pip \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/* \
    && useradd --no-create-home --uid 10001 --user-group --home-dir /var/lib/headrace --shell /bin/bash headrace \
    && install --directory --owner 10001 --group 10001 --mode 0700 /var/lib/headrace
COPY --from=build /opt/headrace /opt/headrace
ENV PATH=/opt/headrace/bin:$PATH HOME=/var/lib/headrace PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    MALLOC_MMAP_THRESHOLD_=1048576 HEADRACE_DATA=/var/lib/headrace HEADRACE_HOST=0.0.0.0 HEADRACE_HEALTH_PORT=8081
USER 10001:10001
WORKDIR /var/lib/headrace
EXPOSE 8080 8081
# plain bash, because starting an interpreter every few seconds would cost more than the service itself
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s --retries=3 CMD ["bash", "-c", \
    "exec 3<>/dev/tcp/127.0.0.1/$HEADRACE_HEALTH_PORT && printf 'GET /readyz HTTP/1.1\\r\\n\\r\\n' >&3 && read -r _ status _ <&3 && [ \"$status\" = 200 ]"]
# --build-arg REVISION="$(git rev-parse HEAD)" --build-arg CREATED="$(date -u +%FT%TZ)"; last, because they change often
ARG PYTHON_IMAGE
ARG REVISION
ARG CREATED
LABEL org.opencontainers.image.title="Headrace" \
      org.opencontainers.image.description="A self-hosted build server: services, gateway, agent and command line" \
      org.opencontainers.image.version="0.3.0.dev0" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}" \
      org.opencontainers.image.base.name="${PYTHON_IMAGE}"
ENTRYPOINT ["tini", "--", "python", "-m", "infra"]
CMD ["--help"]
