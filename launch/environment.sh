# shellcheck shell=bash
# Sourced by the scripts beside it: a Python environment with the project in it.

# use_environment EXTRA
# Goes to the project's folder; makes `.venv` unless a virtual environment is active; installs the
# project with an extra of setup.py, unless that is already done.
use_environment() {
    cd "$(dirname "${BASH_SOURCE[0]}")/.." || return 1
    if [ -z "${VIRTUAL_ENV:-}" ]; then
        [ -x .venv/bin/python ] || make_venv || return 1
        # shellcheck disable=SC1091
        . .venv/bin/activate
    fi
    local wanted stamp
    wanted="$1 $(cksum <setup.py) $(pwd)"
    stamp="$VIRTUAL_ENV/.codecbwe_$1"
    if [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ]; then
        echo "installing codecbwe_jax[$1] into $VIRTUAL_ENV ..."
        python -m pip install --quiet --disable-pip-version-check --editable ".[$1]" || return 1
        printf '%s' "$wanted" >"$stamp"
    fi
}

make_venv() {
    local python
    for python in python3 python3.13 python3.12 python3.11; do
        if "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "making .venv with $("$python" --version)"
            "$python" -m venv .venv
            return
        fi
    done
    echo "Python 3.11 or newer is needed" >&2
    return 1
}
