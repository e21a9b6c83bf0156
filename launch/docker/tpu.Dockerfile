# codecbwe_jax on TPU hosts:  docker build --file launch/docker/tpu.Dockerfile --tag IMAGE .
FROM python:3.12-slim
WORKDIR /codecbwe_jax
COPY . .
RUN pip install --no-cache-dir "jax[tpu]" .
ENTRYPOINT []
CMD ["codecbwe", "systems"]
