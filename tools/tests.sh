#!/bin/bash
# All tests, in two runs side by side: most of the time a test of either waits, and one after the
# other they take half as long again. What measures times stands in the first run, which has one
# CPU to itself on any machine with two.
set -uo pipefail
cd "$(dirname "$0")/.."

beside=(tests/unit tests/contract tests/golden tests/integration/browser
    tests/integration/layer tests/integration/store)
left_out=("${beside[@]/#/--ignore=}")
log=$(mktemp)
trap 'rm -f "$log"' EXIT

.venv/bin/python -m pytest -p no:cacheprovider "${beside[@]}" >"$log" 2>&1 &
second=$!
.venv/bin/python -m pytest "${left_out[@]}"
first=$?
wait "$second"
second=$?
cat "$log"
[ "$first" = 0 ] && [ "$second" = 0 ]
