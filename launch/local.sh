#!/usr/bin/env bash
# Train on this machine, with one process or several.
#
#   ./launch/local.sh [--processes N] [--retries N] [--dry-run] -- TRAIN_ARGUMENTS
#
# TRAIN_ARGUMENTS are those of `codecbwe train`. A run that was told to leave (SIGTERM, exit status
# 143) is started again, --retries times at most (default 0); it continues where it saved. With
# several processes, each must have devices of its own (JAX_NUM_CPU_DEVICES, CUDA_VISIBLE_DEVICES).
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/common.sh"

processes=1 retries=0
take "processes retries" "$@"
set -- ${rest[@]+"${rest[@]}"}
[ $# -gt 0 ] || fail "give the arguments of codecbwe train after --"

# Free at this moment, which is all that one machine can promise.
free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

pids="" leaving=""
# a signal to this script is one to its processes, which then save
trap 'leaving=1; kill $pids 2>/dev/null || true' TERM

once() {
    local port="" process place=() status=0
    pids=""
    if [ "$processes" -gt 1 ]; then
        if [ -n "$dry_run" ]; then port=PORT; else port=$(free_port); fi
    fi
    for process in $(seq 0 $((processes - 1))); do
        [ -z "$port" ] || place=(--coordinator="127.0.0.1:$port" --processes="$processes"
            --process="$process")
        if [ -n "$dry_run" ]; then
            does codecbwe train "$@" ${place[@]+"${place[@]}"}
        else
            codecbwe train "$@" ${place[@]+"${place[@]}"} &
            pids="$pids $!"
        fi
    done
    # the first that fails takes the others with it, as a cluster does
    for _ in $pids; do
        wait -n || { status=$?; break; }
    done
    # shellcheck disable=SC2086
    [ "$status" = 0 ] || kill $pids 2>/dev/null || true
    wait
    return "$status"
}

for attempt in $(seq 0 "$retries"); do
    status=0
    once "$@" || status=$?
    [ "$status" = 143 ] && [ -z "$leaving" ] || exit "$status"
    [ "$attempt" = "$retries" ] || echo "told to leave; starting again ($((attempt + 1)) of $retries)"
done
exit "$status"
