#!/bin/sh
# A network of its own with a DNS server, a silent one and a web server: room.sh FOLDER COMMAND...
# Run inside `unshare --net --mount --pid --fork`: all of it ends with the command.
set -eu
folder=$1
shift
ip link set lo up
for address in 192.0.2.10 192.0.2.53 192.0.2.54; do ip address add $address/32 dev lo; done
echo "nameserver 192.0.2.53" >"$folder/resolv.conf"
echo "hosts: dns" >"$folder/nsswitch.conf"
mount --bind "$folder/resolv.conf" /etc/resolv.conf
mount --bind "$folder/nsswitch.conf" /etc/nsswitch.conf
big=$(i=1; while [ $i -le 60 ]; do printf ' --host-record=big.example,198.51.100.%s' $i; i=$((i + 1)); done)
# shellcheck disable=SC2086
dnsmasq --keep-in-foreground --no-resolv --no-hosts --user=root --pid-file --bind-interfaces \
    --listen-address=192.0.2.53 --local=/example/ --host-record=api.partner.example,192.0.2.10 \
    --cname=www.partner.example,api.partner.example $big &
"$PYTHON" -m http.server --bind 192.0.2.10 --directory "$folder" 8080 >/dev/null 2>&1 &
"$PYTHON" -c "
import socket, time
silent = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
silent.bind(('192.0.2.54', 53))
time.sleep(3600)" &
"$PYTHON" -c "
import socket, time
for where in (('192.0.2.53', 53), ('192.0.2.10', 8080)):
    for _ in range(200):
        try:
            socket.create_connection(where).close()
            break
        except OSError:
            time.sleep(0.05)
    else:
        raise SystemExit(f'{where} does not answer')
while not open('/proc/net/udp').read().count('360200C0:0035'):
    time.sleep(0.05)"
exec "$@"
