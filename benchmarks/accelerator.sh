#!/usr/bin/env bash
# What is worth measuring on an accelerator, in less than nine minutes; benchmarks/RESULTS.md has the
# tables. Both frameworks share one device, so JAX must not take its memory beforehand.
set -euo pipefail
cd "$(dirname "$0")/.."
export XLA_PYTHON_CLIENT_PREALLOCATE=false PYTHONUNBUFFERED=1
nvidia-smi --query-gpu=name,driver_version --format=csv,noheader || true
python3 -c 'import jax, torch; print("jax", jax.__version__, jax.devices(), "torch", torch.__version__)'
run() { echo "== $*"; timeout "$LIMIT" python3 -m "$@" 2>&1 | tail -12 || echo "no result"; }
LIMIT=150
for dtype in float32 bfloat16; do
  run benchmarks.inference --device=cuda --dtype="$dtype"
  run benchmarks.training --batch=16 --rounds=15 --device=cuda --dtype="$dtype"
done
run benchmarks.planned configs/high_band.py --batch=16
