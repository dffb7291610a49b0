# Tidegate in an image without a shell's help: `docker build -t tidegate .`, then
#   docker run -p 8080:8080 -v ./tidegate.yaml:/etc/tidegate/tidegate.yaml:ro tidegate

FROM rust:1.95-bookworm AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends clang cmake libclang-dev \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /build

# Dependencies in a layer of their own: with stubs in place of our sources it changes only with the manifests.
# rust-toolchain.toml stays outside: the image has the toolchain it names, and clippy isn't needed here.
COPY Cargo.toml Cargo.lock ./
COPY filters/Cargo.toml filters/
RUN mkdir -p src tests/e2e benches filters/benches \
    && touch src/lib.rs filters/lib.rs \
    && echo 'fn main() {}' | tee src/main.rs tests/e2e/main.rs >/dev/null \
    && for crate in . filters; do \
        sed -n '/^\[\[bench\]\]/,/^$/s/^name = "\(.*\)"/\1/p' "$crate/Cargo.toml" \
        | while read -r bench; do echo 'fn main() {}' > "$crate/benches/$bench.rs"; done; \
    done \
    && cargo build --profile dist --locked --bin tidegate

COPY filters filters
COPY src src
ARG REVISION=unknown
ENV TIDEGATE_REVISION=$REVISION
# COPY keeps the files' times, which may be older than the stubs'.
RUN find src filters -name '*.rs' -exec touch {} + \
    && cargo build --profile dist --locked --bin tidegate

FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates libstdc++6 \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /build/target/dist/tidegate /usr/bin/tidegate
COPY conf/container.yaml /etc/tidegate/tidegate.yaml
COPY LICENSE /usr/share/doc/tidegate/LICENSE
USER 65532:65532
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s CMD ["/usr/bin/tidegate", "healthcheck"]
ENTRYPOINT ["/usr/bin/tidegate"]
CMD ["run", "-c", "/etc/tidegate/tidegate.yaml"]
