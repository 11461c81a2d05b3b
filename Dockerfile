# An image that converts, trains, evaluates and predicts; docs/image.md says how
# to build and to run it.
#
#   VARIANT      gpu: TensorFlow with CUDA 12.2 and cuDNN 8.9; cpu: without them
#   BASE_IMAGE   any Debian bookworm with Python 3.11, its venv and certificates
#   VERSION, REVISION    what the labels and a run's run.json say
ARG BASE_IMAGE=python:3.11-slim-bookworm

# The pinned tools that build what is published as source alone. What follows is
# in /mnt, where the base has an empty folder to mount it to.
FROM ${BASE_IMAGE} AS tools
WORKDIR /mnt
RUN python3 -c 'import sys, venv; v = sys.version_info[:2]; v == (3, 11) or sys.exit(f"error: BASE_IMAGE has Python {v[0]}.{v[1]}, 3.11 is needed")' \
    && test -s /etc/ssl/certs/ca-certificates.crt \
    && python3 -m venv tools
COPY requirements/build.lock requirements/
RUN tools/bin/pip install --no-cache-dir --disable-pip-version-check \
    --no-deps --require-hashes --requirement requirements/build.lock

# All packages but this one, fetched; a hash that differs ends it.
FROM tools AS wheels
ARG VARIANT=gpu
COPY requirements/${VARIANT}.lock requirements/
RUN tools/bin/pip wheel --no-cache-dir --disable-pip-version-check \
    --no-deps --no-build-isolation --require-hashes --wheel-dir wheels \
    --requirement "requirements/${VARIANT}.lock"

# All packages but this one, installed, in one layer without the tools. Only a
# changed lock makes it anew, which is why the locks are copied here as well.
FROM ${BASE_IMAGE} AS packages
ARG VARIANT=gpu
COPY requirements/build.lock requirements/${VARIANT}.lock /opt/efficientdet/requirements/
# Compiled here, because nobody may write there later: without, every start
# would compile all of TensorFlow's modules. Unchecked, so that a copy's time of
# change does not undo it.
RUN --mount=type=bind,from=wheels,source=/mnt,target=/mnt \
    python3 -m venv --without-pip /opt/efficientdet \
    && /mnt/tools/bin/pip --python /opt/efficientdet/bin/python install \
    --no-cache-dir --disable-pip-version-check --no-index --no-deps \
    --no-compile /mnt/wheels/*.whl \
    && /mnt/tools/bin/pip --python /opt/efficientdet/bin/python check \
    && /opt/efficientdet/bin/python -m compileall -q -j 0 \
    --invalidation-mode unchecked-hash /opt/efficientdet/lib

# This package, alone in a folder: what a change of the code makes anew.
FROM tools AS project
RUN python3 -m venv --without-pip /opt/efficientdet
COPY pyproject.toml setup.cfg README.md LICENSE ./
COPY hparams hparams
COPY tfrecord_tools tfrecord_tools
COPY efficientdet_aimmo efficientdet_aimmo
COPY docker docker
ARG REVISION=
RUN if [ -n "${REVISION}" ]; then echo "${REVISION}" >efficientdet_aimmo/COMMIT; fi \
    && tools/bin/pip wheel --no-cache-dir --disable-pip-version-check \
    --no-index --no-deps --no-build-isolation --wheel-dir wheels . \
    && tools/bin/pip --python /opt/efficientdet/bin/python install \
    --disable-pip-version-check --no-index --no-deps --no-compile \
    --no-warn-script-location --root /project wheels/*.whl \
    && install -D -m 0644 docker/entrypoint.py \
    /project/opt/efficientdet/entrypoint.py \
    && /opt/efficientdet/bin/python -m compileall -q -s /project \
    --invalidation-mode unchecked-hash /project/opt/efficientdet/lib

FROM packages
# Everybody may write to the folders, because --user may name anybody. buildah
# takes the folder away that it mounted to.
RUN install -d /mnt \
    && groupadd --gid 1000 efficientdet \
    && useradd --uid 1000 --gid 1000 --home-dir /cache --no-create-home \
    --shell /usr/sbin/nologin efficientdet \
    && install -d -m 1777 /data /cache /cache/cuda /cache/matplotlib
# TensorFlow's libraries find all of CUDA beside them but CUPTI, which profiles.
# /usr/local/nvidia is where Google's Kubernetes mounts the driver. Compiled
# kernels fill more than the driver's own limit; 4 GiB is the most.
ENV LD_LIBRARY_PATH=/opt/efficientdet/lib/python3.11/site-packages/nvidia/cuda_cupti/lib:/usr/local/nvidia/lib64 \
    PATH=/opt/efficientdet/bin:/usr/local/nvidia/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/cache \
    XDG_CACHE_HOME=/cache \
    MPLCONFIGDIR=/cache/matplotlib \
    CUDA_CACHE_PATH=/cache/cuda \
    CUDA_CACHE_MAXSIZE=4294967296 \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
COPY --from=project /project/ /
VOLUME /cache
WORKDIR /data
USER 1000:1000
# Not a shell, and it becomes the command: that gets the signals.
ENTRYPOINT ["/opt/efficientdet/bin/python", "-I", "-S", "/opt/efficientdet/entrypoint.py"]
STOPSIGNAL SIGTERM

ARG VARIANT=gpu
ARG VERSION=
ARG REVISION=
LABEL org.opencontainers.image.title="efficientdet-aimmo (${VARIANT})" \
      org.opencontainers.image.description="EfficientDet in TensorFlow, from AIMMO annotations to checked results" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
