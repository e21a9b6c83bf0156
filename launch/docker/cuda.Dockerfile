# codecbwe_jax on NVIDIA GPUs:  docker build --file launch/docker/cuda.Dockerfile --tag IMAGE .
FROM python:3.12-slim
WORKDIR /codecbwe_jax
COPY . .
# CUDA itself comes as Python packages; the host has the driver
RUN pip install --no-cache-dir "jax[cuda12]" .
ENTRYPOINT []
CMD ["codecbwe", "systems"]
