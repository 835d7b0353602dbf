# CPU:  docker build -t rtstyle . && docker run --rm -u "$(id -u)" -v "$PWD:/work" rtstyle video in.mp4 out.mp4
# CUDA: docker build -t rtstyle:cuda --target cuda . && docker run --rm --gpus all rtstyle:cuda doctor

FROM python:3.13-slim-bookworm AS base
# what OpenCV's wheel takes from the system
RUN apt-get update \
    && apt-get install -y --no-install-recommends libgl1 libglib2.0-0 \
    && rm -rf /var/lib/apt/lists/*
COPY . /src
WORKDIR /work
ENTRYPOINT ["rtstyle"]

# CUDA and cuDNN come with the extra: the host needs NVIDIA's driver and container toolkit only
FROM base AS cuda
RUN pip install --no-cache-dir "/src[cuda]"

# head, workers and driver of a Ray cluster: docs/farm.md
FROM base AS farm
RUN pip install --no-cache-dir "/src[farm]"

FROM base AS cpu
RUN pip install --no-cache-dir /src
