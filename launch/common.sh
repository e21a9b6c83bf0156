# shellcheck shell=bash
# Sourced by the scripts beside it: what they do is shown first, or only shown.

dry_run="" rest=()
# gs://BUCKET is mounted at $mounts/BUCKET
# shellcheck disable=SC2034 # by the scripts that source this
mounts=/mnt/gs
# A checkpoint gets its name by renaming its folder, which gcsfuse refuses for more files than this.
# shellcheck disable=SC2034
rename_limit=200000

# does COMMAND...
# Runs a command; with --dry-run prints it as a shell would take it.
does() {
    if [ -n "$dry_run" ]; then
        printf '%q ' "$@" | sed 's/ $//'
        printf '\n'
    else
        "$@"
    fi
}

# quoted WORD...
# The words as one line of shell.
quoted() {
    printf '%q ' "$@" | sed 's/ $//'
}

# buckets WORD...
# Names of the buckets whose addresses are in the words, one a line.
buckets() {
    printf '%s\n' "$@" | sed -n 's#.*gs://\([^/]*\).*#\1#p' | sort -u
}

# fail TEXT
fail() {
    echo "$(basename "$0"): $1" >&2
    exit 2
}

# wanted NAME VALUE
# Fails if a flag that is needed has no value.
wanted() {
    [ -n "$2" ] || fail "--$1 is needed; see --help"
}

# take FLAGS ARGUMENT...
# Gives each variable named in FLAGS the value of "--name value", or 1 for "--name" alone where FLAGS
# has "name!", and the array `rest` what stands after "--".
take() {
    local flags=" $1 " flag
    shift
    while [ $# -gt 0 ]; do
        flag=${1#--}
        case $1 in
            --help) usage "$0" && exit ;;
            --dry-run) dry_run=1 && shift && continue ;;
            --) shift && rest=("$@") && return ;;
            --*) ;;
            *) fail "unknown argument $1; see --help" ;;
        esac
        case $flags in
            *" $flag! "*) printf -v "$flag" 1 && shift ;;
            *" $flag "*)
                [ $# -gt 1 ] || fail "--$flag needs a value; see --help"
                printf -v "$flag" %s "$2" && shift 2
                ;;
            *) fail "unknown argument $1; see --help" ;;
        esac
    done
}

# usage FILE
# The comment at a script's head, as its help.
usage() {
    sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$1" | sed '$!b;/^$/d'
}
