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

once() {
    if [ "$processes" = 1 ]; then
        does codecbwe train "$@"
        return
    fi
    local port process pids="" status=0
    if [ -n "$dry_run" ]; then port=PORT; else port=$(free_port); fi
    for process in $(seq 0 $((processes - 1))); do
        set -- "$@" --coordinator="127.0.0.1:$port" --processes="$processes" --process="$process"
        if [ -n "$dry_run" ]; then
            does codecbwe train "$@"
        else
            codecbwe train "$@" &
            pids="$pids $!"
        fi
        set -- "${@:1:$#-3}"
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
    [ "$status" = 143 ] || exit "$status"
    [ "$attempt" = "$retries" ] || echo "told to leave; starting again ($((attempt + 1)) of $retries)"
done
exit "$status"
