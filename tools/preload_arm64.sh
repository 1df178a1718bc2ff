#!/bin/bash
# The preloaded library for arm64 on this x86_64: its safety program under qemu's user emulation, with Debian's C
# library for arm64. Nothing of that is installed but qemu.
set -euo pipefail
cd "$(dirname "$0")/.."
. tools/lib.sh

install_missing qemu-user
state=$PWD/.tools/arm64
root=$state/root
if [ ! -e "$root/lib/ld-linux-aarch64.so.1" ]; then
    mkdir -p "$state"/{lists,archives}/partial "$root"
    touch "$state/status"
    # This machine's own lists and status stay as they are.
    foreign=(-o "Dir::State=$state" -o "Dir::State::status=$state/status" -o "Dir::Cache=$state"
        -o APT::Architecture=arm64 -o APT::Architectures::=arm64)
    apt-get "${foreign[@]}" update --quiet=2 || warn "the lists of packages could not be updated"
    (cd "$state" && apt-get "${foreign[@]}" -o APT::Sandbox::User=root download --quiet=2 libc6)
    dpkg --extract "$state"/libc6_*_arm64.deb "$root"
fi
exec .venv/bin/python tests/support_preload_arm64.py "$root"
