#!/usr/bin/env bash
# From a clean clone: set up, then check style and run the whole test suite.
#   ./launch/test.sh [pytest arguments]
set -eu
. "$(dirname "$0")/environment.sh"
use_environment test
ruff check .
ruff format --check .
exec python -m pytest --numprocesses 2 --dist loadgroup "$@"
