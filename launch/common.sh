# shellcheck shell=bash
# Sourced by the scripts beside it: what they do is shown first, or only shown.

dry_run=""

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

# usage FILE
# The comment at a script's head, as its help.
usage() {
    sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$1" | sed '$!b;/^$/d'
}
