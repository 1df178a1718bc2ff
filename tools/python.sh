#!/bin/bash
# The virtual environment in .venv: this package and everything it is tested with, as pinned.
set -euo pipefail
cd "$(dirname "$0")/.."
. tools/lib.sh

current=$(stamp constraints.txt pyproject.toml tools/python.sh)
[ "$(cat .venv/stamp 2>/dev/null || true)" != "$current" ] || exit 0

python=$(find_python)
if ! .venv/bin/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    say "creating .venv with $("$python" --version)"
    "$python" -m venv --clear .venv || die "$python cannot create a virtual environment" \
        "on Debian: apt-get install python3-venv"
fi
say "installing the pinned packages into .venv"
# The variable, not -c: it holds for what builds this package as well. editable_mode: a plain path
# instead of an import hook, which would load half the standard library into every Python here,
# the agent's included.
PIP_CONSTRAINT=constraints.txt .venv/bin/python -m pip install -qq --disable-pip-version-check \
    --config-settings editable_mode=compat --editable '.[dev,invoke,parquet]' || die "the Python packages could not be installed" \
    "pip needs to reach a package index; what it said is above"
printf '%s\n' "$current" >.venv/stamp
