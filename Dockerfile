# For users with Docker: one target per deployable, e.g. `docker build --target operator .`
# The project's own images are built without Docker: `cargo xtask image`.
FROM rust:1.95.0-bookworm AS build
RUN apt-get update && apt-get install --yes --no-install-recommends cmake libssl-dev pkg-config
WORKDIR /src
COPY . .
RUN cargo build --locked --release \
    --package fairlead-operator --package fairlead-control-plane \
    --package fairlead-proxy --package fairlead-gitops

FROM debian:bookworm-slim AS base
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/*

FROM base AS operator
COPY --from=build /src/target/release/fairlead-operator /usr/local/bin/
USER 65532
ENTRYPOINT ["/usr/local/bin/fairlead-operator"]

FROM base AS control-plane
COPY --from=build /src/target/release/fairlead-control-plane /usr/local/bin/
USER 65532
ENTRYPOINT ["/usr/local/bin/fairlead-control-plane"]

FROM base AS proxy
RUN apt-get update \
    && apt-get install --yes --no-install-recommends iptables \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /src/target/release/fairlead-proxy /usr/local/bin/
USER 1337
ENTRYPOINT ["/usr/local/bin/fairlead-proxy"]

FROM base AS gitops
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libssl3 zlib1g \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /src/target/release/fairlead-gitops /usr/local/bin/
USER 65532
ENTRYPOINT ["/usr/local/bin/fairlead-gitops"]
