#!/bin/sh
# Prints a Python 3.10 or 3.11 that can make virtual environments.
#   find_python.sh [PYTHON]    PYTHON: look at this one only.
# A name on the PATH proves nothing (version managers leave shims that fail),
# so each candidate is run.
set -u
wanted='import sys; sys.exit(sys.version_info[:2] not in [(3, 10), (3, 11)])'
without_venv=
for python in ${1:-python3.11 python3.10 python3 python}; do
    "$python" -c "$wanted" 2>/dev/null || continue
    if "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        "$python" -c 'import sys; print(sys.executable)'
        exit 0
    fi
    without_venv=$python
done
if [ -n "$without_venv" ]; then
    echo "error: $without_venv has the right version but lacks the modules" \
        "ensurepip and venv. Install them (on Debian and Ubuntu the package" \
        "python3-venv, or python3.10-venv / python3.11-venv), or name another" \
        "Python: make PYTHON=/path/to/python3.11" >&2
elif [ -n "${1:-}" ]; then
    echo "error: PYTHON=$1 is not a working Python 3.10 or 3.11" \
        "($("$1" --version 2>&1 | head -n 1)). Name one that is, or leave" \
        "PYTHON out to have one looked for." >&2
else
    echo "error: Python 3.10 or 3.11 is needed, and none was found on the PATH" \
        "(tried python3.11, python3.10, python3, python). Install one, or name" \
        "it: make PYTHON=/path/to/python3.11" >&2
fi
exit 1
