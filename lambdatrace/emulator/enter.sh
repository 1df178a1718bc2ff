#!/bin/sh
# Enters a private execution environment and becomes the command: enter.sh ROOM COMMAND...
#
# Runs inside a mount namespace of its own (environment.py), so nothing here reaches the machine.
# ROOM holds extensions/, an empty folder opt/, layer/ if the function gets lambdatrace's, and
# resolv.conf if it gets one.
set -eu
room=$1
shift

mount --bind /opt "$room/opt"
mount -t tmpfs -o mode=755 lambdatrace /opt
mkdir /opt/extensions
if [ -e "$room/layer" ]; then
    cp "$room"/layer/extensions/* /opt/extensions/
    mkdir /opt/lambdatrace
    mount --bind -o ro "$room/layer/lambdatrace" /opt/lambdatrace
fi
cp -R "$room/extensions/." /opt/extensions/
# Whatever else the machine keeps in /opt stays in reach: the Python that runs the function may be
# there. The emulator looks for extensions in /opt/extensions and nowhere else.
for entry in "$room"/opt/* "$room"/opt/.[!.]*; do
    [ -e "$entry" ] || continue
    [ -e "/opt/${entry##*/}" ] || ln -s "$entry" /opt/
done

if [ -f "$room/resolv.conf" ]; then
    mount --bind "$room/resolv.conf" /etc/resolv.conf
fi

exec "$@"
