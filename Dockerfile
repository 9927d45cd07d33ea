# The command line `caststream` and its models, without Kafka. Built and run by docker-compose.yml.

# The wheel: its inner loops are compiled, with a compiler that the image itself does not need. Python's headers are here.
FROM python:3.11.13-slim-bookworm AS build
RUN apt-get update && apt-get install --yes --no-install-recommends g++ && rm -rf /var/lib/apt/lists/*
WORKDIR /build
COPY pyproject.toml setup.py MANIFEST.in README.md LICENSE ./
COPY core core
COPY replay replay
COPY stream_app stream_app
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:3.11.13-slim-bookworm

# With ONNX Runtime, for models of your own. For a worker on a GPU: --build-arg EXTRAS=onnx,cuda, which adds PyTorch.
ARG EXTRAS=onnx

WORKDIR /build
COPY constraints.txt ./
# Mounted, not copied: the wheel stays out of the image's layers.
RUN --mount=type=bind,from=build,source=/wheels,target=/wheels \
    pip install --no-cache-dir -c constraints.txt "caststream[$EXTRAS] @ file://$(echo /wheels/*.whl)" && rm -rf /build

RUN useradd --uid 10001 --create-home caststream && install -d -o caststream -g caststream /data
USER caststream
WORKDIR /data
VOLUME /data
ENV CASTSTREAM_DATA_DIR=/data PYTHONUNBUFFERED=1

ENTRYPOINT ["caststream"]
CMD ["worker"]
