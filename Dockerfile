# The image of Tidegate: `scripts/image`, or `docker build -t tidegate .`. Then, with a folder that holds your tidegate.yaml:
#   docker run -p 8080:8080 --stop-timeout 40 -v ./config:/etc/tidegate:ro tidegate
# A change in a mounted folder is loaded at once; in a file mounted alone it takes up to 10 s, and one that an editor puts
# in its place is never seen. The 40 s are for drain.delay and drain.timeout: Docker alone would kill after 10.

FROM rust:1.95-bookworm AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends clang cmake libclang-dev llvm-19 nghttp2-client openssl wrk \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /build

# The manifests lose their tests, benches and examples, which an image has no use for. rust-toolchain.toml stays outside:
# the image has the toolchain it names, and clippy isn't needed here.
COPY Cargo.toml Cargo.lock ./
COPY filters filters
RUN perl -i -ne '$skip = /^\[\[(test|bench|example)\]\]/ if /^\[/; print unless $skip' Cargo.toml filters/Cargo.toml
COPY src src
COPY scripts/pgo scripts/
ARG TIDEGATE_REVISION=unknown
# 0 builds once instead of twice: quicker to have, and 5 to 17 % slower.
ARG PROFILE_GUIDED=1
# Line tables would be four fifths of the file; names of functions stay.
RUN if [ "$PROFILE_GUIDED" = 1 ]; then scripts/pgo tidegate; \
    else cargo build --profile dist --locked --package tidegate --bin tidegate && mv target/dist/tidegate .; fi \
    && strip --strip-debug tidegate && rm -rf target

FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates libstdc++6 \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /build/tidegate /usr/bin/
COPY conf/container.yaml /etc/tidegate/tidegate.yaml
COPY LICENSE /usr/share/doc/tidegate/
USER 65532:65532
# The binary finds its libraries here, and takes the default config.
RUN ["/usr/bin/tidegate", "check"]
EXPOSE 8080
STOPSIGNAL SIGTERM
# Asks the admin listener at 127.0.0.1:9901; for one elsewhere: --health-cmd 'tidegate healthcheck --url http://..'.
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s CMD ["/usr/bin/tidegate", "healthcheck"]
ENTRYPOINT ["/usr/bin/tidegate"]
CMD ["run"]
