#!/bin/bash
# System packages, from Debian: what is missing and nothing else.
set -euo pipefail
cd "$(dirname "$0")/.."
. tools/lib.sh

wanted=(
    python3 python3-venv            # runs everything
    python3-bpfcc                   # compiles the probe
    util-linux mount iproute2       # namespaces
    dnsmasq-base nftables tcpdump   # the demo's and the tests' own network
    strace                          # what the traces are checked against
    zsh fish man-db                 # shells that complete; the man page is looked at
    chromium chromium-driver        # what the HTML page is looked at with
    fonts-dejavu-core poppler-utils # its letters; what it looks like on paper
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

install_missing "${wanted[@]}"
