#!/bin/bash
# System packages, from Debian: what is missing and nothing else.
set -euo pipefail
cd "$(dirname "$0")/.."
. tools/lib.sh

wanted=(
    python3 python3-venv            # runs everything
    python3-bpfcc libbpfcc          # compiles the probe; loads it
    util-linux mount iproute2       # namespaces
    dnsmasq-base nftables tcpdump   # the demo's and the tests' own network
    strace                          # what the traces are checked against
)
# Not where something else provides them already.
command -v java >/dev/null && command -v javac >/dev/null || wanted+=(openjdk-17-jdk-headless)
command -v cc >/dev/null || wanted+=(gcc libc6-dev)  # the record layout is checked against C
command -v npm >/dev/null || wanted+=(npm)
# What programs in other languages are tested with.
command -v node >/dev/null || wanted+=(nodejs)
command -v go >/dev/null || wanted+=(golang-go)
command -v curl >/dev/null || wanted+=(curl)
command -v openssl >/dev/null || wanted+=(openssl)  # makes the tests' certificates

if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
    warn "this is not Debian: system packages are left to you: ${wanted[*]}"
    exit 0
fi
# bcc compiles against headers; any kernel's will do (tools/kernel.sh).
wanted+=("linux-headers-$(dpkg --print-architecture)")

missing=()
for package in "${wanted[@]}"; do
    status=$(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$status" = installed ] || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0

[ "$(id -u)" = 0 ] || die "system packages are missing: ${missing[*]}" \
    "run this as root: the probe, the emulator and the demo's network need root, too"
say "installing ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
apt-get update --quiet=2 || warn "the lists of packages could not be updated"
apt-get install --quiet=2 --yes --no-install-recommends "${missing[@]}" >/dev/null || die \
    "these packages could not be installed: ${missing[*]}" \
    "apt-get needs a Debian 12 mirror it can reach; what it said is above"
