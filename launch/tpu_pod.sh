#!/usr/bin/env bash
# Train on a Cloud TPU slice (v4, v5e, v5p, v6e), by queued resources.
#
#   ./launch/tpu_pod.sh ACTION --name NAME --zone ZONE [options] [-- TRAIN_ARGUMENTS]
#
#   create    ask for the slice and wait until it is there
#   install   copy the project to every host and set it up
#   run       `codecbwe train TRAIN_ARGUMENTS` on every host
#   collect   copy --from on the first host to --to here
#   delete    give the slice back
#   train     all of these but collect; when the slice is taken away, another is asked for and the
#             run continues from its work folder, --retries times at most
#
#   --name NAME --zone ZONE     of the slice; the account and project are gcloud's own
#   --type TYPE                 v5litepod-16, v4-32, ... (create, train)
#   --runtime VERSION           of the TPU's software (default tpu-ubuntu2204-base)
#   --spot                      cheaper, and may be taken away
#   --retries N                 of train (default 10)
#   --poll SECONDS              between looks at the queue (default 30)
#   --from PATH --to PATH       of collect
#   --dry-run                   print what would be done
#
# Every host must see the work folder and the data. What begins with gs:// in TRAIN_ARGUMENTS is
# mounted on every host by gcsfuse, gs://BUCKET at /mnt/gs/BUCKET; a network disk does as well.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/common.sh"

action=${1:-}
[ $# = 0 ] || shift
name="" zone="" type="" runtime=tpu-ubuntu2204-base spot="" retries=10 poll=30 from="" to=""
case $action in --help | "") usage "$0" && exit ;; esac
take "name zone type runtime spot! retries poll from to" "$@"
set -- ${rest[@]+"${rest[@]}"}
wanted name "$name"
wanted zone "$zone"
tpus=(gcloud compute tpus)
where=("$name" --zone "$zone")

everywhere() {
    does "${tpus[@]}" tpu-vm ssh "${where[@]}" --worker=all --command "$1"
}

state() {
    "${tpus[@]}" queued-resources describe "${where[@]}" --format='value(state.state)' 2>/dev/null
}

create() {
    wanted type "$type"
    does "${tpus[@]}" queued-resources create "${where[@]}" --node-id "$name" \
        --accelerator-type "$type" --runtime-version "$runtime" ${spot:+--spot} || return
    await
}

# Waits until the slice is there; fails if it will not come.
await() {
    [ -z "$dry_run" ] || return 0
    local now
    until now=$(state) && [ "$now" = ACTIVE ]; do
        case $now in
            FAILED | SUSPEND*) echo "$name is $now" >&2 && return 1 ;;
        esac
        sleep "$poll"
    done
}

install() {
    local project archive
    project=$(dirname "$here")
    if [ -n "$dry_run" ]; then archive=ARCHIVE.tar.gz; else archive=$(mktemp --suffix=.tar.gz); fi
    does git -C "$project" archive --output "$archive" --prefix codecbwe_jax/ HEAD
    does "${tpus[@]}" tpu-vm scp "$archive" "$name:codecbwe_jax.tar.gz" --zone "$zone" --worker=all
    [ -n "$dry_run" ] || rm "$archive"
    everywhere "tar xzf codecbwe_jax.tar.gz && cd codecbwe_jax && python3 -m venv .venv && \
.venv/bin/pip install --quiet --editable . 'jax[tpu]'"
}

run() {
    [ $# -gt 0 ] || fail "give the arguments of codecbwe train after --"
    everywhere "$(mounting "$@")cd codecbwe_jax && \
.venv/bin/codecbwe train $(quoted "${@//gs:\/\//$mounts/}")"
}

# mounting WORD...
# A line of shell that mounts the buckets in the words.
mounting() {
    local bucket folder
    for bucket in $(buckets "$@"); do
        folder=$mounts/$bucket
        # shellcheck disable=SC2016 # the host's user, not ours
        printf 'sudo install --directory --owner="$USER" %s && ' "$folder"
        printf '{ mountpoint --quiet %s || gcsfuse %s %s %s; } && ' "$folder" \
            "--implicit-dirs --rename-dir-limit=$rename_limit" "$bucket" "$folder"
    done
}

delete() {
    does "${tpus[@]}" queued-resources delete "${where[@]}" --force --quiet
}

# Has the slice there, with the project in it. One that is there is kept, one that is on its way is
# waited for.
prepare() {
    case $([ -n "$dry_run" ] || state) in
        ACTIVE) return ;;
        "") create || return ;;
        FAILED | SUSPEND*) { delete || true; } && create || return ;;
        *) await || return ;;
    esac
    install
}

train() {
    local attempt status
    for attempt in $(seq 0 "$retries"); do
        status=0
        { prepare && run "$@"; } || status=$?
        [ "$status" != 0 ] || break
        # a mistake in the command or the data is no reason to try again
        [ "$status" != 2 ] || fail "the run ended with a mistake, see above; $name is still there"
        echo "the run ended with status $status; trying again ($((attempt + 1)) of $retries)"
    done
    delete
    return "$status"
}

case $action in
    create | install | delete) "$action" ;;
    run | train) "$action" "$@" ;;
    collect)
        wanted from "$from"
        wanted to "$to"
        case $from in
            gs://*) does gcloud storage cp --recursive "$from" "$to" ;;
            *) does "${tpus[@]}" tpu-vm scp --recurse "$name:$from" "$to" --zone "$zone" --worker=0 ;;
        esac
        ;;
    *) fail "unknown action $action; see --help" ;;
esac
