#!/bin/bash
# What `make bench` compares lambdatrace with, from Debian. Nothing else needs them: where they cannot
# be installed, the tables say so.
set -euo pipefail
cd "$(dirname "$0")/.."
. tools/lib.sh

wanted=(bpftrace bpfcc-tools)

command -v dpkg-query >/dev/null && command -v apt-get >/dev/null || exit 0
missing=()
for package in "${wanted[@]}"; do
    status=$(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$status" = installed ] || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0
[ "$(id -u)" = 0 ] || { warn "not root: ${missing[*]} are not installed"; exit 0; }

say "installing ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
apt-get update --quiet=2 || warn "the lists of packages could not be updated"
apt-get install --quiet=2 --yes --no-install-recommends "${missing[@]}" >/dev/null ||
    warn "${missing[*]} could not be installed: the benchmarks do without"
