# stein-bench on CUDA, as a user without privileges.
#   docker build -t stein-bench .
#   docker run --rm --gpus all -v "$PWD:/work" -v stein-bench-cache:/cache stein-bench evaluate resnet18 --attack pgd
# docs/installation.md says more. torch brings its own CUDA libraries: the base needs none, the host its driver only.
FROM python:3.12-slim-bookworm AS wheel
WORKDIR /source
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY stein_bench ./stein_bench
RUN python -m pip install --no-cache-dir "build==1.*" && python -m build --wheel --outdir /dist

FROM python:3.12-slim-bookworm
COPY --from=wheel /dist /dist
RUN python -m pip install --no-cache-dir /dist/*.whl \
    && rm -r /dist \
    && useradd --create-home --uid 1000 bench \
    && mkdir /cache /work \
    && chown bench:bench /cache /work
ENV STEIN_BENCH_CACHE=/cache \
    HF_HOME=/cache/huggingface \
    TORCH_HOME=/cache/torch \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER 1000
WORKDIR /work
VOLUME /cache
ENTRYPOINT ["stein-bench"]
CMD ["--help"]
