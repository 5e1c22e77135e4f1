# An image with kinglet and nothing else: the program, the libraries that it needs, the certificates for
# TLS, and curl for HEALTHCHECK. docs/docker.md describes how to build and run it.
#
#   BASE    Debian 12, for building; amd64 or arm64, depending on the builder
#   OPTIONS options of the build for `meson setup`
#   MODEL   a model to include: a name from `kinglet pull --list`, or a GGUF file in this directory

ARG BASE=debian:bookworm-slim
FROM ${BASE} AS build
COPY tools/packages.txt /packages.txt
RUN apt-get update -q && \
    DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends \
        curl $(sed -n 's/^build \([^:]*\):.*/\1/p' /packages.txt)
COPY . /source
ARG OPTIONS
RUN meson setup --buildtype=release --prefix=/usr --strip $OPTIONS /build /source && \
    meson install -C /build --destdir /install

# The libraries of the two programs, at the same paths as here. kinglet opens libqrencode and libcurl,
# which is also curl's, when it needs them.
RUN mkdir -p /image/usr/bin /image/etc/ssl/certs /volumes/cache && \
    cp /install/usr/bin/kinglet /usr/bin/curl /image/usr/bin/ && \
    for library in $(ldd /image/usr/bin/kinglet /image/usr/bin/curl | grep -o '/lib[^ ]*') \
        /lib/*/libqrencode.so.4; do \
        cp --parents -L "$library" /image/; \
    done && \
    cp /etc/ssl/certs/ca-certificates.crt /image/etc/ssl/certs/ && \
    echo 'kinglet:x:65532:65532:kinglet:/cache:/nowhere' >/image/etc/passwd && \
    echo 'kinglet:x:65532:' >/image/etc/group

ARG MODEL
RUN case "$MODEL" in \
    '') ;; \
    *.gguf) install -m 644 "/source/$MODEL" /image/model.gguf ;; \
    *) XDG_CACHE_HOME=/pulled /image/usr/bin/kinglet pull "$MODEL" && \
        install -m 644 /pulled/kinglet/models/*.gguf /image/model.gguf && rm -r /pulled ;; \
    esac

FROM scratch
COPY --from=build /image/ /
# downloaded models, packed weights, computed prompts
COPY --from=build --chown=65532:65532 /volumes/ /
ARG MODEL
# container: tells the program that it runs in one, so that it explains how to publish the port
ENV KINGLET_MODEL=${MODEL:+/model.gguf} XDG_CACHE_HOME=/cache container=oci
USER 65532:65532
VOLUME /cache
EXPOSE 7860
# ready when the model is loaded; the first start downloads it, which may take a while
HEALTHCHECK --start-period=10m --interval=10s --timeout=5s \
    CMD ["/usr/bin/curl", "-fsS", "http://127.0.0.1:7860/ready"]
ENTRYPOINT ["/usr/bin/kinglet"]
# Nothing outside the container can reach it unless a command allows it:
#   serve --host 0.0.0.0 --api-key-file FILE    for clients with a key
#   serve --host 0.0.0.0 --no-auth              for every client that reaches the port
CMD ["serve"]
