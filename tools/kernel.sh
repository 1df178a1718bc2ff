#!/bin/bash
# What the probe needs of the running kernel: tracefs to attach, headers to be compiled.
set -euo pipefail
cd "$(dirname "$0")/.."
. tools/lib.sh

[ "$(id -u)" = 0 ] || { warn "not root: tracefs and kernel headers are left as they are"; exit 0; }

if [ ! -d /sys/kernel/tracing/events ]; then
    mount -t tracefs tracefs /sys/kernel/tracing 2>/dev/null ||
        warn "tracefs cannot be mounted at /sys/kernel/tracing: the probe will not load here"
fi

# bcc looks for headers of the running kernel only. Those of any Debian kernel do as well: the probe
# reads tracepoints, no structs of the kernel. A kernel that has its own keeps them.
modules=/lib/modules/$(uname -r)
if [ ! -e "$modules/build" ]; then
    build=$(find /usr/src -maxdepth 1 -name 'linux-headers-*-*' ! -name '*-common*' | sort -V | tail -1)
    common=$(find /usr/src -maxdepth 1 -name 'linux-headers-*-common' | sort -V | tail -1)
    if [ -n "$build" ] && [ -n "$common" ]; then
        mkdir -p "$modules"
        ln -sfn "$build" "$modules/build"
        ln -sfn "$common" "$modules/source"
    else
        warn "no kernel headers in /usr/src: the probe cannot be compiled here (loading it needs none)"
    fi
fi
