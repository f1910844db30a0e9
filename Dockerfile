# The image of Hedgerow with all its engines; docs/image.md says how to build, run and check it.
# Every RUN is a script of this repository, so that `make test-image` can run the same steps in a
# clean root where there is no container engine.

ARG RUST_IMAGE=rust:1.95-slim-bookworm
# glibc and libstdc++ of Debian 12, which the program was built against, and no shell. For a shell
# in the image: --build-arg RUNTIME_IMAGE=debian:12-slim
ARG RUNTIME_IMAGE=gcr.io/distroless/cc-debian12:nonroot

FROM ${RUST_IMAGE} AS build
WORKDIR /build
COPY docker/tools.sh docker/tools.sh
COPY scripts/ scripts/
RUN docker/tools.sh
RUN scripts/native.sh /out/usr/lib/hedgerow/native
COPY docker/ docker/
COPY Cargo.toml Cargo.lock ./
RUN docker/dependencies.sh
COPY Cargo.toml build.rs LICENSE ./
COPY proto/ proto/
COPY src/ src/
RUN docker/cargo.sh
RUN docker/assemble.sh /out

FROM ${RUNTIME_IMAGE}
ARG VERSION=0.1.0
ARG REVISION=unknown
ARG CREATED=unknown
LABEL org.opencontainers.image.title="Hedgerow" \
      org.opencontainers.image.description="A low-latency HTTP and gRPC server for gradient-boosted trees" \
      org.opencontainers.image.source="https://github.com/hedgerow/hedgerow" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}"
COPY --from=build /out/usr/ /usr/
# /models and /hedgerow-data, where the server's defaults point from here. They are not set by ENV,
# which would win over a configuration file. Only a journal writes, and only to the latter.
COPY --from=build --chown=10001:10001 /out/own/ /
WORKDIR /
USER 10001:10001
# HTTP and gRPC. The admin port, 8082, listens on the container's loopback unless told otherwise.
EXPOSE 8080 8081
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s --retries=3 CMD ["hedgerow", "health"]
ENTRYPOINT ["hedgerow"]
CMD ["serve"]
