# wxgptd in a container. See docs/install.md; compose.yaml uses it.
#
#   docker build -t wxgptd .
#   docker run --rm wxgptd --version

FROM python:3.13-slim-bookworm AS build
WORKDIR /src
COPY requirements.lock requirements-build.lock pyproject.toml README.md LICENSE ./
# First the locked dependencies, checked by hash, and nothing else; then the program itself.
RUN python -m venv /opt/wxgptd \
 && /opt/wxgptd/bin/pip install --no-cache-dir --require-hashes -r requirements.lock
COPY wxgptd wxgptd
COPY cli cli
COPY etc etc
COPY docs/man docs/man
RUN python -m venv /opt/hatchling \
 && /opt/hatchling/bin/pip install --no-cache-dir --require-hashes -r requirements-build.lock \
 && /opt/hatchling/bin/python -m hatchling build -t wheel -d /dist \
 && /opt/wxgptd/bin/pip install --no-cache-dir --no-deps /dist/*.whl

FROM python:3.13-slim-bookworm
LABEL org.opencontainers.image.title="wxgptd" \
      org.opencontainers.image.licenses="MIT"
COPY --from=build /opt/wxgptd /opt/wxgptd
ENV PATH=/opt/wxgptd/bin:$PATH \
    PYTHONUNBUFFERED=1
RUN groupadd --system --gid 10001 wxgptd \
 && useradd --system --uid 10001 --gid wxgptd --home-dir /var/lib/wxgptd --shell /usr/sbin/nologin wxgptd \
 && install -d -o wxgptd -g wxgptd -m 0700 /var/lib/wxgptd
USER 10001
VOLUME /var/lib/wxgptd
EXPOSE 9005
# The daemon is ready once it has read its log; a minute is enough for many millions of events.
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s --retries=3 \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:9005/readyz', timeout=4)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["wxgptd", "--log-format", "text"]
CMD ["--config", "/etc/wxgptd/wxgptd.toml"]
