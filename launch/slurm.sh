#!/usr/bin/env bash
# Train on GPU nodes of a Slurm cluster.
#
#   ./launch/slurm.sh --nodes N --gpus N [--time HH:MM:SS] [--partition NAME] [--account NAME]
#                     [--name NAME] [--logs DIR] [--dry-run] -- TRAIN_ARGUMENTS
#
# Submits one job with one process for each GPU; JAX reads from Slurm who they are. The project is
# taken from this folder, its environment from .venv or the active one. Two minutes before the time
# is over, or when the job is preempted, Slurm sends SIGTERM: the run saves, and the job is put into
# the queue again and continues.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/common.sh"

nodes="" gpus="" time=24:00:00 partition="" account="" name=codecbwe logs=logs
take "nodes gpus time partition account name logs" "$@"
set -- ${rest[@]+"${rest[@]}"}
wanted nodes "$nodes"
wanted gpus "$gpus"
[ $# -gt 0 ] || fail "give the arguments of codecbwe train after --"

venv=${VIRTUAL_ENV:-$(dirname "$here")/.venv}
job="#!/usr/bin/env bash
# srun gets the signal from Slurm too; this shell stays to put the job back into the queue.
trap 'echo told to leave; leaving=1' TERM
. $(quoted "$venv")/bin/activate
cd $(quoted "$(dirname "$here")")
srun --kill-on-bad-exit=1 codecbwe train $(quoted "$@") &
wait \$!; status=\$?
while kill -0 \$! 2>/dev/null; do wait \$!; status=\$?; done  # a signal ends a wait early
if [ \$status = 143 ] || [ -n \"\${leaving:-}\" ]; then scontrol requeue \$SLURM_JOB_ID; fi
exit \$status
"
options=(--job-name="$name" --nodes="$nodes" --ntasks-per-node="$gpus" --gpus-per-node="$gpus"
    --time="$time" --signal=TERM@120 --requeue --open-mode=append --output="$logs/%x-%j.log")
[ -z "$partition" ] || options+=(--partition="$partition")
[ -z "$account" ] || options+=(--account="$account")
if [ -n "$dry_run" ]; then
    does sbatch "${options[@]}"
    printf '%s' "$job"
else
    mkdir -p "$logs"
    printf '%s' "$job" | sbatch "${options[@]}"
fi
