# The gateway, without TensorFlow. What the last stage copies is made by deploy/install.sh, which tests/repo/wheel.sh runs
# too: it measures that tree and starts a gateway from it.
ARG PYTHON=3.12.11

FROM python:${PYTHON}-slim-bookworm AS build
SHELL ["/bin/bash", "-euo", "pipefail", "-c"]
WORKDIR /src
COPY requirements/base.txt requirements/build.txt requirements/
COPY deploy/install.sh deploy/
# Before our own code, so that a change of it does not fetch all packages again.
RUN python -m pip install --no-cache-dir --require-hashes --requirement requirements/build.txt \
    && deploy/install.sh /opt/turpin requirements/base.txt
COPY pyproject.toml README.md LICENSE ./
COPY bandits bandits
COPY serving serving
COPY router router
COPY turpin turpin
COPY load load
RUN python -m build --wheel --no-isolation --outdir /tmp/dist . \
    && deploy/install.sh /opt/turpin requirements/base.txt /tmp/dist/turpin-*.whl

FROM python:${PYTHON}-slim-bookworm
# The same number everywhere, so that volumes and pod security policies can name it.
RUN groupadd --gid 10001 turpin \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /var/lib/turpin --shell /usr/sbin/nologin turpin \
    && install --directory --owner=10001 --group=10001 --mode=0700 /var/lib/turpin
COPY --from=build /opt/turpin /opt/turpin
ENV PATH=/opt/turpin/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1
# Only /var/lib/turpin and /tmp are written to: all else may be read-only.
VOLUME ["/var/lib/turpin"]
WORKDIR /var/lib/turpin
USER 10001:10001
EXPOSE 8500 8501 8502 8503
# /readyz is 200 once there are weights; the admin port says it of the control process.
HEALTHCHECK --interval=5s --timeout=4s --start-period=30s --retries=3 \
    CMD ["python", "-P", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8501/readyz', timeout=3)"]
ENTRYPOINT ["turpin"]
CMD ["serve", "-c", "/etc/turpin/turpin.yaml"]
