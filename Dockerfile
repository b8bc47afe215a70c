# One image for all of chiso's processes; docker-compose.yml says which command each container runs.
# Python and Debian are those that the tests run on.

FROM python:3.11-slim-bookworm AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
COPY requirements.lock requirements-dev.lock ./
# What runs goes into /opt/chiso; what builds (setuptools, by its pin in the other lock) stays behind in this stage.
RUN python -m venv /opt/chiso \
 && /opt/chiso/bin/pip install --require-hashes -r requirements.lock \
 && sed -n '/^setuptools==/,/^ *#/p' requirements-dev.lock > build.lock \
 && pip install --require-hashes -r build.lock
COPY . .
RUN pip wheel --no-deps --no-build-isolation --wheel-dir /wheels . \
 && /opt/chiso/bin/pip install --no-deps /wheels/*.whl

FROM python:3.11-slim-bookworm
RUN useradd --uid 7660 --user-group --no-create-home --shell /usr/sbin/nologin chiso \
 && install -d -o chiso -g chiso -m 700 /data
COPY --from=build /opt/chiso /opt/chiso
ENV PATH=/opt/chiso/bin:$PATH PYTHONUNBUFFERED=1 PYTHONIOENCODING=utf-8 DATA_DIR=/data
# No code or .env lies here: settings come from the environment only.
WORKDIR /data
USER 7660:7660
CMD ["chiso", "--help"]
