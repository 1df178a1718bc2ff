#!/bin/sh
# Enters a private execution environment and becomes the command: enter.sh ROOM COMMAND...
#
# Runs inside a mount namespace of its own (environment.py), so nothing here reaches the machine.
# ROOM holds extensions/, an empty folder opt/, and resolv.conf if the function gets one.
set -eu
room=$1
shift

# The emulator looks for extensions in /opt/extensions and nowhere else. Whatever else the machine
# keeps in /opt stays in reach: the Python that runs the function may be there.
mount --bind /opt "$room/opt"
mount -t tmpfs -o mode=755 lambdatrace /opt
for entry in "$room"/opt/* "$room"/opt/.[!.]*; do
    [ -e "$entry" ] || continue
    [ "${entry##*/}" = extensions ] || ln -s "$entry" /opt/
done
cp -R "$room/extensions" /opt/extensions

if [ -f "$room/resolv.conf" ]; then
    mount --bind "$room/resolv.conf" /etc/resolv.conf
fi

exec "$@"
