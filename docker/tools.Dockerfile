# What stands in for Azure in compose.yaml, and the tests of it: Node.js with the packages of package-lock.json.
ARG NODE=node:20-bookworm-slim
FROM ${NODE}
RUN apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends install openssl >/dev/null \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /work
COPY package.json package-lock.json ./
RUN npm ci --no-audit --no-fund --ignore-scripts --loglevel=error
COPY tests tests
COPY openapi/openapi.yaml openapi/openapi.yaml
COPY docker/*.mjs docker/
RUN install -d -o node -g node /tls 2>/dev/null || { useradd --system --uid 10002 node && install -d -o node -g node /tls; }
USER node
