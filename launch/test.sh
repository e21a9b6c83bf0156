#!/usr/bin/env bash
# From a clean clone: set up, then check style and types and run the whole test suite.
#   ./launch/test.sh [pytest arguments]
#   ./launch/test.sh --quick      a part of it in minutes: the project's rules, one system to its end
#   ./launch/test.sh --oldest     a part of it on the oldest JAX and Flax supported, Colab's
set -eu
. "$(dirname "$0")/environment.sh"
if [ "${1:-}" = --oldest ]; then
    shift
    use_environment test .venv-oldest jax==0.7.2 jaxlib==0.7.2 flax==0.11.2
    exec python -m pytest --numprocesses 2 --dist loadgroup tests/test_demo.py \
        tests/training/test_hosts.py tests/training/test_plan.py tests/training/test_step.py \
        tests/training/test_shared_optimizer.py tests/corpora tests/golden "$@"
fi
use_environment test
ruff check .
ruff format --check .
mypy
if [ "${1:-}" = --quick ]; then
    shift
    set -- tests/test_project.py tests/test_json_lines.py tests/test_atomic.py \
        tests/test_cli.py::test_commands_work_from_any_directory "$@"
fi
exec python -m pytest --numprocesses 2 --dist loadgroup "$@"
