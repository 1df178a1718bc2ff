#!/bin/bash
# Sets up everything that `make demo` and `make test` need; quick when it is done already.
set -euo pipefail
cd "$(dirname "$0")/.."

tools/packages.sh
tools/kernel.sh
tools/python.sh
tools/fetch.sh
