# Sourced by ops/run and ops/test with $here set. Sets $python to a Python that really runs and fits pyproject.toml:
# a version manager's shim may be on PATH and still refuse to start.
# shellcheck shell=sh

fits() { # fits PYTHON MODULES: does it start, is its version right, can it import MODULES?
    "$1" -E -s -c "import sys, $2; raise SystemExit(not (3, 11) <= sys.version_info[:2] < (3, 14))" >/dev/null 2>&1
}

python=
earlier=$(sed -n 's/^executable = //p' "$here/../.venv/pyvenv.cfg" 2>/dev/null || true)
# First one that can make an environment by itself, then any: ops/bootstrap.py knows which package it lacks.
for modules in 'venv, ensurepip' 'sys'; do
    for candidate in ${PUSHPATH_PYTHON:+"$PUSHPATH_PYTHON"} ${earlier:+"$earlier"} \
        python3 python3.13 python3.12 python3.11 python /usr/bin/python3 /usr/bin/python3.11 /usr/local/bin/python3; do
        if fits "$candidate" "$modules"; then
            python=$candidate
            break 2
        fi
    done
done
if [ -z "$python" ]; then
    echo "Pushpath needs Python 3.11, 3.12 or 3.13, and none was found on PATH." >&2
    echo "On Debian or Ubuntu: apt-get install python3 python3-venv. Or name one: PUSHPATH_PYTHON=/path/to/python $0" >&2
    exit 1
fi
