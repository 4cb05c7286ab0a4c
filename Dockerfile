# syntax=docker/dockerfile:1
# A first version: it holds the app and its tools; the venv, upstream and the weights come at run time into
# WORKSPACE, which is to be a volume. It has not been built yet.

FROM node:24.11-bookworm-slim AS app
WORKDIR /opt/lotus-worker
COPY package.json package-lock.json ./
RUN npm ci --no-audit --no-fund
COPY tsconfig.json tsconfig.build.json ./
COPY src src
RUN npm run build && npm prune --omit=dev

FROM nvidia/cuda:12.8.1-cudnn-devel-ubuntu24.04
# Ubuntu 24.04's Python is 3.12. git fetches upstream; tini reaps children and forwards signals.
RUN apt-get update \
  && apt-get install --yes --no-install-recommends ca-certificates git python3 python3-pip tini \
  && rm -rf /var/lib/apt/lists/*
COPY python/requirements/tool-uv.lock /tmp/
RUN python3 -m pip install --no-cache-dir --break-system-packages --require-hashes -r /tmp/tool-uv.lock \
  && rm /tmp/tool-uv.lock
COPY --from=app /usr/local/bin/node /usr/local/bin/node
WORKDIR /opt/lotus-worker
COPY --from=app /opt/lotus-worker/package.json ./
COPY --from=app /opt/lotus-worker/node_modules node_modules
COPY --from=app /opt/lotus-worker/dist dist
COPY python python
COPY sample sample
COPY LICENSE ./
RUN ln -s /opt/lotus-worker/dist/cli/main.js /usr/local/bin/lotus-worker \
  && chmod +x dist/cli/main.js \
  && useradd --create-home --uid 10001 lotus \
  && install -d -o lotus /workspace
USER lotus
ENV WORKSPACE=/workspace/Lotus NODE_ENV=production
ENTRYPOINT ["tini", "--", "lotus-worker"]
CMD ["warmup"]
