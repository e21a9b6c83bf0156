# shellcheck shell=bash
# Sourced by the scripts beside it: a Python environment with the project in it.

# use_environment EXTRA [FOLDER [REQUIREMENT...]]
# Goes to the project's folder; makes FOLDER (default: the active virtual environment, else .venv);
# installs the project with an extra of setup.py, and the requirements, unless that is already done.
use_environment() {
    cd "$(dirname "${BASH_SOURCE[0]}")/.." || return 1
    local extra=$1 folder=${2:-} wanted stamp
    shift "$(($# < 2 ? $# : 2))"
    if [ -n "$folder" ] || [ -z "${VIRTUAL_ENV:-}" ]; then
        folder=${folder:-.venv}
        [ -x "$folder/bin/python" ] || make_venv "$folder" || return 1
        # shellcheck disable=SC1091
        . "$folder/bin/activate"
    fi
    wanted="$extra $* $(cksum <setup.py) $(pwd)"
    stamp="$VIRTUAL_ENV/.codecbwe_$extra"
    if [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ]; then
        echo "installing codecbwe_jax[$extra] $* into $VIRTUAL_ENV ..."
        python -m pip install --quiet --disable-pip-version-check --editable ".[$extra]" "$@" || return 1
        printf '%s' "$wanted" >"$stamp"
    fi
}

make_venv() {
    local python
    for python in python3 python3.13 python3.12 python3.11; do
        if "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "making $1 with $("$python" --version)"
            "$python" -m venv "$1"
            return
        fi
    done
    echo "Python 3.11 or newer is needed" >&2
    return 1
}
