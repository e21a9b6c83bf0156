#!/usr/bin/env bash
# From a clean clone: set up, then train, evaluate, export and report in minutes.
#   ./launch/demo.sh [--data DIR] [--output DIR] [--steps N]
set -eu
. "$(dirname "$0")/environment.sh"
here=$PWD
use_environment torch
cd "$here"
exec codecbwe demo "$@"
