# The command line `caststream` and its models, without Kafka. Built and run by docker-compose.yml.
FROM python:3.11.13-slim-bookworm

# Where torch alone comes from: without CUDA it is a tenth of the size. Empty: pip's own index, CUDA included.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu

WORKDIR /build
COPY constraints.txt ./
RUN pip install --no-cache-dir --no-deps -c constraints.txt ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} torch
COPY pyproject.toml README.md LICENSE ./
COPY core core
COPY replay replay
COPY stream_app stream_app
RUN pip install --no-cache-dir -c constraints.txt . && rm -rf /build

RUN useradd --uid 10001 --create-home caststream && install -d -o caststream -g caststream /data
USER caststream
WORKDIR /data
VOLUME /data
ENV CASTSTREAM_DATA_DIR=/data PYTHONUNBUFFERED=1

ENTRYPOINT ["caststream"]
CMD ["worker"]
